import ArgumentParser
import CSystem
import Checkpoint
import CommandLineSupport
import Inference
import LayerStore
import StoreCommands
import StoreWriter
import TensorCore

struct ConvertCommand: ToolCommand {
    static let configuration = CommandConfiguration(
        commandName: "convert",
        abstract: "Convert a checkpoint folder into a layer store.",
        discussion: """
            SOURCE is a folder with config.json and model.safetensors, or several safetensors files and \
            model.safetensors.index.json; or, if it has none of these, pytorch_model.bin, or several and \
            pytorch_model.bin.index.json, whose pickles are read as data and never run. STORE is a folder that does not \
            exist yet, or an interrupted conversion of the same source with the same options: it is completed, and \
            finished layers are checked by digest, not by name. Equal input gives equal bytes, whatever the number of \
            threads.

            --quantize makes a smaller, lossy store in the same pass, as lamina-quantize does out of a lossless one.

            Codecs (all lossless): raw; exp-tier for BF16 (about 0.67 of the size, the fastest to run); exp-huf for \
            BF16 (half a percent smaller, plain zstd frames); fp16-huf for FP16 (0.85); fp32-planes for FP32 (0.84). \
            A codec applies to tensors of its type; the others take their standard one.

            Originals are only read, unless they are to be deleted: --delete-original deletes the files of weights once \
            the whole store is made and proven, as 'lamina-convert delete-original' does. --delete-progressively deletes \
            each as soon as all of its tensors are in layers that were read back from the disk and decoded to the same \
            bytes, so that source and store need not fit on the disk together. 'lamina-convert restore' brings the \
            originals back, byte for byte. A run that was killed is completed by the same command, deletion included.

            Examples:
              lamina-convert SmolLM2-135M-Instruct smollm2.lamina
              lamina-convert convert Llama-3.2-1B llama.lamina --codec raw --threads 4
              lamina-convert Llama-3.2-1B llama-4.lamina --quantize ecq --bits 4.25
              lamina-convert convert Llama-3.1-70B llama.lamina --delete-progressively --dry-run

            \(exitCodeHelp)
            """)

    @Argument(help: "The checkpoint folder, or ORG/NAME[@REVISION] out of the Hugging Face cache.")
    var source: String

    @Argument(help: "The layer store to make.")
    var store: String

    @Option(help: ArgumentHelp("auto, or a codec: raw, exp-tier, exp-huf, fp16-huf, fp32-planes.", valueName: "name"))
    var codec = "auto"

    @Option(
        help: ArgumentHelp(
            "Quantize: int8-row, q8, q4, nf4, nf4-double, int8-dynamic or ecq; see lamina-quantize --help.",
            valueName: "scheme"))
    var quantize: SchemeName?

    @OptionGroup(title: "Options of --quantize")
    var quantization: QuantizationOptions

    @Option(name: [.short, .long], help: "Threads to use. Default: all processors.")
    var threads: Int?

    @Flag(help: "Discard an interrupted conversion instead of completing it.")
    var restart = false

    @Flag(help: "Replace an existing store: the new one is made beside it, then both swap places and the old one goes.")
    var overwrite = false

    @Flag(
        help:
            "If the source of a layer cannot be read, go on with the others; there is no store, but what is readable is done."
    )
    var keepGoing = false

    @Flag(help: "Delete the originals once the store is made and proven.")
    var deleteOriginal = false

    @Flag(help: "Delete each original as soon as the store is proven to hold all of it.")
    var deleteProgressively = false

    @Flag(help: "Do not ask before deleting.")
    var yes = false

    @OptionGroup var permissions: DeletionOptions

    @Flag(help: "Print layers, sizes, the most disk and memory it needs and about how long it takes, and stop.")
    var dryRun = false

    @Flag(name: [.short, .long], help: "No progress, only errors.")
    var quiet = false

    @Flag(help: "Print a summary as JSON on standard output; with --dry-run the plan.")
    var json = false

    @Option(help: ArgumentHelp("Decoded size of a chunk; small values are for tests.", visibility: .hidden))
    var chunkBytes = ByteSize(bytes: ChunkGeometry.defaultTargetBytes)

    func validate() throws {
        try checkThreads(threads)
        let names = ["auto"] + Codecs.lossless.map(\.name)
        guard names.contains(codec) else {
            throw ValidationError("--codec must be one of \(names.joined(separator: ", ")), not '\(codec)'")
        }
        guard (1024...(16 << 20)).contains(chunkBytes.bytes) else {
            throw ValidationError("--chunk-bytes must be between 1K and 16M")
        }
        if deleteOriginal, deleteProgressively {
            throw ValidationError("--delete-original and --delete-progressively exclude each other")
        }
        if quantize == nil, !quantization.isDefault {
            throw ValidationError("--bits, --coding, --embeddings, --head, --keep and --target-size go with --quantize")
        }
        if permissions.deleteBlobs, !deleteOriginal, !deleteProgressively {
            throw ValidationError("--delete-blobs goes with --delete-original or --delete-progressively")
        }
    }

    private var deletes: Bool { deleteOriginal || deleteProgressively }

