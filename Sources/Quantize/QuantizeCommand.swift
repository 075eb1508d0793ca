import ArgumentParser
import CSystem
import CommandLineSupport
import Inference
import LayerStore
import ModelCommandSupport
import StoreCommands
import StoreWriter
import TensorCore

struct QuantizeCommand: ToolCommand {
    static let configuration = CommandConfiguration(
        commandName: "quantize",
        abstract: "Make a smaller, lossy store from a full-precision one.",
        discussion: """
            STORE is a layer store; OUTPUT is a folder that does not exist yet, or an interrupted run with the same \
            source and options: it is completed. Equal input gives equal bytes, whatever the number of threads.

            Schemes: int8-row (8.0 bits a weight, one step a row), q8 (8.3, blocks of 32), q4 (4.3, blocks of 32, \
            searched), nf4 (4.25) and nf4-double (4.13), int8-dynamic (8.02): the codes of bitsandbytes; ecq: uniform \
            steps, entropy-coded, with as many bits as --bits says, the least error for its size.

            Matrices are quantized; norms, biases, routers, matrices of fewer than \
            \(QuantizationPolicy.leastElements) elements and those that are used head by head stay exact, and are taken \
            over as they are. Embeddings and head get 8 bits unless --embeddings and --head say otherwise. With \
            --target-size they are ecq like the rest, and what quantizing each kind of matrix costs is measured first: a \
            trial store is made beside OUTPUT, the model predicts a text with matrices taken from it, kind by kind, and the \
            bits go where they save most. That takes ten to fifteen passes over the model; --rates equal leaves it out. \
            The store's manifest says for every tensor how far it is from its source. A weight that is no number is refused by \
            name. A store that is lossy already is refused unless --allow-requantize is given.

            Examples:
              lamina-quantize llama.lamina llama-q8.lamina --scheme q8
              lamina-quantize llama.lamina llama-4.lamina --scheme ecq --bits 4.25 --dry-run
              lamina-quantize llama.lamina llama-38.lamina --scheme ecq --target-size 38GiB --memory 8GiB
              lamina-quantize llama.lamina llama-mixed.lamina --scheme q4 --keep '*.down_proj.weight=q8'

            \(exitCodeHelp)
            """)

    @Argument(help: "The full-precision layer store.")
    var store: String

    @Argument(help: "The quantized store to make.")
    var output: String

    @Option(
        help: ArgumentHelp(
            "int8-row, q8, q4, nf4, nf4-double, int8-dynamic or ecq; ecq@5 is ecq with 5 bits.", valueName: "name"))
    var scheme: SchemeName

    @OptionGroup var options: QuantizationOptions

    @Option(
        help: ArgumentHelp(
            "How --target-size divides bits: measured, by what each kind of matrix costs, or equal.", valueName: "how"))
    var rates: RateChoice?

    @Option(
        help: ArgumentHelp(
            "Text to measure rates with, UTF-8. Default: out of six novels by Jane Austen, which come with Lamina.",
            valueName: "file"))
    var text: String?

    @Option(help: ArgumentHelp("Memory for measuring rates. Default: 1GiB.", valueName: "size"))
    var memory: ByteSize?

    @Flag(help: "Quantize a store that is lossy already.")
    var allowRequantize = false

    @Option(name: [.short, .long], help: "Threads to use. Default: all processors.")
    var threads: Int?

    @Flag(help: "Discard an interrupted run instead of completing it.")
    var restart = false

    @Flag(help: "Replace an existing store: the new one is made beside it, then both swap places and the old one goes.")
    var overwrite = false

    @Flag(help: "Print layers, sizes, the most disk and memory it needs and about how long it takes, and stop.")
    var dryRun = false

    @Flag(name: [.short, .long], help: "No progress, only errors.")
    var quiet = false

    @Flag(help: "Print a summary as JSON on standard output; with --dry-run the plan.")
    var json = false

    @Option(help: ArgumentHelp("Decoded size of a chunk; small values are for tests.", visibility: .hidden))
    var chunkBytes: ByteSize?

    func validate() throws {
        try checkThreads(threads)
        if rates != nil, options.targetSize == nil { throw ValidationError("--rates goes with --target-size") }
        if text != nil || memory != nil, !measuresRates {
            throw ValidationError("--text and --memory go with --target-size and measured rates")
        }
        if let chunkBytes, !(1024...(16 << 20)).contains(chunkBytes.bytes) {
            throw ValidationError("--chunk-bytes must be between 1K and 16M")
        }
    }

