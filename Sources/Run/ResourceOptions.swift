import ArgumentParser
import CSystem
import CommandLineSupport
import Inference
import TensorCore

/// Threads, memory and context: what changes speed, and, but for the type of keys and values and of quantized products,
/// never results.
struct ResourceOptions: ParsableArguments {
    @Option(name: [.short, .long], help: "Threads that compute. Default: all processors.")
    var threads: Int?

    @Option(
        help: ArgumentHelp(
            "Memory the process may take, such as 2GiB or 512MiB. Default: what is available, also to the cgroup, less an eighth.",
            valueName: "size"))
    var memory: ByteSize?

    @Option(
        name: [.customShort("c"), .customLong("ctx")],
        help: ArgumentHelp(
            "Positions to make room for. Default: the prompt and --max-tokens, at most what the model was made for.",
            valueName: "n"))
    var context: Int?

    @Option(
        name: .customLong("io"),
        help: ArgumentHelp(
            "How to read: auto, uring-registered, uring, pread (past the page cache) or buffered. Default: auto, the first of these that works.",
            valueName: "mode"))
    var readMode = ReadModeChoice(mode: nil)

    @Option(
        name: .customLong("io-depth"),
        help: ArgumentHelp("Requests in flight, 1 to 32. Default: found by a short probe.", valueName: "n"))
    var readDepth: Int?

    @Option(
        name: .customLong("kv-type"),
        help: ArgumentHelp(
            "How keys and values are kept: f32, f16, bf16 or q8 (a quarter of f32); all but f32 round them.",
            valueName: "type"))
    var keyValueType = KeyValueType.f32

    @Option(
        help: ArgumentHelp(
            "How quantized weights are multiplied: int8 (q8, q4, int8-row and ecq with 8-bit activations; faster) or f32 (all exactly). Other weights are always f32.",
            valueName: "mode"))
    var compute = ComputeMode.int8

    func validate() throws {
        if let readDepth, !(1...32).contains(readDepth) {
            throw ValidationError("--io-depth must be between 1 and 32, not \(readDepth)")
        }
        try checkThreads(threads)
        if let context, context < 1 { throw ValidationError("--ctx must be at least 1, not \(context)") }
    }

    /// Threads asked for, or one per processor.
    var threadCount: Int { threads ?? min(1024, max(1, Int(lamina_processor_count()))) }

    /// Positions for `wanted` tokens in `model`. Throws `.usage` for a context the model was not made for.
    func positions(_ wanted: Int, model: StoredModel) throws(LaminaError) -> Int {
        let most = model.config.maximumPositions
        guard let context else { return min(wanted, most) }
        guard context <= most else {
            throw LaminaError(
                .usage, "--ctx", "the model was not made for such a context", expected: "at most \(most) positions",
                found: "\(context)")
        }
        return context
    }

    /// Tokens to generate after a prompt of so many: `maxTokens`, less where the context ends. Throws `.usage` for a
    /// prompt that is longer than the context.
    func limit(promptTokens: Int, maxTokens: Int, model: StoredModel) throws(LaminaError) -> Int {
        // The last token generated is not fed back, so it needs no position.
        let wanted = promptTokens.addingReportingOverflow(maxTokens - 1)
        let positions = try positions(wanted.overflow ? Int.max : wanted.partialValue, model: model)
        guard promptTokens <= positions else {
            throw LaminaError(
                .usage, "--ctx", "the prompt is longer than the context", expected: "at most \(positions) tokens",
                found: "\(promptTokens)")
        }
        return min(maxTokens, positions - promptTokens + 1)
    }

    /// What a session is told.
    var session: SessionOptions {
        SessionOptions(
            threads: threadCount, memoryBytes: memory?.bytes, readMode: readMode.mode, readDepth: readDepth,
            keyValueType: keyValueType, compute: compute)
    }
}

extension KeyValueType: ExpressibleByArgument {}
extension ComputeMode: ExpressibleByArgument {}

/// `--io`: a way to read, or the best one that works.
struct ReadModeChoice: ExpressibleByArgument {
    /// `nil` for the best.
    var mode: ReadMode?

    init(mode: ReadMode?) { self.mode = mode }

    init?(argument: String) {
        guard argument != "auto" else {
            mode = nil
            return
        }
        guard let mode = ReadMode(rawValue: argument) else { return nil }
        self.mode = mode
    }

    var defaultValueDescription: String { mode?.rawValue ?? "auto" }
    static var allValueStrings: [String] { ["auto"] + ReadMode.allCases.map(\.rawValue) }
}

/// Token ids on a command line: `1,2,3`.
struct TokenList: ExpressibleByArgument {
    var ids: [Int]

    init?(argument: String) {
        var ids: [Int] = []
        for part in argument.split(separator: ",", omittingEmptySubsequences: false) {
            guard let id = Int(part), id >= 0 else { return nil }
            ids.append(id)
        }
        self.ids = ids
    }
}

/// Refuses ids that the model's vocabulary lacks. Throws `.usage`.
func checkTokens(_ ids: [Int], model: StoredModel, option: String) throws(LaminaError) {
    for id in ids where id >= model.config.vocabularySize {
        throw LaminaError(
            .usage, option, "token id out of range", expected: "0 to \(model.config.vocabularySize - 1)", found: "\(id)"
        )
    }
}
