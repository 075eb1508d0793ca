import TensorCore

extension PreTokenizer {
    /// GPT-2's pattern, which ByteLevel has built in.
    private static let byteLevelPattern =
        #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#

    private static let options: [(type: String, keys: [String])] = [
        ("ByteLevel", ["add_prefix_space", "trim_offsets", "use_regex"]), ("Digits", ["individual_digits"]),
        ("Metaspace", ["replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep"]),
        ("Split", ["pattern", "behavior", "invert"]), ("Punctuation", ["behavior"]), ("Whitespace", []),
        ("WhitespaceSplit", []), ("BertPreTokenizer", []), ("CharDelimiterSplit", ["delimiter"]),
        ("Sequence", ["pretokenizers"]),
    ]

    /// The steps of `pre_tokenizer`. Throws `.malformed` for what is not supported.
    static func steps(_ value: JSONValue?) throws(LaminaError) -> [PreTokenizer] {
        var steps: [PreTokenizer] = []
        if let value { try append(value, "pre_tokenizer", to: &steps, depth: 0) }
        return steps
    }

    /// If the last step is the only one that writes bytes as characters, the steps that leave this to a model over
    /// bytes; else `nil`.
    static func withoutEncoding(_ steps: [PreTokenizer]) -> [PreTokenizer]? {
        let encoding = steps.indices.filter { if case .byteLevel = steps[$0] { true } else { false } }
        guard encoding == [steps.count - 1],
            case .byteLevel(let addsPrefixSpace, let pattern, _)? = steps.last
        else { return nil }
        return steps.dropLast() + [
            .byteLevel(addsPrefixSpace: addsPrefixSpace, pattern: pattern, encodes: false)
        ]
    }

    private static func append(
        _ value: JSONValue, _ path: String, to steps: inout [PreTokenizer], depth: Int
    ) throws(LaminaError) {
        try Construct.checkDepth(depth, path)
        let (type, construct) = try Construct.typed(value, path, supported: options)
        if type == "Sequence" {
            for (element, path) in try construct.elements("pretokenizers") {
                try append(element, path, to: &steps, depth: depth + 1)
            }
        } else {
            steps.append(try step(type, construct))
        }
    }

    private static func step(_ type: String, _ construct: Construct) throws(LaminaError) -> PreTokenizer {
        switch type {
        case "ByteLevel":
            let usesPattern = try construct.bool("use_regex", default: true)
            return .byteLevel(
                addsPrefixSpace: try construct.bool("add_prefix_space"),
                pattern: usesPattern ? try TextPattern(expression: byteLevelPattern) : nil, encodes: true)
        case "Digits":
            return .characters(.numbers, try construct.bool("individual_digits") ? .isolated : .contiguous)
        case "Metaspace": return .metaspace(try Metaspace(construct))
        case "Split":
            let behavior = try behavior(construct)
            return .split(
                try TextPattern(construct), behavior, invert: try construct.bool("invert", default: false))
        case "Punctuation":
            let isGiven = construct.value("behavior") != nil
            return .characters(.punctuation, isGiven ? try behavior(construct) : .isolated)
        case "Whitespace": return .wordsAndSymbols
        case "WhitespaceSplit": return .characters(.whitespace, .removed)
        case "CharDelimiterSplit": return .characters(.only(try construct.character("delimiter")), .removed)
        default: return .bert
        }
    }

    private static func behavior(_ construct: Construct) throws(LaminaError) -> SplitBehavior {
        let name = try construct.string("behavior")
        guard let behavior = SplitBehavior.allCases.first(where: { $0.rawValue.utf8.elementsEqual(name.utf8) }) else {
            throw LaminaError(
                .malformed, "", "\(construct.path).behavior \(quoted(name)) is not supported",
                expected: SplitBehavior.allCases.map(\.rawValue).joined(separator: ", "))
        }
        return behavior
    }
}

extension Metaspace {
    /// Reads a Metaspace, which as a pre-tokenizer and as a decoder has the same options. `add_prefix_space` is what
    /// older files say instead of `prepend_scheme`. Throws `.malformed`.
    init(_ construct: Construct) throws(LaminaError) {
        replacement = []
        UTF8Text.append(try construct.character("replacement"), to: &replacement)
        let name = construct.value("prepend_scheme") == nil ? nil : try construct.string("prepend_scheme")
        let prefix = construct.value("add_prefix_space") == nil ? nil : try construct.bool("add_prefix_space")
        guard let scheme = PrependScheme(rawValue: name ?? "always") else {
            throw LaminaError(
                .malformed, "", "\(construct.path).prepend_scheme \(quoted(name ?? "")) is not supported",
                expected: PrependScheme.allCases.map(\.rawValue).joined(separator: ", "))
        }
        guard prefix != false || name == nil || scheme == .never else {
            throw LaminaError(
                .malformed, "", "\(construct.path).add_prefix_space = false contradicts prepend_scheme",
                found: quoted(name ?? ""))
        }
        prependScheme = prefix == false ? .never : scheme
        cuts = try construct.bool("split", default: true)
    }
}
