import TensorCore

/// What a checkpoint's files say about its chat templates: their texts, and the special tokens they write.
public struct ChatTemplateSource: Sendable {
    /// Largest chat_template.jinja, chat_template.json or tokenizer_config.json accepted, in bytes.
    public static let maximumFileBytes = 16 << 20

    private var templates: [(name: String, text: String)] = []
    /// `bos_token`, `eos_token` and the like, as templates know them.
    public private(set) var specialTokens = JSONObject()
    private static let tokenNames = [
        "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token",
    ]

    /// Takes the bytes of tokenizer_config.json, chat_template.json and chat_template.jinja, `nil` for files that are
    /// not there. The template is that of the last of these files that has one. `folder` is named in errors.
    ///
    /// Throws `.malformed` if a file is no text or no JSON, or `chat_template` is neither a string nor a list of named
    /// ones.
    public init(
        tokenizerConfig: [UInt8]?, json: [UInt8]? = nil, jinja: [UInt8]?, folder: String
    ) throws(LaminaError) {
        if let tokenizerConfig {
            let file = folder + "/tokenizer_config.json"
            let config = try ChatTemplateSource.object(tokenizerConfig, file)
            for name in ChatTemplateSource.tokenNames {
                guard let value = config[name], let token = value.string ?? value.object?["content"]?.string else {
                    continue
                }
                specialTokens.members.append((name, .string(token)))
            }
            templates = try ChatTemplateSource.templates(config["chat_template"], file)
        }
        if let json {
            let file = folder + "/chat_template.json"
            let named = try ChatTemplateSource.templates(
                try ChatTemplateSource.object(json, file)["chat_template"], file)
            if !named.isEmpty { templates = named }
        }
        if let jinja {
            guard let text = String(validating: jinja, as: UTF8.self) else {
                throw LaminaError(.malformed, folder + "/chat_template.jinja", "not UTF-8")
            }
            templates = [("default", text)]
        }
    }

    /// Takes the files of a folder, which `read` reads: the bytes of the file with a name, at most so many, `nil` if
    /// there is none. `folder` is named in errors. Throws `.malformed`, and what `read` throws.
    public init(
        folder: String, read: (_ name: String, _ limit: Int) throws(LaminaError) -> [UInt8]?
    ) throws(LaminaError) {
        let limit = ChatTemplateSource.maximumFileBytes
        try self.init(
            tokenizerConfig: try read("tokenizer_config.json", limit), json: try read("chat_template.json", limit),
            jinja: try read("chat_template.jinja", limit), folder: folder)
    }

    private static func object(_ bytes: [UInt8], _ file: String) throws(LaminaError) -> JSONObject {
        let limits = JSONScanner.Limits(stringBytes: maximumFileBytes)
        let value: JSONValue
        do { value = try JSONValue.parse(bytes, limits: limits) } catch { throw error.about(file) }
        guard let object = value.object else {
            throw LaminaError(.malformed, file, "not a JSON object", found: value.summary)
        }
        return object
    }

    private static func templates(
        _ value: JSONValue?, _ file: String
    ) throws(LaminaError) -> [(name: String, text: String)] {
        guard let value, !value.isNull else { return [] }
        if let text = value.string { return [("default", text)] }
        guard let list = value.array else {
            throw LaminaError(
                .malformed, file, "chat_template is neither a string nor a list", found: value.summary)
        }
        var templates: [(name: String, text: String)] = []
        for entry in list {
            guard let name = entry.object?["name"]?.string, let text = entry.object?["template"]?.string else {
                throw LaminaError(.malformed, file, "an entry of chat_template lacks its name or its text")
            }
            templates.append((name, text))
        }
        return templates
    }

    /// Whether there is any template.
    public var hasTemplate: Bool { !templates.isEmpty }

    /// The text of the template for a conversation: with tools the one named `tool_use`, if there is one, else the one
    /// named `default`; `nil` if there are no templates. Throws `.malformed` if there is none of those names.
    public func text(hasTools: Bool = false) throws(LaminaError) -> String? {
        guard hasTemplate else { return nil }
        let names = hasTools ? ["tool_use", "default"] : ["default"]
        for name in names {
            if let entry = templates.first(where: { $0.name == name }) { return entry.text }
        }
        throw LaminaError(
            .malformed, "chat template", "there is none named \"default\"",
            found: templates.map(\.name).joined(separator: ", "))
    }
}