    func execute() throws(LaminaError) {
        lamina_catch_signals()
        let fileSystem = RealFileSystem()
        let policy = try options.policy(scheme)
        let opened = try Store(path: store, in: fileSystem)
        try checkPrecision(opened)
        let destination = try Destination(output, in: fileSystem)
        try destination.checkSeparation(from: store)
        let place = try destination.workPlace(overwrite: overwrite)
        let kernels = try chosenKernels()
        let model = try StoredModel(opened)
        let source = try StoreSource(opened, kernels: kernels)
        var plan = try QuantizationPlanner(model, source, policy: policy, chunkBytes: chunkBytes?.bytes).plan()
        let known = restart ? [] : try PartialManifest.read(in: place, fileSystem)?.steps ?? []
        try options.setRates(of: &plan)
        if measuresRates, known.isEmpty, !dryRun {
            try destination.checkAbsence(at: place)
            plan.allocate(try measuredRates(model, source, plan, kernels, destination))
        }
        try StepSolver(threads: threadCount, kernels: kernels).solve(&plan, known: known)
        var runOptions = Conversion.Options(threads: threadCount)
        runOptions.restarts = restart
        let conversion = Conversion(plan: plan, options: runOptions, kernels: kernels, fileSystem: fileSystem)
        if let made = try destination.finishedEarlier(conversion, at: place, accepts: false, dryRun: dryRun) {
            if !quiet { Console.note("note: an earlier run made the store\n") }
            return try finish(made, plan)
        }
        let forecast = try ConversionForecast(
            plan, finished: try conversion.finishedShards(at: place), threads: threadCount, kernels: kernels)
        if dryRun { return try ConversionReport(plan: plan, forecast: forecast).show(destination, json: json) }
        try destination.checkSpace(for: forecast.peakBytes, hint: "make room, or choose another disk")
        let run = ConversionRun(conversion, source, verb: "quantize", past: "quantized", isQuiet: quiet)
        let manifest = try run.make(at: place)
        try destination.replaceOld(from: place)
        try finish(manifest, plan)
    }

    private var measuresRates: Bool { options.targetSize != nil && rates != .equal }

    /// Not for --dry-run: sizes are the same with equal rates.
    private func measuredRates(
        _ model: StoredModel, _ source: StoreSource, _ plan: ConversionPlan, _ kernels: KernelTable,
        _ destination: Destination
    ) throws(LaminaError) -> RateAllocation {
        // A size that cannot be is refused before anything is measured.
        var even = plan
        try StepSolver(threads: threadCount, kernels: kernels).solve(&even)
        let text = if let text { try EvaluationText(path: text) } else { EvaluationText.builtIn }
        let measurement = SensitivityMeasurement(
            model: model, source: source, text: text,
            options: SessionOptions(
                threads: threadCount, memoryBytes: memory?.bytes ?? QuantizeCommand.standardMemory, compute: .f32),
            kernels: kernels, isQuiet: quiet)
        return try measurement.run(plan, beside: destination)
    }

    private static let standardMemory = 1 << 30

    private var threadCount: Int { threads ?? min(1024, Int(lamina_processor_count())) }

    private func checkPrecision(_ opened: Store) throws(LaminaError) {
        guard let lossy = opened.manifest.lossyTensors.first, !allowRequantize else { return }
        throw LaminaError(
            .malformed, store, "the store is lossy already: quantizing it again adds error to error",
            found: "the codec \(lossy.codec)",
            hint: "quantize the full-precision store, or give --allow-requantize", tensor: lossy.name)
    }

    private func finish(_ manifest: Manifest, _ plan: ConversionPlan) throws(LaminaError) {
        let summary = ConversionSummary(store: output, manifest: manifest, plan: plan)
        if json { try Console.out(summary.json.text() + "\n") } else if !quiet { Console.note(summary.text + "\n") }
    }
}

/// How the size of a store is divided between matrices.
enum RateChoice: String, ExpressibleByArgument, CaseIterable {
    /// By what quantizing each kind of them costs.
    case measured
    /// So that all have the same relative error.
    case equal
}
