import CSystem
import CommandLineSupport
import Inference
import TensorCore
import Text

/// One prompt being continued.
struct Generation {
    let session: InferenceSession
    var sampler: Sampler
    /// Ids that end the text and are not part of it.
    let ends: Set<Int>
    let limit: Int
    /// Whether text goes to standard output as it comes.
    private let streams: Bool
    private var detokenizer: StreamingDetokenizer?
    /// The text so far.
    private(set) var text = ""
    private var history: [Int] = []
    var report = GenerationReport()

    init(
        session: InferenceSession, sampler: Sampler, ends: Set<Int>, limit: Int, tokenizer: Tokenizer?, streams: Bool
    ) {
        self.session = session
        self.sampler = sampler
        self.ends = ends
        self.limit = limit
        self.streams = streams
        detokenizer = tokenizer.map { StreamingDetokenizer($0, skipSpecialTokens: true) }
    }

    /// Generates until an end token, the limit or a signal. Everything generated until an error is in the report.
    mutating func run(_ prompt: [Int]) -> Result<Void, LaminaError> {
        let result = Result { () throws(LaminaError) in try generate(prompt) }
        if let rest = detokenizer?.finish() { text += rest }
        return result
    }

    private mutating func generate(_ prompt: [Int]) throws(LaminaError) {
        let isInterrupted = { lamina_caught_signal() != 0 }
        history = prompt
        report.promptTokens = prompt.count
        report.finishReason = .interrupted
        let started = lamina_monotonic_seconds()
        guard try session.prefill(prompt, shouldStop: isInterrupted) else { return }
        report.promptSeconds = lamina_monotonic_seconds() - started
        let bytesBefore = session.statistics.bytesRead
        let generating = lamina_monotonic_seconds()
        defer {
            report.generationSeconds = lamina_monotonic_seconds() - generating
            report.generationBytes = session.statistics.bytesRead - bytesBefore
        }
        while true {
            let token = try nextToken()
            if ends.contains(token) {
                report.finishReason = .stop
                return
            }
            try take(token)
            if report.ids.count == limit {
                report.finishReason = .length
                return
            }
            guard !isInterrupted(), try session.advance(token, shouldStop: isInterrupted) else { return }
            report.generationPasses += 1
        }
    }

    private mutating func nextToken() throws(LaminaError) -> Int {
        var sampler = sampler
        let history = history
        let token = try session.withLogits { (logits) throws(LaminaError) in
            try sampler.sample(logits: logits, history: history)
        }
        self.sampler = sampler
        return token
    }

    private mutating func take(_ token: Int) throws(LaminaError) {
        history.append(token)
        report.ids.append(token)
        if detokenizer == nil {
            // Without a tokenizer the ids are the result.
            if streams { try Console.out(report.ids.count == 1 ? "\(token)" : " \(token)") }
        } else if let part = detokenizer?.append(token) {
            text += part
            if streams { try Console.out(part) }
            streamed += part.utf8.count
        }
    }

    private var streamed = 0

    /// What is left to print when generation has ended: text held back and a line feed, nothing if there was no token.
    var endOfText: String {
        report.ids.isEmpty ? "" : String(decoding: text.utf8.dropFirst(streamed), as: UTF8.self) + "\n"
    }
}
