import ArgumentParser
import CSystem
import CommandLineSupport
import Inference
import LayerStore
import ModelCommandSupport
import StoreWriter
import TensorCore

struct CompareCommand: ToolCommand {
    static let configuration = CommandConfiguration(
        commandName: "compare",
        abstract: "Say what quantized stores lose against a full-precision one.",
        discussion: """
            All stores predict the same text, in windows of --ctx tokens of which the second half counts, and what they \
            say is compared with what the first store says: perplexity, Kullback-Leibler divergence of the \
            distributions of the next token, the share of positions with the same most probable token, the change of \
            the probability of the token that follows; beside size, bits per weight and speed. Definitions are those \
            of llama-perplexity (docs/perplexity.md). Any stores with the same tokenizer can be compared. Stores that \
            can be multiplied as 8-bit codes are measured that way and with f32 activations, unless --compute says \
            which.

            For every layer the error of the residual stream is given, and for every matrix that of its output, \
            multiplied with inputs of the first store's model by OpenBLAS, not by Lamina's kernels.

            Stores are streamed one after the other, group of windows by group, within --memory; results do not depend \
            on memory or threads. With --json one object: "text", "context", "windows", "positions" that count, and \
            "stores", the first store first. --hdf5 also writes the values of every position and matrix.

            Examples:
              lamina-quantize compare llama.lamina llama-q8.lamina llama-q4.lamina
              lamina-quantize compare llama.lamina llama-q4.lamina --text wiki.test.raw --ctx 2048 --memory 4GiB
              lamina-quantize compare llama.lamina llama-q4.lamina --windows 8 --json --hdf5 q4.h5

            \(exitCodeHelp)
            """)

    @Argument(help: "The full-precision layer store.")
    var full: String

    @Argument(help: "The stores to compare with it.")
    var stores: [String]

    @OptionGroup(title: "Text")
    var text: EvaluationTextOptions

    @OptionGroup(title: "Resources")
    var machine: MachineOptions

    @Flag(help: "Print one JSON object.")
    var json = false

    @Option(help: ArgumentHelp("Write the values of every position and matrix to an HDF5 file.", valueName: "file"))
    var hdf5: String?

    @Flag(help: "Replace the HDF5 file if it exists.")
    var force = false

    @Flag(name: [.short, .long], help: "No progress and no figures on standard error.")
    var quiet = false

    func validate() throws {
        if hdf5 == "-" { throw ValidationError("--hdf5 needs the name of a file") }
    }

    func execute() throws(LaminaError) {
        lamina_catch_signals()
        let kernels = try chosenKernels()
        let text = try text.load()
        let reference = try model(full)
        let windows = try self.text.windows(of: text, for: reference)
        let subjects = try subjects(windows, text)
        let output = try hdf5.map { (path) throws(LaminaError) in try OutputFile(path, replaces: force) }
        let run = ComparisonRun(
            comparison: try StoreComparison(
                StoreComparison.Subject(model: reference, options: machine.session),
                subjects.map { StoreComparison.Subject(model: $0.model, options: $0.options) },
                windows: windows.sequences, kernels: kernels),
            layerCount: reference.config.layerCount, names: subjects.map(\.name), isQuiet: quiet)
        if !quiet { try run.announce(windows) }
        let (results, matrices) = try run.run()
        let report = CompareReport(
            text: text, windows: windows, names: [full] + subjects.map(\.name),
            computes: [nil] + subjects.map(\.compute), sizes: run.comparison.sizes, results: results,
            matrices: matrices)
        if let output { try output.publish { (file) throws(LaminaError) in try CompareArrays(report).write(to: file) } }
        try Console.out(json ? report.json(machine, kernels).text() + "\n" : report.table)
        if !quiet { Console.note("memory: \(formattedBytes(lamina_peak_resident_bytes())) at most\n") }
    }

    private func model(_ path: String) throws(LaminaError) -> StoredModel {
        try StoredModel(try Store(path: path, in: RealFileSystem()))
    }

    /// A store, and a way to compute with it.
    private struct Subject {
        var name: String
        var model: StoredModel
        var options: SessionOptions
        /// `nil` where there is only one way.
        var compute: ComputeMode?
    }

