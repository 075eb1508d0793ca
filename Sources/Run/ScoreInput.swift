import Inference
import TensorCore
import Text

/// One line to be scored: what the model is given, and what it might continue with.
struct ScoreRequest {
    /// Echoed in the result.
    var id: JSONValue?
    var prompt: [Int]
    var continuation: [Int]
    /// What errors call it.
    var place: String

    /// The last token only follows.
    var sequence: EvaluationSequence {
        let count = prompt.count + continuation.count
        return EvaluationSequence(
            tokens: prompt + continuation, fed: count - 1, wanted: (prompt.count - 1)..<(count - 1))
    }
}

/// The lines to be scored, tokenized as lm-evaluation-harness does for causal models: prompt and continuation together,
/// after spaces at the prompt's end have moved to the continuation; what is behind as many tokens as the prompt alone has
/// is the continuation.
struct ScoreInput {
    private static let lines = JSONLines(
        keys: ["id", "prompt", "prompt_ids", "continuation", "continuation_ids"], contents: "requests",
        example: "{\"prompt\": \"Water boils at\", \"continuation\": \" 100 degrees\"}")

    let model: StoredModel
    let text: ModelText?
    /// Whether the tokens that a text begins with come before each prompt.
    let addsBeginning: Bool

    /// All requests of `path`, or of standard input for `-`. Throws as `JSONLines`.
    func requests(of path: String) throws(LaminaError) -> [ScoreRequest] {
        try ScoreInput.lines.values(of: path) { (object, place) throws(LaminaError) in
            let id = try object.echoedID()
            let (prompt, continuation) = try tokens(object)
            guard !continuation.isEmpty else { throw LaminaError(.malformed, "", "the continuation is empty") }
            return ScoreRequest(
                id: id, prompt: prompt.isEmpty ? try beginning() : prompt, continuation: continuation, place: place)
        }
    }

    private func tokens(_ object: JSONObject) throws(LaminaError) -> (prompt: [Int], continuation: [Int]) {
        func only(_ names: [String]) throws(LaminaError) {
            let found = names.filter { object[$0] != nil }
            guard found.count == 1 else {
                throw LaminaError(
                    .malformed, "", "not one \(names[0])",
                    expected: names.map { "\"\($0)\"" }.joined(separator: " or "),
                    found: found.isEmpty ? "none" : "both")
            }
        }
        try only(["prompt", "prompt_ids"])
        try only(["continuation", "continuation_ids"])
        let prompt = try object.member("prompt", "a string", \.string)
        let continuation = try object.member("continuation", "a string", \.string)
        if let prompt, let continuation { return try pair(prompt, continuation) }
        let promptIDs = if let prompt { try ids(prompt) } else { try object.tokenIDs("prompt_ids") }
        let continuationIDs =
            if let continuation {
                try tokenizer().encode(continuation, addSpecialTokens: false)
            } else {
                try object.tokenIDs("continuation_ids")
            }
        for ids in [promptIDs, continuationIDs] { try checkTokens(ids ?? [], model: model, option: "") }
        return (promptIDs ?? [], continuationIDs ?? [])
    }

    private func pair(_ prompt: String, _ continuation: String) throws(LaminaError) -> ([Int], [Int]) {
        var context = prompt.unicodeScalars
        while let last = context.last, last.properties.isWhitespace { context.removeLast() }
        let kept = String(context)
        let whole = try model.known(ids(prompt + continuation))
        let count = try kept.isEmpty ? 0 : ids(kept).count
        // A prompt of spaces alone has no tokens of its own, so neither has it the ones a text begins with.
        let start = kept.isEmpty && addsBeginning ? try tokenizer().beginning.count : count
        return (Array(whole.prefix(start)), Array(whole.dropFirst(start)))
    }

    /// A text's ids, with those that texts begin with where they are wanted.
    private func ids(_ text: String) throws(LaminaError) -> [Int] {
        let tokenizer = try tokenizer()
        return (addsBeginning ? tokenizer.beginning : [])
            + (try model.known(tokenizer.encode(text, addSpecialTokens: false)))
    }

    private func tokenizer() throws(LaminaError) -> Tokenizer {
        guard let text else {
            throw LaminaError(
                .usage, "", "the store has no tokenizer, so it takes no text",
                hint: "give \"prompt_ids\" and \"continuation_ids\"")
        }
        return text.tokenizer
    }

    /// What stands for an empty prompt: the beginning-of-sequence token, else the end-of-sequence token.
    private func beginning() throws(LaminaError) -> [Int] {
        let beginning = text?.tokenizer.beginning ?? []
        if !beginning.isEmpty { return beginning }
        guard let token = text?.firstToken ?? model.config.endTokens.first else {
            throw LaminaError(.malformed, "", "the prompt is empty, and the model has no token to begin with")
        }
        return [token]
    }
}
