import CSystem
import CommandLineSupport
import Inference
import TensorCore
import Text

/// An answer and what it took.
struct ChatAnswer {
    var text: String
    var finishReason: SequenceGeneration.FinishReason
    /// Tokens of the conversation up to the answer, and of these the ones that the KV cache held already.
    var promptTokens: Int
    var keptTokens: Int
    var generatedTokens: Int
    var promptSeconds: Double
    var generationSeconds: Double
    var bytesRead: UInt64
}

/// Answers conversations. Keys and values of what a conversation has in common with the one before are kept: a further
/// turn only takes the tokens that are new.
final class ChatEngine {
    let session: InferenceSession
    private let encoder: PromptEncoder
    private let tokenizer: Tokenizer
    private let ends: Set<Int>
    private let settings: SamplerSettings
    private let stops: [String]
    /// The tokens that the KV cache holds.
    private var tokens: [Int] = []
    private var answers: UInt64 = 0

    /// Tokens of a prompt after which Ctrl-C is looked at.
    private static let promptPart = 512

    init(
        session: InferenceSession, encoder: PromptEncoder, tokenizer: Tokenizer, ends: Set<Int>,
        settings: SamplerSettings, stops: [String]
    ) {
        self.session = session
        self.encoder = encoder
        self.tokenizer = tokenizer
        self.ends = ends
        self.settings = settings
        self.stops = stops
    }

    /// Continues a conversation with at most `limit` tokens; `output` gets text as it becomes final. Ctrl-C ends the
    /// answer after the pass that is under way; `nil` if there was none yet. Throws `.limit` for a conversation that
    /// fills the context, and what rendering and running it throw.
    func answer(
        _ messages: [JSONValue], tools: JSONValue?, limit: Int, output: (String) throws(LaminaError) -> Void
    ) throws(LaminaError) -> ChatAnswer? {
        let prompt = try encoder.ids(messages: messages, tools: tools)
        guard prompt.count <= session.capacity else {
            throw LaminaError(
                .limit, "--ctx", "the conversation is longer than the context",
                expected: "at most \(session.capacity) tokens", found: "\(prompt.count)",
                hint: "/reset begins anew; --ctx makes more room")
        }
        let (started, before) = (lamina_monotonic_seconds(), session.statistics.bytesRead)
        let kept = keepBeginning(of: prompt)
        guard try feed(Array(prompt[kept...])) else { return nil }
        let generating = lamina_monotonic_seconds()
        let generation = try generate(prompt, limit: limit, output: output)
        return ChatAnswer(
            text: generation.text, finishReason: generation.finishReason, promptTokens: prompt.count, keptTokens: kept,
            generatedTokens: generation.ids.count, promptSeconds: generating - started,
            generationSeconds: lamina_monotonic_seconds() - generating,
            bytesRead: session.statistics.bytesRead - before)
    }

    /// Takes back what the KV cache holds beyond the beginning that it has in common with `prompt`; returns how much
    /// that is. At least the last token is left to be fed, for its logits.
    private func keepBeginning(of prompt: [Int]) -> Int {
        var common = 0
        while common < min(tokens.count, prompt.count - 1), tokens[common] == prompt[common] { common += 1 }
        session.rewind(to: common)
        tokens.removeLast(tokens.count - session.position)
        return session.position
    }

    /// False if Ctrl-C ended it.
    private func feed(_ new: [Int]) throws(LaminaError) -> Bool {
        var next = 0
        while next < new.count {
            let part = Array(new[next..<min(next + ChatEngine.promptPart, new.count)])
            _ = try session.prefill(part)
            tokens += part
            next += part.count
            if lamina_caught_signal() != 0 { return false }
        }
        return true
    }

    private func generate(
        _ prompt: [Int], limit: Int, output: (String) throws(LaminaError) -> Void
    ) throws(LaminaError) -> SequenceGeneration {
        var settings = settings
        // Every answer draws other random numbers, and the same conversation the same ones.
        settings.seed &+= answers
        answers += 1
        var sequence = SequenceGeneration(
            prompt: prompt, limit: min(limit, session.capacity - prompt.count + 1), ends: ends,
            sampler: try Sampler(settings: settings), tokenizer: tokenizer, stops: stops)
        var printed = 0
        while let step = try sequence.next(session, number: 0) {
            if let text = step.text {
                try output(text)
                printed += text.utf8.count
            }
            if sequence.isFinished || lamina_caught_signal() != 0 { break }
            _ = try session.advance(step.id)
            tokens.append(step.id)
        }
        sequence.finishText()
        try output(String(decoding: sequence.text.utf8.dropFirst(printed), as: UTF8.self))
        return sequence
    }
}
