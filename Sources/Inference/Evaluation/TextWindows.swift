import TensorCore

/// How a text is divided for its perplexity: windows of `context` tokens, of each of which the later positions count, so
/// that every token counted has been predicted from some text before it.
///
/// As llama-perplexity: windows lie next to each other, their first tokens are replaced by those that a text begins
/// with, and the predictions at positions context / 2 to context - 2 count. Or, with a stride, a window begins every
/// `stride` tokens, nothing is replaced, and the last `stride` predictions of each count. What is left over at the end
/// of the text does not count.
public struct TextWindows: Sendable, Equatable {
    public let context: Int
    /// `nil` for windows next to each other.
    public let stride: Int?
    /// Tokens of the whole text.
    public let tokenCount: Int
    /// The windows, each without the need to feed its last token.
    public let sequences: [EvaluationSequence]

    /// The smallest context of which a position counts besides the first.
    public static let leastContext = 4

    /// Divides a text. `beginning` are the tokens that every text begins with, as the first tokens of `tokens` do;
    /// `most` bounds the number of windows.
    ///
    /// Throws `.usage` for an impossible context or stride, `.malformed` for a text that is too short: less than two
    /// windows, or with a stride not more than one.
    public init(
        tokens: [Int], beginning: [Int], context: Int, stride: Int? = nil, most: Int = .max
    ) throws(LaminaError) {
        guard context >= TextWindows.leastContext, beginning.count <= context / 2 else {
            throw LaminaError(
                .usage, "--ctx", "the context is too short to measure anything",
                expected: "at least \(max(TextWindows.leastContext, 2 * beginning.count))", found: "\(context)")
        }
        guard stride.map({ (1..<context).contains($0) }) ?? true else {
            throw LaminaError(
                .usage, "--stride", "value out of range", expected: "1 to \(context - 1)",
                found: "\(stride ?? 0)")
        }
        let needed = stride == nil ? 2 * context : context + 1
        guard tokens.count >= needed else {
            throw LaminaError(
                .malformed, "", "the text is too short for this context", expected: "at least \(needed) tokens",
                found: "\(tokens.count)", hint: "give a longer --text, or lower --ctx")
        }
        self.context = context
        self.stride = stride
        tokenCount = tokens.count
        let step = stride ?? context
        let count = stride == nil ? tokens.count / context : dividedUp(tokens.count - context, by: step)
        let first = stride.map { context - 1 - $0 } ?? context / 2
        sequences = (0..<min(count, max(1, most))).map { index in
            var window = Array(tokens[(index * step)..<(index * step + context)])
            if stride == nil { window.replaceSubrange(0..<beginning.count, with: beginning) }
            return EvaluationSequence(tokens: window, fed: context - 1, wanted: first..<(context - 1))
        }
    }

    /// Positions that count in each window.
    public var countedPerWindow: Int { stride ?? context - 1 - context / 2 }
    /// Positions that count, of all windows.
    public var countedPositions: Int { countedPerWindow * sequences.count }
    /// Tokens that the model takes.
    public var fedTokens: Int { (context - 1) * sequences.count }
}
