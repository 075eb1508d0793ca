import TensorCore

/// What a checkpoint's tokenizer_config.json, special_tokens_map.json and added_tokens.json say about a tokenizer whose
/// own file knows nothing of added tokens.
struct TokenizerConfig {
    /// `tokenizer_class`.
    private(set) var className: String?
    private(set) var addsBegin: Bool?
    private(set) var addsEnd: Bool?
    /// `bos_token` and `eos_token`.
    private(set) var begin: String?
    private(set) var end: String?
    /// Special tokens by their roles.
    private(set) var specialNames: [String] = []
    /// Tokens with ids.
    private(set) var addedTokens: [AddedToken] = []

    private static let roles = [
        "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token",
    ]

    /// Reads the files that `read` has. Throws `.malformed` for what cannot be meant, and what `read` throws.
    init(
        folder: String, _ read: (String) throws(LaminaError) -> [UInt8]?
    ) throws(LaminaError) {
        for name in ["special_tokens_map.json", "tokenizer_config.json"] {
            guard let object = try TokenizerConfig.object(name, folder, read) else { continue }
            do throws(LaminaError) { try take(object) } catch { throw error.about(folder + "/" + name) }
        }
        if let object = try TokenizerConfig.object("added_tokens.json", folder, read) {
            for (content, value) in object.members where !addedTokens.contains(where: { $0.content == content }) {
                guard let id = value.integer else {
                    throw LaminaError(
                        .malformed, folder + "/added_tokens.json", "the id of \(quoted(content)) is not an integer")
                }
                addedTokens.append(
                    AddedToken(id: id, content: content, isSpecial: specialNames.contains(content)))
            }
        }
        for token in addedTokens {
            guard (0..<Vocabulary.maximumSize).contains(token.id),
                token.content.utf8.count <= AddedTokens.maximumLength
            else {
                throw LaminaError(
                    .malformed, folder, "the added token \(quoted(token.content)) is too long, or its id out of range",
                    found: "id \(token.id)")
            }
        }
    }

    private static func object(
        _ name: String, _ folder: String, _ read: (String) throws(LaminaError) -> [UInt8]?
    ) throws(LaminaError) -> JSONObject? {
        guard let bytes = try read(name) else { return nil }
        let value: JSONValue
        do throws(LaminaError) { value = try JSONValue.parse(bytes) } catch { throw error.about(folder + "/" + name) }
        guard let object = value.object else {
            throw LaminaError(.malformed, folder + "/" + name, "not a JSON object", found: value.summary)
        }
        return object
    }

    private mutating func take(_ object: JSONObject) throws(LaminaError) {
        className = object["tokenizer_class"]?.string ?? className
        addsBegin = object["add_bos_token"]?.bool ?? addsBegin
        addsEnd = object["add_eos_token"]?.bool ?? addsEnd
        begin = TokenizerConfig.name(object["bos_token"]) ?? begin
        end = TokenizerConfig.name(object["eos_token"]) ?? end
        let others = object["additional_special_tokens"]?.array ?? []
        let names = TokenizerConfig.roles.compactMap { TokenizerConfig.name(object[$0]) }
        for name in names + others.compactMap(TokenizerConfig.name) where !specialNames.contains(name) {
            specialNames.append(name)
        }
        for (key, value) in object["added_tokens_decoder"]?.object?.members ?? [] {
            guard let id = Int(key) else {
                throw LaminaError(.malformed, "", "added_tokens_decoder: \(quoted(key)) is not an id")
            }
            let path = "added_tokens_decoder[\(id)]"
            let construct = try Construct(
                value, path, keys: ["content", "single_word", "lstrip", "rstrip", "normalized", "special"])
            addedTokens.append(try AddedToken(id: id, construct))
        }
    }

    /// A token, written as text or as an object.
    private static func name(_ value: JSONValue?) -> String? {
        let name = value?.string ?? value?.object?["content"]?.string
        return name?.isEmpty == true ? nil : name
    }
}

extension AddedToken {
    /// The flags and the content of an added token. Throws `.malformed`.
    init(id: Int, _ construct: Construct) throws(LaminaError) {
        let isSpecial = try construct.bool("special", default: false)
        self.init(
            id: id, content: try construct.string("content"),
            singleWord: try construct.bool("single_word", default: false),
            stripsLeft: try construct.bool("lstrip", default: false),
            stripsRight: try construct.bool("rstrip", default: false),
            isNormalized: try construct.bool("normalized", default: !isSpecial), isSpecial: isSpecial)
    }
}
