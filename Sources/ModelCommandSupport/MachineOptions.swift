import ArgumentParser
import CSystem
import CommandLineSupport
import Inference
import TensorCore

/// Threads, memory and reading: what changes speed, and, but for the type of keys and values and of products with
/// quantized weights, never results.
public struct MachineOptions: ParsableArguments {
    @Option(name: [.short, .long], help: "Threads that compute. Default: all processors.")
    public var threads: Int?

    @Option(
        help: ArgumentHelp(
            "Memory the process may take, such as 2GiB or 512MiB. Default: what is available, also to the cgroup, less an eighth.",
            valueName: "size"))
    public var memory: ByteSize?

    @Option(
        name: .customLong("io"),
        help: ArgumentHelp(
            "How to read: auto, uring-registered, uring, pread (past the page cache) or buffered. Default: auto, the first of these that works.",
            valueName: "mode"))
    public var readMode = ReadModeChoice(mode: nil)

    @Option(
        name: .customLong("io-depth"),
        help: ArgumentHelp("Requests in flight, 1 to 32. Default: found by a short probe.", valueName: "n"))
    public var readDepth: Int?

    @Option(
        name: .customLong("kv-type"),
        help: ArgumentHelp(
            "How keys and values are kept: f32, f16, bf16 or q8 (a quarter of f32); all but f32 round them.",
            valueName: "type"))
    public var keyValueType = KeyValueType.f32

    @Option(
        help: ArgumentHelp(
            "How quantized weights are multiplied: int8 (q8, q4, int8-row and ecq by 8-bit activations) or f32 (all as the numbers they stand for). Default: int8; other weights are always f32.",
            valueName: "mode"))
    public var compute: ComputeMode?

    public init() {}

    public func validate() throws {
        if let readDepth, !(1...32).contains(readDepth) {
            throw ValidationError("--io-depth must be between 1 and 32, not \(readDepth)")
        }
        try checkThreads(threads)
    }

    /// Threads asked for, or one per processor.
    public var threadCount: Int { threads ?? min(1024, max(1, Int(lamina_processor_count()))) }

    /// What a session is told.
    public var session: SessionOptions {
        SessionOptions(
            threads: threadCount, memoryBytes: memory?.bytes, readMode: readMode.mode, readDepth: readDepth,
            keyValueType: keyValueType, compute: compute ?? .int8)
    }
}

extension KeyValueType: ExpressibleByArgument {}
extension ComputeMode: ExpressibleByArgument {}

/// `--io`: a way to read, or the best one that works.
public struct ReadModeChoice: ExpressibleByArgument, Sendable {
    /// `nil` for the best.
    public var mode: ReadMode?

    public init(mode: ReadMode?) { self.mode = mode }

    public init?(argument: String) {
        guard argument != "auto" else {
            mode = nil
            return
        }
        guard let mode = ReadMode(rawValue: argument) else { return nil }
        self.mode = mode
    }

    public var defaultValueDescription: String { mode?.rawValue ?? "auto" }
    public static var allValueStrings: [String] { ["auto"] + ReadMode.allCases.map(\.rawValue) }
}
