import ArgumentParser
import CSystem
import CommandLineSupport
import LayerStore
import StoreCommands
import StoreWriter
import TensorCore

/// What the commands that make a checkpoint out of a store have in common.
struct CheckpointOutput: ParsableArguments {
    @Argument(help: "The layer store.")
    var store: String

    @Argument(help: "The folder for the checkpoint.")
    var directory: String

    @Option(name: [.short, .long], help: "Threads to use. Default: all processors.")
    var threads: Int?

    @Flag(help: "Print what would be written and stop.")
    var dryRun = false

    @Flag(name: [.short, .long], help: "No progress, only results and errors.")
    var quiet = false

    @Flag(help: "Print a summary as JSON on standard output.")
    var json = false

    func validate() throws {
        if let threads, !(1...1024).contains(threads) {
            throw ValidationError("--threads must be between 1 and 1024, not \(threads)")
        }
    }

    /// Makes those files that `choose` takes from the opened store, and prints names and digests. `verb` and its past
    /// form are for progress.
    func run(
        verb: String, past: String, neighbours: CheckpointWriter.Neighbours,
        choose: (Store) throws(LaminaError) -> [CheckpointFile]
    ) throws(LaminaError) {
        lamina_catch_signals()
        let fileSystem = RealFileSystem()
        let kernels = try chosenKernels()
        let opened = try Store(path: store, in: fileSystem)
        let files = try choose(opened)
        let destination = try Destination(directory, in: fileSystem)
        try destination.checkSeparation(from: store)
        let parent = destination.parent
        let writer = try CheckpointWriter(
            files, of: opened, in: directory, neighbours: neighbours,
            threads: threads ?? Int(lamina_processor_count()), kernels: kernels)
        let observer = CheckpointProgress(
            ProgressReport(label: verb, totalBytes: writer.byteCount, isQuiet: quiet || dryRun))
        do throws(LaminaError) {
            if dryRun { return try printPlan(try writer.inspect(observer), parent: parent, in: fileSystem) }
            let finished = try writer.run(observer)
            observer.report.finish("\(past) \(finished.count) files")
            try printResult(finished)
        } catch {
            observer.report.clear()
            guard observer.signal != 0 else { throw error }
            Console.note("interrupted: the same command goes on with it\n")
            CommandLineTool.exitForSignal(observer.signal)
        }
    }

    private func printPlan(
        _ files: [(file: CheckpointFile, digest: SHA256Digest?)], parent: String, in fileSystem: any FileSystem
    ) throws(LaminaError) {
        let needed = files.reduce(UInt64(0)) { $0 + ($1.digest == nil ? $1.file.size : 0) }
        let free: UInt64? = if case .success(let bytes) = fileSystem.freeBytes(at: parent) { bytes } else { nil }
        if json {
            let entries: [JSONValue] = files.map {
                [
                    "name": .string($0.file.name), "size": JSONValue($0.file.size),
                    "is_there": .bool($0.digest != nil),
                ]
            }
            let plan: JSONValue = [
                "directory": .string(directory), "files": .array(entries), "bytes_to_write": JSONValue(needed),
                "free_bytes": free.map { JSONValue($0) } ?? .null,
            ]
            return try Console.out(plan.text() + "\n")
        }
        for (file, digest) in files {
            try Console.out("\(file.name)  \(file.size) bytes\(digest == nil ? "" : ", there already")\n")
        }
        let space = free.map { ", \(formattedBytes($0)) free" } ?? ""
        try Console.out("\(formattedBytes(needed)) to write\(space)\n")
    }

    /// Lines as `sha256sum --check` takes them.
    private func printResult(_ files: [FinishedFile]) throws(LaminaError) {
        guard json else {
            for file in files { try Console.out("\(file.digest)  \(file.name)\n") }
            return
        }
        let entries: [JSONValue] = files.map {
            [
                "name": .string($0.name), "size": JSONValue($0.size), "sha256": .string($0.digest.description),
                "was_there": .bool($0.wasThere),
            ]
        }
        let summary: JSONValue = [
            "directory": .string(directory), "files": .array(entries),
            "bytes": JSONValue(files.reduce(UInt64(0)) { $0 + $1.size }),
            "peak_memory_bytes": JSONValue(lamina_peak_resident_bytes()),
        ]
        try Console.out(summary.text() + "\n")
    }
}

/// Shows progress, and stops at the next window when a signal came.
private final class CheckpointProgress: CheckpointObserver {
    let report: ProgressReport
    private(set) var signal: Int32 = 0

    init(_ report: ProgressReport) { self.report = report }

    func processed(bytes: UInt64) throws(LaminaError) {
        signal = lamina_caught_signal()
        guard signal == 0 else { throw LaminaError(.io, "", "interrupted") }
        report.advance(by: bytes)
    }

    func finished(_ file: FinishedFile) {
        report.finishedPart("\(file.name) \(formattedBytes(file.size))\(file.wasThere ? ", there already" : "")")
    }
}
