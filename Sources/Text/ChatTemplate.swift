import TensorCore

/// The roles that chat templates know.
public enum ChatRole: String, Sendable, CaseIterable {
    case system, user, assistant
}

/// One message of a conversation.
public struct ChatMessage: Sendable, Equatable {
    /// Any word; templates know those of `ChatRole`.
    public var role: String
    public var content: String

    public init(role: String, content: String) {
        self.role = role
        self.content = content
    }

    public init(_ role: ChatRole, _ content: String) {
        self.init(role: role.rawValue, content: content)
    }
}

/// Turns a conversation into the text a model was trained on.
///
/// Templates are programs in Jinja. This version knows some by heart, recognised by the SHA-256 of their text, and
/// refuses all others by name: a prompt in the wrong form gives bad answers without any error.
public struct ChatTemplate: Sendable, Equatable {
    /// Largest chat_template.jinja or tokenizer_config.json accepted, in bytes.
    public static let maximumFileBytes = 16 << 20

    /// A template known by heart.
    private enum Known: Sendable, CaseIterable {
        /// SmolLM2-Instruct, all sizes.
        case smolLM2

        var digest: String {
            switch self {
            case .smolLM2: "872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788"
            }
        }
    }

    private let known: Known

    /// Recognises a template by its text. Throws `.malformed`, with its digest, if it is not one of those known.
    public init(template text: String) throws(LaminaError) {
        let digest = SHA256.digest(of: Array(text.utf8)).description
        guard let known = Known.allCases.first(where: { $0.digest == digest }) else {
            throw LaminaError(
                .malformed, "chat template", "not one of the templates this version knows (SHA-256 \(digest))",
                hint: "give the prompt as the model expects it, with --raw")
        }
        self.known = known
    }

    /// The text of a conversation; with `addGenerationPrompt` it ends where the model's answer begins.
    public func render(_ messages: [ChatMessage], addGenerationPrompt: Bool) -> String {
        switch known {
        case .smolLM2: ChatTemplate.renderSmolLM2(messages, addGenerationPrompt)
        }
    }

    private static func renderSmolLM2(_ messages: [ChatMessage], _ addGenerationPrompt: Bool) -> String {
        var text = ""
        if let first = messages.first, !first.role.utf8.elementsEqual("system".utf8) {
            text += "<|im_start|>system\n"
            text += "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        }
        for message in messages {
            text += "<|im_start|>" + message.role + "\n" + message.content + "<|im_end|>\n"
        }
        if addGenerationPrompt { text += "<|im_start|>assistant\n" }
        return text
    }

    /// The text of a checkpoint's template: `jinja`, the bytes of chat_template.jinja, if there is one; else
    /// `chat_template` of tokenizer_config.json, a string or a list of named ones, of which the one named `default`
    /// counts; `nil` if there is neither. `folder` is named in errors.
    ///
    /// Throws `.malformed` if a file is no text or no JSON, or the key has another kind of value.
    public static func templateText(
        tokenizerConfig: [UInt8]?, jinja: [UInt8]?, folder: String
    ) throws(LaminaError) -> String? {
        if let jinja {
            guard let text = String(validating: jinja, as: UTF8.self) else {
                throw LaminaError(.malformed, folder + "/chat_template.jinja", "not UTF-8")
            }
            // Jinja drops a single newline at the end of a template, so with and without it mean the same.
            return text.unicodeScalars.last == "\n" ? String(text.unicodeScalars.dropLast()) : text
        }
        guard let tokenizerConfig else { return nil }
        let file = folder + "/tokenizer_config.json"
        let config: JSONValue
        do { config = try JSONValue.parse(tokenizerConfig) } catch { throw error.about(file) }
        guard let value = config.object?["chat_template"], !value.isNull else { return nil }
        if let text = value.string { return text }
        guard let list = value.array else {
            throw LaminaError(
                .malformed, file, "chat_template is neither a string nor a list", found: value.summary)
        }
        for entry in list where entry.object?["name"]?.string?.utf8.elementsEqual("default".utf8) == true {
            guard let text = entry.object?["template"]?.string else {
                throw LaminaError(.malformed, file, "the chat_template named \"default\" has no text")
            }
            return text
        }
        throw LaminaError(.malformed, file, "chat_template is a list without one named \"default\"")
    }
}
