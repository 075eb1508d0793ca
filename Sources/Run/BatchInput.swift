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

/// The lines of a batch.
struct BatchInput {
    private static let lines = JSONLines(
        keys: ["id", "prompt", "ids", "messages", "max_tokens", "seed"], contents: "prompts",
        example: "{\"prompt\": \"Once upon a time\"}")

    let encoder: PromptEncoder

    /// All prompts of `path`, or of standard input for `-`. Throws as `JSONLines`.
    func prompts(of path: String) throws(LaminaError) -> [BatchPrompt] {
        try BatchInput.lines.values(of: path) { (object, place) throws(LaminaError) in
            try prompt(object, place: place)
        }
    }

    private func prompt(_ object: JSONObject, place: String) throws(LaminaError) -> BatchPrompt {
        let (tokens, isChat) = try tokens(object)
        return BatchPrompt(
            id: try object.echoedID(), tokens: tokens, isChat: isChat,
            maxTokens: try object.member("max_tokens", "an integer from 1 up") {
                $0.integer.flatMap { $0 >= 1 ? $0 : nil }
            },
            seed: try object.member("seed", "an integer from 0 up", \.unsignedInteger), place: place)
    }

    private func tokens(_ object: JSONObject) throws(LaminaError) -> (ids: [Int], isChat: Bool) {
        let sources = ["prompt", "ids", "messages"].filter { object[$0] != nil }
        guard sources.count == 1 else {
            throw LaminaError(
                .malformed, "", "not one prompt", expected: "one of \"prompt\", \"ids\" and \"messages\"",
                found: sources.isEmpty ? "none" : sources.joined(separator: " and "))
        }
        if let prompt = try object.member("prompt", "a string", \.string) {
            return (try encoder.ids(text: prompt), false)
        }
        if let messages = try object.member("messages", "an array of messages", \.array) {
            return (try encoder.ids(try BatchInput.messages(messages)), true)
        }
        guard let ids = try object.tokenIDs("ids"), !ids.isEmpty else {
            throw LaminaError(.malformed, "", "the prompt is empty")
        }
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
}
