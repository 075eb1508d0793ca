import Inference
import TensorCore
import Text

/// One sequence being continued: chooses its tokens, turns them into text, and knows when it has ended.
struct SequenceGeneration {
    /// Why it ended.
    enum FinishReason: String, CaseIterable { case stop, length, interrupted }

    /// A token that was chosen.
    struct Step {
        var id: Int
        /// The text that is final with it, if any.
        var text: String?
    }

    let prompt: [Int]
    /// Most tokens to generate.
    let limit: Int
    /// Ids that end the text and are not part of it.
    private let ends: Set<Int>
    private var sampler: Sampler
    private var detokenizer: StreamingDetokenizer?
    private var stops: StopStrings
    private var history: [Int]
    private(set) var ids: [Int] = []
    /// The text so far; empty without a tokenizer.
    private(set) var text = ""
    private(set) var finishReason = FinishReason.interrupted

    init(prompt: [Int], limit: Int, ends: Set<Int>, sampler: Sampler, tokenizer: Tokenizer?, stops: [String]) {
        self.prompt = prompt
        self.limit = limit
        self.ends = ends
        self.sampler = sampler
        history = prompt
        self.stops = StopStrings(stops)
        detokenizer = tokenizer.map { StreamingDetokenizer($0, skipSpecialTokens: true) }
    }

    /// Whether there is nothing more to come, for a reason of its own.
    var isFinished: Bool { finishReason != .interrupted }

    /// Chooses the next token by the logits of sequence `number` in `session`; `nil` if it is the end. Throws
    /// `.unexpected` for logits that are no numbers.
    mutating func next(_ session: InferenceSession, number: Int) throws(LaminaError) -> Step? {
        let id = try session.withLogits(of: number) { (logits) throws(LaminaError) in
            try sampler.sample(logits: logits, history: history)
        }
        if ends.contains(id) {
            finishReason = .stop
            return nil
        }
        history.append(id)
        ids.append(id)
        if ids.count == limit { finishReason = .length }
        let part = detokenizer?.append(id).map { stops.append($0) }
        if let part { text += part }
        if stops.hasStopped { finishReason = .stop }
        return Step(id: id, text: part)
    }

    /// Adds what was held back; there must be no more tokens.
    mutating func finishText() {
        if let rest = detokenizer?.finish() { text += stops.append(rest) }
        text += stops.finish()
    }
}

extension SequenceGeneration {
    /// The answer as the commands print it; its text is null where there is no tokenizer.
    func json(hasText: Bool, seed: UInt64) -> JSONObject {
        JSONObject([
            ("text", JSONValue(hasText ? text : nil)), ("ids", .array(ids.map { JSONValue($0) })),
            ("finish_reason", .string(finishReason.rawValue)), ("seed", JSONValue(seed)),
        ])
    }
}

extension GenerationDefaults {
    /// Ids that end a text of `model`: what generation_config.json says, else config.json, and the tokenizer's own.
    func ends(_ model: StoredModel, _ text: ModelText?, isChat: Bool) -> Set<Int> {
        Set(endTokens ?? model.config.endTokens).union(text?.endTokens(isChat: isChat) ?? [])
    }
}