    func execute() throws(LaminaError) {
        lamina_catch_signals()
        let fileSystem = RealFileSystem()
        let source = try HuggingFaceCache(environment: Console.environment(HuggingFaceCache.variables))
            .checkpointFolder(for: self.source, in: fileSystem)
        let destination = try Destination(store, in: fileSystem)
        let place = try destination.workPlace(overwrite: overwrite)
        let isUnderWay = try fileSystem.exists(place)
        let checkpoint = try CheckpointFolder(
            path: source, deleted: try DeletedSources.files(of: isUnderWay ? place : store, in: fileSystem),
            in: fileSystem)
        let policy = if let quantize { try quantization.policy(quantize) } else { QuantizationPolicy?.none }
        let planner = ConversionPlanner(
            checkpoint: checkpoint, codec: codec == "auto" ? nil : Codecs.named(codec), chunkBytes: chunkBytes.bytes,
            policy: policy)
        var (plan, notes) = try planner.plan()
        let kernels = try chosenKernels()
        let known = restart ? [] : try PartialManifest.read(in: place, fileSystem)?.steps ?? []
        try quantization.setRates(of: &plan)
        try StepSolver(threads: options.threads, kernels: kernels).solve(&plan, known: known)
        try destination.checkSeparation(from: source)
        if !quiet { for note in notes { Console.note("note: \(escapedForDisplay(note))\n") } }
        let conversion = Conversion(plan: plan, options: options, kernels: kernels, fileSystem: fileSystem)
        if try isDone(conversion, place: place, destination) { return }
        let forecast = try ConversionForecast(
            plan, finished: try conversion.finishedShards(at: place),
            freed: deleteProgressively ? try freedBytes(plan, destination, in: fileSystem) : [],
            threads: options.threads, kernels: conversion.kernels)
        if dryRun { return try ConversionReport(plan: plan, forecast: forecast).show(destination, json: json) }
        try destination.checkSpace(
            for: forecast.peakBytes, hint: "make room, or choose another disk; --delete-progressively needs less")
        if deletes {
            try checkPrecision(policy)
            let what = deleteOriginal ? "once the store is proven" : "one by one, as soon as the store holds them"
            try Consent.require("Delete the weight files of \(plan.sourceFolder) \(what)?", yes: yes)
        }
        let run = ConversionRun(
            conversion, CheckpointSource(checkpoint), verb: "convert", past: "converted", isQuiet: quiet)
        let manifest = try run.make(at: place)
        try destination.replaceOld(from: place)
        try finish(manifest, plan, deleted: run.deleted)
    }

    /// Throws `.malformed` if the only copy at full precision would be deleted without that being allowed.
    private func checkPrecision(_ policy: QuantizationPolicy?) throws(LaminaError) {
        guard let policy, !permissions.allowLossy else { return }
        throw LaminaError(
            .malformed, store, "the store will be lossy: its originals are the only copy at full precision",
            found: policy.layers.scheme.name, hint: "--allow-lossy deletes them all the same")
    }

    private var options: Conversion.Options {
        var options = Conversion.Options(threads: threads ?? min(1024, Int(lamina_processor_count())))
        options.restarts = restart
        options.keepsGoing = keepGoing
        options.deletesProgressively = deleteProgressively
        options.deletesBlobs = permissions.deleteBlobs
        return options
    }

    /// What progressive deletion frees with each file, where it frees space of the store's disk. Throws `.io`.
    private func freedBytes(
        _ plan: ConversionPlan, _ destination: Destination, in fileSystem: any FileSystem
    ) throws(LaminaError) -> [UInt64] {
        let device = destination.device
        return try OriginalsDeletion.freedBytes(plan, deletesBlobs: permissions.deleteBlobs, in: fileSystem) {
            $0.identity.device == device
        }
    }

    // MARK: After the conversion

    /// Whether an earlier run made the store, and all that is left is done now. Throws `.cannotCreate` if there is a
    /// store and nothing is left to do.
    private func isDone(
        _ conversion: Conversion, place: String, _ destination: Destination
    ) throws(LaminaError) -> Bool {
        if try isReplaced(conversion, place: place) { return true }
        guard
            let manifest = try destination.finishedEarlier(conversion, at: place, accepts: deletes, dryRun: dryRun)
        else { return false }
        if !quiet { Console.note("note: an earlier run made the store\n") }
        try finish(manifest, conversion.plan, deleted: nil)
        return true
    }

    /// Whether an earlier run replaced the store and began to delete the originals: then that is completed. Throws what
    /// deleting throws.
    private func isReplaced(_ conversion: Conversion, place: String) throws(LaminaError) -> Bool {
        let isUnderWay = try conversion.fileSystem.exists(place)
        guard place != store, deletes, !dryRun, !isUnderWay,
            case .completed(let made, _) = try conversion.find(at: store),
            let record = try OriginalsRecord.read(in: store, conversion.fileSystem),
            record.files.contains(where: { $0.state != .present })
        else { return false }
        try finish(made.manifest, conversion.plan, deleted: nil)
        return true
    }

    /// Deletes what is left to delete and says what was made. `deleted` is what the conversion deleted itself.
    private func finish(
        _ manifest: Manifest, _ plan: ConversionPlan, deleted: [OriginalsDeletion.Entry]?
    ) throws(LaminaError) {
        var entries = deleted ?? []
        if deleteOriginal || (deleteProgressively && deleted == nil) {
            try Consent.require("Delete the weight files of \(plan.sourceFolder)?", yes: yes || deleted != nil)
            let made = try Store(path: store, in: RealFileSystem())
            var deletion = try OriginalsDeletion(of: made, permissions: permissions.value)
            entries = try deletion.preview()
            // Nothing is left to delete after a progressive conversion.
            if entries.contains(where: { $0.outcome != .gone }) {
                entries = try deletion.run(threads: threads, isQuiet: quiet)
            } else {
                try deletion.release()
            }
        }
        if !quiet, deleteOriginal || deleted == nil {
            for entry in entries { Console.note(OriginalsReport.line(entry) + "\n") }
        }
        let summary = ConversionSummary(store: store, manifest: manifest, plan: plan, originals: entries)
        if json { try Console.out(summary.json.text() + "\n") } else if !quiet { Console.note(summary.text + "\n") }
        try OriginalsReport.check(entries, store: store)
    }
}
