import ArgumentParser
import CKernels
import CSystem
import CommandLineSupport
import LayerStore
import Synchronization
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
            tensor and compares it with the digest of the checkpoint it came from. Damage is listed on standard output,
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
        if let threads, !(1...1024).contains(threads) {
            throw ValidationError("--threads must be between 1 and 1024, not \(threads)")
        }
    }

    func execute() throws(LaminaError) {
        lamina_catch_signals()
        let opened = try Store(path: store, in: RealFileSystem())
        let level: Verification.Level = quick ? .quick : decode ? .decode : .full
        let verification = Verification(store: opened, level: level, kernels: try chosenKernels())
        var damage = try verification.checkSideFiles()
        let run = VerifyRun(
            verification, ProgressReport(label: "verify", totalBytes: verification.byteCount, isQuiet: quiet))
        damage += try run.shards(threads: threads ?? Int(lamina_processor_count()))
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

    private func report(_ damage: [LaminaError], _ manifest: Manifest, _ level: Verification.Level) throws(LaminaError)
    {
        guard json else {
            for entry in damage { try Console.out("\(entry)\n") }
            if damage.isEmpty {
                let what =
                    level == .quick ? "structure intact" : level == .full ? "intact" : "intact, and equal to its source"
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

/// Checks shards side by side: SHA-256 is serial within a file, so files are what threads share.
private final class VerifyRun: Sendable {
    private let verification: Verification
    private let progress: Mutex<ProgressReport>
    private let results: Mutex<[Int: [LaminaError]]> = Mutex([:])
    private let failure = FirstFailure()

    init(_ verification: Verification, _ progress: sending ProgressReport) {
        self.verification = verification
        self.progress = Mutex(progress)
    }

    /// All damage, in the order of the shards. Throws `.io`, `.limit`.
    func shards(threads: Int) throws(LaminaError) -> [LaminaError] {
        let shards = verification.store.manifest.shards
        guard let pool = lamina_pool_create(max(1, min(threads, shards.count))) else {
            throw LaminaError(.limit, "", "cannot start \(threads) threads")
        }
        defer { lamina_pool_destroy(pool) }
        lamina_pool_run(
            pool, shards.count,
            { context, index, _ in
                guard let context else { return }
                Unmanaged<VerifyRun>.fromOpaque(context).takeUnretainedValue().check(index)
            }, Unmanaged.passUnretained(self).toOpaque())
        progress.withLock { $0.clear() }
        let signal = lamina_caught_signal()
        if signal != 0 { CommandLineTool.exitForSignal(signal) }
        try failure.rethrow()
        progress.withLock { $0.finish("read") }
        return results.withLock { found in shards.indices.flatMap { found[$0] ?? [] } }
    }

    private func check(_ index: Int) {
        let shard = verification.store.manifest.shards[index]
        do throws(LaminaError) {
            let damage = try verification.check(shard) { (bytes) throws(LaminaError) in
                guard lamina_caught_signal() == 0 else { throw LaminaError(.io, "", "interrupted") }
                progress.withLock { $0.advance(by: UInt64(bytes)) }
            }
            results.withLock { $0[index] = damage }
            progress.withLock { $0.finishedPart("\(shard.path) \(damage.isEmpty ? "intact" : "DAMAGED")") }
        } catch {
            failure.note(error)
        }
    }
}