    /// The stores to be compared, each in all ways to compute that are wanted. Throws `.malformed` for one whose tokens
    /// are not the first store's.
    private func subjects(_ windows: TextWindows, _ text: EvaluationText) throws(LaminaError) -> [Subject] {
        var subjects: [Subject] = []
        for path in stores {
            let model = try model(path)
            guard try self.text.windows(of: text, for: model) == windows else {
                throw LaminaError(
                    .malformed, path, "the store's tokenizer makes other tokens of the text than the first store's",
                    hint: "only stores with the same tokenizer can be compared")
            }
            let modes = model.takesCodes ? machine.compute.map { [$0] } ?? [.int8, .f32] : []
            for mode in modes {
                var options = machine.session
                options.compute = mode
                subjects.append(Subject(name: path, model: model, options: options, compute: mode))
            }
            if modes.isEmpty { subjects.append(Subject(name: path, model: model, options: machine.session)) }
        }
        return subjects
    }
}

/// A comparison with its forecast and progress.
struct ComparisonRun {
    let comparison: StoreComparison
    /// Of the reference.
    let layerCount: Int
    /// Of the other stores; one that is computed in two ways is there twice.
    let names: [String]
    let isQuiet: Bool

    /// Says what it is going to take.
    func announce(_ windows: TextWindows) throws(LaminaError) {
        let forecasts = try comparison.forecast(measuresCompute: true)
        let groups = Double((windows.sequences.count + comparison.groupSize - 1) / comparison.groupSize)
        let bytes = forecasts.reduce(0) { $0 + $1.totalBytes } * groups
        let compute = forecasts.reduce(0) { $0 + ($1.prefill.compute ?? 0) } * groups
        var line =
            "compare: \(windows.sequences.count) windows, \(comparison.groupSize) at a time, through "
            + "\(forecasts.count) stores; \(formattedBytes(UInt64(bytes))) to read; expected: at least "
            + formattedTime(compute)
        let seconds = forecasts.compactMap(\.prefill.seconds)
        if seconds.count == forecasts.count {
            line += ", \(formattedTime(seconds.reduce(0, +) * groups)) with the disk"
        }
        Console.note(line + "\n")
    }

    /// Carries it out; a signal ends the program. Throws as `StoreComparison.run`.
    func run() throws(LaminaError) -> ([StoreComparison.Result], [MatrixErrors]) {
        var progress = StepProgress(
            label: "compare", steps: try comparison.layerCount() + layerCount, isQuiet: isQuiet)
        let outcome = Result { () throws(LaminaError) -> ([StoreComparison.Result], [MatrixErrors])? in
            func finishedLayer() -> Bool {
                progress.finishedStep()
                return lamina_caught_signal() != 0
            }
            guard let matrices = try matrixErrors(finishedLayer),
                let results = try comparison.run(finishedLayer: finishedLayer)
            else { return nil }
            return (results, matrices)
        }
        progress.clear()
        guard let found = try outcome.get() else { CommandLineTool.exitForSignal(lamina_caught_signal()) }
        return found
    }

    /// The matrices of each store are compared once, however it is computed.
    private func matrixErrors(_ finishedLayer: () -> Bool) throws(LaminaError) -> [MatrixErrors]? {
        let distinct = names.indices.filter { names.firstIndex(of: names[$0]) == $0 }
        let stores = [0] + distinct.map { $0 + 1 }
        let rows = try comparison.matrixRows(of: stores)
        let matrices = MatrixComparison(reference: rows[0], others: Array(rows.dropFirst()))
        let bytes =
            comparison.matrixRowsBytes(of: stores) + MatrixComparison.memoryBytes(width: comparison.widestMatrix)
        let isComplete = try comparison.visitMatrixInputs(besides: bytes, finishedLayer: finishedLayer) {
            (input) throws(LaminaError) in
            try matrices.compare(input)
        }
        guard isComplete else { return nil }
        let places = names.map { name in distinct.firstIndex { names[$0] == name } ?? 0 }
        return matrices.matrices.map { matrix in
            MatrixErrors(
                name: matrix.name, positions: matrix.positions, errors: places.map { matrix.errors[$0] })
        }
    }
}
