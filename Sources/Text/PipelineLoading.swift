import TensorCore

/// How deep Sequences may nest; published tokenizers nest them once.
private let maximumSequenceDepth = 8

private func checkDepth(_ depth: Int, _ path: String) throws(LaminaError) {
    guard depth <= maximumSequenceDepth else {
        throw LaminaError(.malformed, "", "\(path): Sequences nest deeper than \(maximumSequenceDepth)")
    }
}

/// The elements of a Sequence with their paths.
private func elements(_ construct: Construct, _ key: String) throws(LaminaError) -> [(JSONValue, String)] {
    try construct.array(key).enumerated().map { ($0.element, "\(construct.path).\(key)[\($0.offset)]") }
}

/// Normalizers change text before it is cut.
enum Normalizer {
    /// Throws `.malformed` for any normalizer that does something.
    static func requireNone(_ value: JSONValue?, _ path: String = "normalizer", depth: Int = 0) throws(LaminaError) {
        guard let value else { return }
        try checkDepth(depth, path)
        let construct: Construct
        do {
            (_, construct) = try Construct.typed(value, path, supported: [("Sequence", ["normalizers"])])
        } catch {
            var error = error
            if error.expected != nil { error.expected = "null, or a Sequence of nothing" }
            throw error
        }
        for (element, path) in try elements(construct, "normalizers") {
            try requireNone(element, path, depth: depth + 1)
        }
    }
}

extension PreTokenizer {
    /// The steps of `pre_tokenizer`. Throws `.malformed` for what is not supported; ByteLevel must be the last step,
    /// and there must be one, because the model encodes bytes.
    static func steps(_ value: JSONValue?) throws(LaminaError) -> [PreTokenizer] {
        var steps: [PreTokenizer] = []
        if let value { try append(value, "pre_tokenizer", to: &steps, depth: 0) }
        let byteLevels = steps.indices.filter { if case .byteLevel = steps[$0] { true } else { false } }
        guard byteLevels == [steps.count - 1] else {
            throw LaminaError(
                .malformed, "", "pre_tokenizer does not end with its only ByteLevel, which is not supported",
                expected: "ByteLevel as the last step")
        }
        return steps
    }

    private static func append(
        _ value: JSONValue, _ path: String, to steps: inout [PreTokenizer], depth: Int
    ) throws(LaminaError) {
        try checkDepth(depth, path)
        let (type, construct) = try Construct.typed(
            value, path,
            supported: [
                ("ByteLevel", ["add_prefix_space", "trim_offsets", "use_regex"]), ("Digits", ["individual_digits"]),
                ("Sequence", ["pretokenizers"]), ("Split", ["pattern", "behavior", "invert"]),
            ])
        switch type {
        case "ByteLevel":
            let usesPattern = try construct.bool("use_regex", default: true)
            let pattern = usesPattern ? try Pattern(byteLevelPattern) : nil
            steps.append(.byteLevel(addPrefixSpace: try construct.bool("add_prefix_space"), pattern: pattern))
        case "Digits":
            steps.append(.digits(individual: try construct.bool("individual_digits")))
        case "Split":
            steps.append(try split(construct))
        default:
            for (element, path) in try elements(construct, "pretokenizers") {
                try append(element, path, to: &steps, depth: depth + 1)
            }
        }
    }

    private static func split(_ construct: Construct) throws(LaminaError) -> PreTokenizer {
        let name = try construct.string("behavior")
        guard let behavior = SplitBehavior.allCases.first(where: { $0.rawValue.utf8.elementsEqual(name.utf8) }) else {
            throw LaminaError(
                .malformed, "", "\(construct.path).behavior \(quoted(name)) is not supported",
                expected: SplitBehavior.allCases.map(\.rawValue).joined(separator: ", "))
        }
        let pattern = try Construct(
            construct.value("pattern") ?? .null, construct.path + ".pattern", keys: ["Regex", "String"])
        let source: String
        switch (pattern.value("Regex"), pattern.value("String")) {
        case (_?, nil): source = try pattern.string("Regex")
        case (nil, _?): source = PatternTranslation.literal(try pattern.string("String"))
        default:
            throw LaminaError(.malformed, "", "\(pattern.path) has not exactly one of Regex and String")
        }
        do {
            return .split(try Pattern(source), behavior, invert: try construct.bool("invert", default: false))
        } catch {
            var error = error
            error.problem = construct.path + ": " + error.problem
            throw error
        }
    }
}

/// The ids put around a text when special tokens are asked for.
struct PostProcessor: Sendable {
    private(set) var prefix: [Int] = []
    private(set) var suffix: [Int] = []

    /// Reads `post_processor`. Throws `.malformed` for what is not supported, or for ids that `vocabulary` lacks.
    init(_ value: JSONValue?, _ vocabulary: Vocabulary) throws(LaminaError) {
        if let value { try add(value, "post_processor", vocabulary, depth: 0) }
    }

    private mutating func add(
        _ value: JSONValue, _ path: String, _ vocabulary: Vocabulary, depth: Int
    ) throws(LaminaError) {
        try checkDepth(depth, path)
        let (type, construct) = try Construct.typed(
            value, path,
            supported: [
                ("ByteLevel", ["add_prefix_space", "trim_offsets", "use_regex"]), ("Sequence", ["processors"]),
                ("TemplateProcessing", ["single", "pair", "special_tokens"]),
            ])
        switch type {
        case "TemplateProcessing": try addTemplate(construct, vocabulary)
        case "Sequence":
            for (element, path) in try elements(construct, "processors") {
                try add(element, path, vocabulary, depth: depth + 1)
            }
        default: break  // ByteLevel only corrects offsets, which nothing here uses.
        }
    }

    /// The template for one text; the one for pairs of texts is not used.
    private mutating func addTemplate(_ construct: Construct, _ vocabulary: Vocabulary) throws(LaminaError) {
        let specials = try PostProcessor.specialTokens(construct, vocabulary)
        var before: [Int] = []
        var after: [Int] = []
        var texts = 0
        for (element, path) in try elements(construct, "single") {
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
