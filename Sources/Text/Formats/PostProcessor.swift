import TensorCore

/// The ids put around a text when special tokens are asked for.
struct PostProcessor: Sendable {
    private(set) var prefix: [Int] = []
    private(set) var suffix: [Int] = []

    /// Ids that are known already.
    init(prefix: [Int], suffix: [Int]) {
        self.prefix = prefix
        self.suffix = suffix
    }

    /// Reads `post_processor`. Throws `.malformed` for what is not supported, or for ids that `vocabulary` lacks.
    init(_ value: JSONValue?, _ vocabulary: Vocabulary) throws(LaminaError) {
        if let value { try add(value, "post_processor", vocabulary, depth: 0) }
    }

    private mutating func add(
        _ value: JSONValue, _ path: String, _ vocabulary: Vocabulary, depth: Int
    ) throws(LaminaError) {
        try Construct.checkDepth(depth, path)
        let (type, construct) = try Construct.typed(
            value, path,
            supported: [
                ("ByteLevel", ["add_prefix_space", "trim_offsets", "use_regex"]), ("Sequence", ["processors"]),
                ("TemplateProcessing", ["single", "pair", "special_tokens"]),
                ("RobertaProcessing", ["sep", "cls", "trim_offsets", "add_prefix_space"]),
                ("BertProcessing", ["sep", "cls"]),
            ])
        switch type {
        case "TemplateProcessing": try addTemplate(construct, vocabulary)
        case "RobertaProcessing", "BertProcessing":
            prefix.insert(try PostProcessor.token("cls", construct, vocabulary), at: 0)
            suffix.append(try PostProcessor.token("sep", construct, vocabulary))
        case "Sequence":
            for (element, path) in try construct.elements("processors") {
                try add(element, path, vocabulary, depth: depth + 1)
            }
        default: break  // ByteLevel only corrects offsets, which nothing here uses.
        }
    }

    /// The id in a pair of a token and its id.
    private static func token(
        _ key: String, _ construct: Construct, _ vocabulary: Vocabulary
    ) throws(LaminaError) -> Int {
        let pair = try construct.array(key)
        guard pair.count == 2, pair[0].string != nil, let id = pair[1].integer, vocabulary.contains(id: id) else {
            throw LaminaError(
                .malformed, "", "\(construct.path).\(key) is not a token and an id that a token has")
        }
        return id
    }

    /// The template for one text; the one for pairs of texts is not used.
    private mutating func addTemplate(_ construct: Construct, _ vocabulary: Vocabulary) throws(LaminaError) {
        let specials = try PostProcessor.specialTokens(construct, vocabulary)
        var before: [Int] = []
        var after: [Int] = []
        var texts = 0
        for (element, path) in try construct.elements("single") {
            let piece = try Construct(element, path, keys: ["SpecialToken", "Sequence"])
            if let value = piece.value("SpecialToken"), piece.value("Sequence") == nil {
                let name = try Construct(value, path + ".SpecialToken", keys: ["id", "type_id"]).string("id")
                guard let ids = specials[Array(name.utf8)] else {
                    throw LaminaError(.malformed, "", "\(path): \(quoted(name)) is not in special_tokens")
                }
                if texts == 0 { before += ids } else { after += ids }
            } else {
                let name = try Construct(
                    piece.value("Sequence") ?? .null, path + ".Sequence", keys: ["id", "type_id"]
                ).string("id")
                guard name == "A" else {
                    throw LaminaError(.malformed, "", "\(path).Sequence.id is not \"A\"", found: quoted(name))
                }
                texts += 1
            }
        }
        guard texts == 1 else {
            throw LaminaError(.malformed, "", "\(construct.path).single does not contain the text exactly once")
        }
        prefix = before + prefix
        suffix += after
    }

    private static func specialTokens(
        _ construct: Construct, _ vocabulary: Vocabulary
    ) throws(LaminaError) -> [[UInt8]: [Int]] {
        var specials: [[UInt8]: [Int]] = [:]
        for (name, value) in try construct.members("special_tokens") {
            let path = "\(construct.path).special_tokens[\(quoted(name))]"
            let token = try Construct(value, path, keys: ["id", "ids", "tokens"])
            var ids: [Int] = []
            for value in try token.array("ids") {
                guard let id = value.integer, vocabulary.contains(id: id) else {
                    throw LaminaError(.malformed, "", "\(path).ids has an id that no token has", found: value.summary)
                }
                ids.append(id)
            }
            specials[Array(name.utf8)] = ids
        }
        return specials
    }
}
