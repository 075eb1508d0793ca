import CommandLineSupport
import Inference
import TensorCore
import Text

/// One line of a batch: a prompt and what is said about its answer.
struct BatchPrompt {
    /// Echoed in the answer.
    var id: JSONValue?
    var tokens: [Int]
    /// Whether it is a conversation, which ends where a turn ends.
    var isChat: Bool
    var maxTokens: Int?
    var seed: UInt64?
    /// What errors call it.
    var place: String
}

/// The lines of a batch. Errors name file and line, and what is wrong there.
struct BatchInput {
    /// Largest input accepted, in bytes: a bound on memory, far above any set of prompts.
    private static let maximumBytes = 1 << 28
    private static let limits = JSONScanner.Limits(depth: 16, stringBytes: maximumBytes)
    private static let keys = ["id", "prompt", "ids", "messages", "max_tokens", "seed"]

    let encoder: PromptEncoder

    /// All prompts of `path`, or of standard input for `-`; empty lines count for nothing. Throws `.malformed`,
    /// `.missing`, `.io`, `.limit`.
    func prompts(of path: String) throws(LaminaError) -> [BatchPrompt] {
        let name = path == "-" ? "standard input" : path
        var prompts: [BatchPrompt] = []
        for (index, line) in try bytes(of: path).split(separator: 0x0A, omittingEmptySubsequences: false).enumerated()
        where !line.allSatisfy({ $0 == 0x20 || $0 == 0x09 || $0 == 0x0D }) {
            let place = "\(name): line \(index + 1)"
            do throws(LaminaError) {
                prompts.append(try prompt(Array(line), place: place))
            } catch {
                // Whatever is wrong with a line is wrong with the file, not with the command.
                var error = error
                if error.kind == .usage { error.kind = .malformed }
                throw error.kind == .malformed ? error.about(place) : error
            }
        }
        guard !prompts.isEmpty else {
            throw LaminaError(
                .malformed, name, "there are no prompts", expected: "one JSON object per line",
                hint: "a line is, for example, {\"prompt\": \"Once upon a time\"}")
        }
        return prompts
    }

    private func bytes(of path: String) throws(LaminaError) -> [UInt8] {
        guard path == "-" else {
            return try RealFileSystem().readWhole(path, limit: BatchInput.maximumBytes)
        }
        var bytes: [UInt8] = []
        while true {
            let piece = try Console.read()
            if piece.isEmpty { return bytes }
            bytes += piece
            guard bytes.count <= BatchInput.maximumBytes else {
                throw LaminaError(.limit, "standard input", "longer than \(BatchInput.maximumBytes) bytes")
            }
        }
    }

    private func prompt(_ bytes: [UInt8], place: String) throws(LaminaError) -> BatchPrompt {
        let value = try JSONValue.parse(bytes, limits: BatchInput.limits)
        guard let object = value.object else {
            throw LaminaError(.malformed, "", "not a JSON object", found: value.summary)
        }
        // A misspelt key would change what is generated, silently and for hours.
        for (key, _) in object.members where !BatchInput.keys.contains(where: { $0.utf8.elementsEqual(key.utf8) }) {
            throw LaminaError(
                .malformed, "", "unknown key", expected: BatchInput.keys.joined(separator: ", "),
                found: JSONValue.string(key).summary)
        }
        let (tokens, isChat) = try tokens(object)
        return BatchPrompt(
            id: try member(object, "id", "a string or a number") { $0.isStringOrNumber ? $0 : nil },
            tokens: tokens, isChat: isChat,
            maxTokens: try member(object, "max_tokens", "an integer from 1 up") {
                $0.integer.flatMap { $0 >= 1 ? $0 : nil }
            },
            seed: try member(object, "seed", "an integer from 0 up", \.unsignedInteger), place: place)
    }

    private func tokens(_ object: JSONObject) throws(LaminaError) -> (ids: [Int], isChat: Bool) {
        let sources = ["prompt", "ids", "messages"].filter { object[$0] != nil }
        guard sources.count == 1 else {
            throw LaminaError(
                .malformed, "", "not one prompt", expected: "one of \"prompt\", \"ids\" and \"messages\"",
                found: sources.isEmpty ? "none" : sources.joined(separator: " and "))
        }
        if let prompt = try member(object, "prompt", "a string", \.string) {
            return (try encoder.ids(text: prompt), false)
        }
        if let messages = try member(object, "messages", "an array of messages", \.array) {
            return (try encoder.ids(try BatchInput.messages(messages)), true)
        }
        let ids = try member(object, "ids", "an array of token ids") { value -> [Int]? in
            let ids = value.array?.compactMap(\.integer)
            return ids?.count == value.array?.count && ids?.contains { $0 < 0 } == false ? ids : nil
        }
        guard let ids, !ids.isEmpty else { throw LaminaError(.malformed, "", "the prompt is empty") }
        try checkTokens(ids, model: encoder.model, option: "")
        return (ids, false)
    }

    private static func messages(_ values: [JSONValue]) throws(LaminaError) -> [ChatMessage] {
        var messages: [ChatMessage] = []
        for value in values {
            let members = value.object?.members ?? []
            guard members.count == 2, let content = value.object?["content"]?.string,
                let role = value.object?["role"]?.string.flatMap(ChatRole.init(rawValue:))
            else {
                let roles = ChatRole.allCases.map(\.rawValue).joined(separator: ", ")
                throw LaminaError(
                    .malformed, "", "not a message",
                    expected: "an object with \"role\" (\(roles)) and \"content\", a string",
                    found: (value.object?["role"] ?? value).summary)
            }
            messages.append(ChatMessage(role, content))
        }
        return messages
    }

    /// What `kind` makes of a member; `nil` if it is not there. Throws `.malformed` if it is of another kind.
    private func member<Value>(
        _ object: JSONObject, _ key: String, _ expected: String, _ kind: (JSONValue) -> Value?
    ) throws(LaminaError) -> Value? {
        guard let value = object[key] else { return nil }
        guard let result = kind(value) else {
            throw LaminaError(.malformed, "", "bad value for \"\(key)\"", expected: expected, found: value.summary)
        }
        return result
    }
}

extension JSONValue {
    fileprivate var isStringOrNumber: Bool {
        switch self {
        case .string, .number: true
        case .null, .bool, .array, .object: false
        }
    }
}
