import ArgumentParser
import CSystem
import Checkpoint
import CommandLineSupport
import Inference
import LayerStore
import StoreWriter
import TensorCore

struct ConvertCommand: ToolCommand {
    static let configuration = CommandConfiguration(
        commandName: "convert",
        abstract: "Convert a checkpoint folder into a layer store.",
        discussion: """
            SOURCE is a folder with config.json and model.safetensors, or several safetensors files and
            model.safetensors.index.json; or, if it has none of these, pytorch_model.bin, or several and \
            pytorch_model.bin.index.json, whose pickles are read as data and never run. STORE is a folder that does not exist yet, or an interrupted conversion of \
            the same source with the same options: it is completed, and finished layers are checked by digest, not \
            by name. Equal input gives equal bytes, whatever the number of threads.

            Codecs (all lossless): raw; exp-tier for BF16 (about 0.67 of the size, the fastest to run); exp-huf for \
            BF16 (half a percent smaller, plain zstd frames); fp16-huf for FP16 (0.85); fp32-planes for FP32 (0.84). \
            A codec applies to tensors of its type; the others take their standard one.

            Examples:
              lamina-convert SmolLM2-135M-Instruct smollm2.lamina
              lamina-convert convert Llama-3.2-1B llama.lamina --codec raw --threads 4

            \(exitCodeHelp)
            """)

    @Argument(help: "The checkpoint folder.")
    var source: String

    @Argument(help: "The layer store to make.")
    var store: String

    @Option(help: ArgumentHelp("auto, or a codec: raw, exp-tier, exp-huf, fp16-huf, fp32-planes.", valueName: "name"))
    var codec = "auto"

    @Option(name: [.short, .long], help: "Threads to use. Default: all processors.")
    var threads: Int?

    @Flag(help: "Discard an interrupted conversion instead of completing it.")
    var restart = false

    @Flag(help: "Print what would be done and stop.")
    var dryRun = false

    @Flag(name: [.short, .long], help: "No progress, only errors.")
    var quiet = false

    @Flag(help: "Print a summary as JSON on standard output.")
    var json = false

    @Option(help: ArgumentHelp("Decoded size of a chunk; small values are for tests.", visibility: .hidden))
    var chunkBytes = ByteSize(bytes: ChunkGeometry.defaultTargetBytes)

    func validate() throws {
        if let threads, !(1...1024).contains(threads) {
            throw ValidationError("--threads must be between 1 and 1024, not \(threads)")
        }
        let names = ["auto"] + Codecs.all.map(\.name)
        guard names.contains(codec) else {
            throw ValidationError("--codec must be one of \(names.joined(separator: ", ")), not '\(codec)'")
        }
        guard (1024...(16 << 20)).contains(chunkBytes.bytes) else {
            throw ValidationError("--chunk-bytes must be between 1K and 16M")
        }
    }

    func execute() throws(LaminaError) {
        lamina_catch_signals()
        let fileSystem = RealFileSystem()
        let kernels = try chosenKernels()
        let checkpoint = try CheckpointFolder(path: source, in: fileSystem)
        let planner = ConversionPlanner(
            checkpoint: checkpoint, codec: codec == "auto" ? nil : Codecs.named(codec), chunkBytes: chunkBytes.bytes)
        let (plan, notes) = try planner.plan()
        if !quiet { for note in notes { Console.note("note: \(escapedForDisplay(note))\n") } }
        try Destination.check(store, source: source, expectedBytes: plan.expectedStoreBytes, in: fileSystem)
        if dryRun { return try printPlan(plan) }
        let observer = ProgressObserver(ProgressReport(label: "convert", totalBytes: plan.byteCount, isQuiet: quiet))
        let conversion = Conversion(
            plan: plan, threads: threads ?? Int(lamina_processor_count()), kernels: kernels, fileSystem: fileSystem)
        let manifest: Manifest
        do throws(LaminaError) {
            manifest = try conversion.run(to: store, restart: restart, observer: observer) { () throws(LaminaError) in
                for file in checkpoint.files { try file.checkUnchanged() }
            }
        } catch {
            observer.report.clear()
            if observer.signal != 0 {
                Console.note("interrupted: the same command completes the conversion\n")
                CommandLineTool.exitForSignal(observer.signal)
            }
            throw error
        }
        let stored = manifest.shards.reduce(UInt64(0)) { $0 + $1.size }
        observer.report.finish("converted \(manifest.tensorCount) tensors")
        if json { return try printSummary(manifest, plan: plan, stored: stored) }
        if !quiet {
            let ratio = stored == 0 ? 1 : Double(plan.byteCount) / Double(stored)
            Console.note(
                "\(store): \(formattedBytes(stored)), ratio \(formatted(ratio, decimals: 3)), root digest \(manifest.rootDigest)\n"
            )
        }
    }

    private func printPlan(_ plan: ConversionPlan) throws(LaminaError) {
        for shard in plan.shards {
            try Console.out(
                "\(shard.path)  \(shard.tensors.count) tensors  \(formattedBytes(shard.byteCount))\n")
        }
        try Console.out(
            "\(plan.shards.count) shards, \(formattedBytes(plan.byteCount)) to read, about "
                + "\(formattedBytes(plan.expectedStoreBytes)) to write\n")
    }

    private func printSummary(_ manifest: Manifest, plan: ConversionPlan, stored: UInt64) throws(LaminaError) {
        let summary: JSONValue = [
            "store": .string(store), "architecture": .string(manifest.architecture),
            "shards": JSONValue(manifest.shards.count), "tensors": JSONValue(manifest.tensorCount),
            "source_bytes": JSONValue(plan.byteCount), "stored_bytes": JSONValue(stored),
            "root_digest": .string(manifest.rootDigest.description),
            "peak_memory_bytes": JSONValue(lamina_peak_resident_bytes()),
        ]
        try Console.out(summary.text() + "\n")
    }
}

/// Shows progress, and stops the conversion at the next block when a signal came.
private final class ProgressObserver: ConversionObserver {
    let report: ProgressReport
    private(set) var signal: Int32 = 0

    init(_ report: ProgressReport) { self.report = report }

    func stored(bytes: UInt64) throws(LaminaError) {
        signal = lamina_caught_signal()
        guard signal == 0 else { throw LaminaError(.io, "", "interrupted") }
        report.advance(by: bytes)
    }

    func finished(shard: Manifest.Shard, sourceBytes: UInt64, reused: Bool) {
        let what =
            reused ? "kept from the interrupted run" : "\(formattedBytes(sourceBytes)) -> \(formattedBytes(shard.size))"
        report.finishedPart("\(shard.path) \(what)")
    }
}
