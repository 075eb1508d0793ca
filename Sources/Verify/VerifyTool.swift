import ArgumentParser
import CSystem
import CommandLineSupport
import LayerStore
import TensorCore

@main
enum Main {
    static func main() { CommandLineTool.main(VerifyTool.self) }
}

struct VerifyTool: ToolCommand {
    static let configuration = CommandConfiguration(
        commandName: "lamina-verify",
        abstract: "Prove that a layer store is intact, or name what is not.",
        discussion: """
            By default all bytes are read: every chunk against its checksum, every shard and side file against its
            SHA-256. --quick reads the manifest, side files, sizes and shard headers only. --decode also decodes every
            tensor and compares it with the digest of the checkpoint it came from; quantized tensors, which are not
            what the checkpoint had, are decoded and looked at panel by panel. Damage is listed on standard output,
            one line each, with file, layer, tensor and byte range.

            Examples:
              lamina-verify smollm2.lamina
              lamina-verify smollm2.lamina --decode --json

            \(exitCodeHelp)
            """,
        version: versionText(tool: "lamina-verify"))

    @Argument(help: "The layer store.")
    var store: String

    @Flag(help: "Check structure, sizes and side files only.")
    var quick = false

    @Flag(help: "Decode every tensor and compare it with its source's digest.")
    var decode = false

    @Option(name: [.short, .long], help: "Threads to use. Default: all processors.")
    var threads: Int?

    @Flag(help: "Print a report as JSON.")
    var json = false

    @Flag(name: [.short, .long], help: "No progress, only the result.")
    var quiet = false

    func validate() throws {
        if quick, decode { throw ValidationError("--quick and --decode exclude each other") }
        try checkThreads(threads)
    }

    func execute() throws(LaminaError) {
        lamina_catch_signals()
        let opened = try Store(path: store, in: RealFileSystem())
        let level: Verification.Level = quick ? .quick : decode ? .decode : .full
        let verification = Verification(store: opened, level: level, kernels: try chosenKernels())
        var damage = try verification.checkSideFiles()
        damage += try checkShards(verification)
        for path in try verification.unlistedFiles() where !quiet {
            Console.note("note: \(escapedForDisplay(path)) is not part of the store\n")
        }
        try report(damage, opened.manifest, level)
        if !damage.isEmpty {
            // Right checksums over impossible content are no decay: the store was made so.
            let isDecay = damage.contains { $0.kind == .damaged }
            throw LaminaError(
                isDecay ? .damaged : .malformed, store,
                "\(damage.count) damaged place\(damage.count == 1 ? "" : "s") found",
                hint: "make the store again from its checkpoint: lamina-convert SOURCE STORE")
        }
    }

    private func checkShards(_ verification: Verification) throws(LaminaError) -> [LaminaError] {
        let progress = SharedProgress(label: "verify", totalBytes: verification.byteCount, isQuiet: quiet)
        let run = ParallelVerification(verification) { (bytes) throws(LaminaError) in
            try progress.advance(by: bytes)
        } finished: { shard, isIntact in
            progress.finishedPart("\(shard.path) \(isIntact ? "intact" : "DAMAGED")")
        }
        return try progress.run("read") { () throws(LaminaError) in
            try run.shards(threads: threads ?? Int(lamina_processor_count()))
        }
    }

    private func decodedText(_ manifest: Manifest) -> String {
        let lossy = manifest.lossyTensors.count
        guard lossy > 0 else { return "intact, and equal to its source" }
        return "intact; \(lossy) tensors are quantized, the others equal to their source"
    }

    private func report(_ damage: [LaminaError], _ manifest: Manifest, _ level: Verification.Level) throws(LaminaError)
    {
        guard json else {
            for entry in damage { try Console.out("\(entry)\n") }
            if damage.isEmpty {
                let what =
                    level == .quick ? "structure intact" : level == .full ? "intact" : decodedText(manifest)
                try Console.out("\(store): \(what), root digest \(manifest.rootDigest)\n")
            }
            return
        }
        let entries: [JSONValue] = damage.map { entry in
            [
                "file": .string(entry.subject), "layer": JSONValue(entry.layer), "tensor": JSONValue(entry.tensor),
                "bytes": entry.bytes.map { [JSONValue($0.lowerBound), JSONValue($0.upperBound)] } ?? .null,
                "problem": .string(entry.problem), "expected": JSONValue(entry.expected),
                "found": JSONValue(entry.found),
            ]
        }
        let document: JSONValue = [
            "store": .string(store), "level": .string(level.rawValue), "intact": .bool(damage.isEmpty),
            "root_digest": .string(manifest.rootDigest.description), "damage": .array(entries),
        ]
        try Console.out(document.text() + "\n")
    }
}
