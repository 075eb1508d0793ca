import CSystem
import CommandLineSupport
import Glibc
import TensorCore
import Text

/// Takes line after line until there are no more.
struct ChatLoop {
    let engine: ChatEngine
    var conversation: Conversation
    let tools: JSONValue?
    /// Most tokens of an answer.
    let limit: Int
    let printsJSON: Bool
    let isQuiet: Bool
    let keyValueBytes: Int
    let reader: LineReader
    private var last: ChatAnswer?

    init(
        engine: ChatEngine, conversation: Conversation, tools: JSONValue?, limit: Int, printsJSON: Bool, isQuiet: Bool,
        keyValueBytes: Int, reader: LineReader
    ) {
        self.engine = engine
        self.conversation = conversation
        self.tools = tools
        self.limit = limit
        self.printsJSON = printsJSON
        self.isQuiet = isQuiet
        self.keyValueBytes = keyValueBytes
        self.reader = reader
    }

    /// Throws what makes going on senseless: standard input or output is gone, the store is damaged.
    mutating func run() throws(LaminaError) {
        if reader.isInteractive, !isQuiet { Console.note("Ctrl-D leaves, Ctrl-C stops an answer, /help tells more.\n") }
        while let line = try nextLine() {
            do throws(LaminaError) {
                guard try handle(ChatRequest(line)) else { return }
            } catch  where error.isAboutTheConversation {
                // The next line may do better. Over a pipe nobody would see that a line went without an answer.
                guard reader.isInteractive else { throw error }
                Console.note("\(error)\n")
            }
        }
        if reader.isInteractive { Console.note("\n") }
    }

    /// A line, or several joined where they end in a backslash; `nil` at the end.
    private func nextLine() throws(LaminaError) -> String? {
        var parts: [Substring] = []
        while true {
            switch try reader.next() {
            case .end: return parts.isEmpty ? nil : parts.joined(separator: "\n")
            case .interrupted:
                parts = []
                Console.note("\n(Ctrl-D leaves)\n")
            case .text(let line):
                if line.utf8.last == UInt8(ascii: "\\") {
                    parts.append(line.dropLast())
                    continue
                }
                let whole = (parts + [Substring(line)]).joined(separator: "\n")
                if whole.utf8.contains(where: { $0 != UInt8(ascii: " ") && $0 != UInt8(ascii: "\n") }) { return whole }
                parts = []
            }
        }
    }

    /// False if it is time to leave.
    private mutating func handle(_ request: ChatRequest) throws(LaminaError) -> Bool {
        switch request {
        case .message(let text): try answer(role: ChatRole.user.rawValue, text)
        case .tool(let text): try answer(role: "tool", text)
        case .system(let text): conversation.setSystem(text)
        case .reset: conversation.reset()
        case .save(let path):
            try conversation.save(path)
            note("saved \(conversation.turnCount) messages\n")
        case .load(let path):
            try conversation.load(path)
            note("loaded \(conversation.turnCount) messages\n")
        case .stats: Console.note(statistics)
        case .help: Console.note(ChatRequest.helpText)
        case .wrong(let message): throw LaminaError(.usage, "", message)
        case .exit: return false
        }
        return true
    }

    private func note(_ text: String) {
        if !isQuiet { Console.note(text) }
    }

    /// Adds a message and the model's answer. A message that cannot be answered is taken back.
    private mutating func answer(role: String, _ text: String) throws(LaminaError) {
        conversation.append(role: role, text)
        let found: ChatAnswer?
        do throws(LaminaError) {
            found = try engine.answer(conversation.messages, tools: tools, limit: limit) {
                (part) throws(LaminaError) in
                if !printsJSON { try Console.out(part) }
            }
        } catch {
            conversation.removeLast()
            throw error
        }
        let signal = lamina_caught_signal()
        if let found {
            conversation.append(role: ChatRole.assistant.rawValue, found.text)
            try Console.out(printsJSON ? found.json.text() + "\n" : "\n")
            last = found
        } else {
            conversation.removeLast()
            if printsJSON { try Console.out(ChatAnswer.none.json.text() + "\n") }
        }
        if signal != 0, signal != SIGINT { CommandLineTool.exitForSignal(signal) }
        if signal == SIGINT { note(found == nil ? "(stopped; the message is taken back)\n" : "(stopped)\n") }
        if found?.finishReason == .length { note("(cut off at \(engine.reasonOfLength(limit: limit)))\n") }
    }

    /// What `/stats` says.
    private var statistics: String {
        let session = engine.session.statistics
        var lines = [
            "context: \(engine.session.position) of \(engine.session.capacity) tokens, KV cache "
                + formattedBytes(keyValueBytes),
            "memory: \(formattedBytes(lamina_peak_resident_bytes())) at most, weights in memory "
                + formattedBytes(session.residentBytes),
            "read: \(formattedBytes(session.bytesRead)) in \(formattedDuration(session.readSeconds))",
        ]
        if let last {
            let rate = Double(max(0, last.generatedTokens - 1)) / max(last.generationSeconds, 1e-9)
            lines.append(
                "last answer: \(last.promptTokens) tokens before it, \(last.keptTokens) of them kept, in "
                    + "\(formattedDuration(last.promptSeconds)); \(last.generatedTokens) tokens in "
                    + "\(formattedDuration(last.generationSeconds)), \(formatted(rate, decimals: 1)) tok/s; "
                    + "\(formattedBytes(last.bytesRead)) read")
        }
        return lines.joined(separator: "\n") + "\n"
    }
}

extension ChatAnswer {
    /// An answer that was stopped before it began.
    fileprivate static let none = ChatAnswer(
        text: "", finishReason: .interrupted, promptTokens: 0, keptTokens: 0, generatedTokens: 0, promptSeconds: 0,
        generationSeconds: 0, bytesRead: 0)

    fileprivate var json: JSONValue {
        [
            "text": .string(text), "finish_reason": .string(finishReason.rawValue),
            "prompt_tokens": JSONValue(promptTokens), "kept_tokens": JSONValue(keptTokens),
            "generated_tokens": JSONValue(generatedTokens), "prompt_seconds": JSONValue(promptSeconds),
            "generation_seconds": JSONValue(generationSeconds),
        ]
    }
}

extension ChatEngine {
    /// What ended an answer that came to its limit.
    fileprivate func reasonOfLength(limit: Int) -> String {
        session.position + 1 >= session.capacity
            ? "the end of the context; /reset begins anew" : "--max-tokens \(limit)"
    }
}

extension LaminaError {
    /// Whether another line may do better: a wrong command, a file that is not there, a conversation that the template
    /// refuses or the context does not hold. Damage of the store and lost streams are not.
    fileprivate var isAboutTheConversation: Bool {
        switch kind {
        case .usage, .malformed, .missing, .limit, .cannotCreate: true
        default: false
        }
    }
}
