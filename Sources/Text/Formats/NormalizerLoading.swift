import TensorCore

extension Normalizer {
    private static let options: [(type: String, keys: [String])] = [
        ("NFC", []), ("NFD", []), ("NFKC", []), ("NFKD", []), ("Lowercase", []), ("StripAccents", []), ("Nmt", []),
        ("ByteLevel", []), ("Strip", ["strip_left", "strip_right"]), ("Prepend", ["prepend"]),
        ("Replace", ["pattern", "content"]),
        ("BertNormalizer", ["clean_text", "handle_chinese_chars", "strip_accents", "lowercase"]),
        ("Sequence", ["normalizers"]),
    ]

    /// The steps of `normalizer`. Throws `.malformed` for what is not supported.
    static func steps(_ value: JSONValue?) throws(LaminaError) -> [Normalizer] {
        var steps: [Normalizer] = []
        if let value { try append(value, "normalizer", to: &steps, depth: 0) }
        return steps
    }

    private static func append(
        _ value: JSONValue, _ path: String, to steps: inout [Normalizer], depth: Int
    ) throws(LaminaError) {
        try Construct.checkDepth(depth, path)
        let (type, construct) = try Construct.typed(value, path, supported: options)
        if type == "Sequence" {
            for (element, path) in try construct.elements("normalizers") {
                try append(element, path, to: &steps, depth: depth + 1)
            }
        } else {
            steps.append(try step(type, construct))
        }
    }

    private static func step(_ type: String, _ construct: Construct) throws(LaminaError) -> Normalizer {
        switch type {
        case "Lowercase": return .lowercase
        case "StripAccents": return .stripAccents
        case "Nmt": return .machineTranslation
        case "ByteLevel": return .byteLevel
        case "Prepend": return .prepend(Array(try construct.string("prepend").utf8))
        case "Strip":
            return .strip(left: try construct.bool("strip_left"), right: try construct.bool("strip_right"))
        case "Replace":
            return .replace(try TextPattern(construct), with: Array(try construct.string("content").utf8))
        case "BertNormalizer":
            let lowercases = try construct.bool("lowercase")
            return .bert(
                BertNormalizer(
                    cleansText: try construct.bool("clean_text"),
                    separatesIdeographs: try construct.bool("handle_chinese_chars"),
                    stripsAccents: try construct.bool("strip_accents", default: lowercases), lowercases: lowercases))
        default:
            guard let form = NormalizationForm(rawValue: type) else {
                throw LaminaError(.unexpected, "", "\(construct.path): \(type) was taken for a normalization form")
            }
            return .form(form)
        }
    }
}

extension TextPattern {
    /// Literals longer than this are left to the regular expressions, whose work per match is limited.
    private static let longestLiteral = 64

    /// The `pattern` of a construct: a regular expression or a text.
    init(_ construct: Construct) throws(LaminaError) {
        let pattern = try Construct(
            construct.value("pattern") ?? .null, construct.path + ".pattern", keys: ["Regex", "String"])
        let source: String
        switch (pattern.value("Regex"), pattern.value("String")) {
        case (_?, nil): source = try pattern.string("Regex")
        case (nil, _?):
            let text = Array(try pattern.string("String").utf8)
            if !text.isEmpty, text.count <= TextPattern.longestLiteral {
                self = .literal(text)
                return
            }
            source = PatternTranslation.literal(String(decoding: text, as: UTF8.self))
        default:
            throw LaminaError(.malformed, "", "\(pattern.path) has not exactly one of Regex and String")
        }
        do {
            self = try TextPattern(expression: source)
        } catch {
            var error = error
            error.problem = construct.path + ": " + error.problem
            throw error
        }
    }

    /// A regular expression. Throws `.malformed` if it is not supported or not valid.
    init(expression source: String) throws(LaminaError) {
        self =
            if let scanner = PieceScanner(pattern: source) {
                .scanner(scanner)
            } else {
                .expression(try Pattern(source))
            }
    }
}
