import TensorCore

/// The parts of a tokenizer.json, read in one pass. The two large ones, vocabulary and merges, never become a tree.
struct TokenizerFile {
    /// Largest tokenizer.json accepted; real ones are up to 35 MB.
    static let maximumBytes = 100_000_000
    /// Bounds the tables the matcher needs.
    private static let maximumAddedBytes = 4 << 20

    /// Everything but `model`, by key.
    private var parts = JSONObject()
    /// The keys of `model` other than `vocab` and `merges`.
    private var modelOptions = JSONObject()
    private var modelVocabulary: Vocabulary?
    private var modelVocabularyKind: JSONScanner.Kind?
    private var modelMerges: MergeList?

    private static let keys = [
        "version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder",
    ]

    /// Throws `.malformed` if the text is no JSON object, or a key occurs twice or is unknown.
    init(_ bytes: [UInt8]) throws(LaminaError) {
        guard bytes.count <= TokenizerFile.maximumBytes else {
            throw LaminaError(
                .malformed, "", "the file is too large", expected: "at most \(TokenizerFile.maximumBytes) bytes",
                found: "\(bytes.count)")
        }
        var scanner = JSONScanner(bytes)
        guard try scanner.peekKind() == .object else { throw LaminaError(.malformed, "", "not a JSON object") }
        var seen: Set<[UInt8]> = []
        try scanner.scanObject { (key, scanner) throws(LaminaError) in
            guard seen.insert(Array(key.utf8)).inserted else { throw scanner.failure("duplicate key \(quoted(key))") }
            if key.utf8.elementsEqual("model".utf8) {
                try scanModel(&scanner)
            } else if TokenizerFile.keys.contains(where: { $0.utf8.elementsEqual(key.utf8) }) {
                parts.members.append((key, try JSONValue(scanning: &scanner)))
            } else {
                throw LaminaError(.malformed, "", "the key \(quoted(key)) is not supported")
            }
        }
        try scanner.finish()
        guard seen.contains(Array("model".utf8)) else { throw LaminaError(.malformed, "", "model is missing") }
    }

    private mutating func scanModel(_ scanner: inout JSONScanner) throws(LaminaError) {
        guard try scanner.peekKind() == .object else { throw LaminaError(.malformed, "", "model is not an object") }
        var seen: Set<[UInt8]> = []
        try scanner.scanObject { (key, scanner) throws(LaminaError) in
            guard seen.insert(Array(key.utf8)).inserted else { throw scanner.failure("duplicate key \(quoted(key))") }
            if key.utf8.elementsEqual("vocab".utf8) {
                try scanVocabulary(&scanner)
            } else if key.utf8.elementsEqual("merges".utf8) {
                modelMerges = try MergeList(scanning: &scanner)
            } else {
                modelOptions.members.append((key, try JSONValue(scanning: &scanner)))
            }
        }
    }

    private mutating func scanVocabulary(_ scanner: inout JSONScanner) throws(LaminaError) {
        let kind = try scanner.peekKind()
        modelVocabularyKind = kind
        // Other models list pieces with scores; `model.type` says so later, in better words.
        guard kind == .object else { return try scanner.skipValue() }
        var vocabulary = Vocabulary()
        try scanner.scanObject { (token, scanner) throws(LaminaError) in
            guard try scanner.peekKind() == .number, let id = Int(try scanner.scanNumber()) else {
                throw LaminaError(.malformed, "", "model.vocab: the id of \(quoted(token)) is not an integer")
            }
            try vocabulary.insert(token, id: id, where: "model.vocab")
        }
        modelVocabulary = vocabulary
    }

    /// A part of the pipeline; null counts as absent.
    func part(_ key: String) -> JSONValue? {
        guard let value = parts[key], !value.isNull else { return nil }
        return value
    }

    /// The model and its vocabulary. Throws `.malformed` for anything but a byte-level BPE without unknown tokens.
    func model() throws(LaminaError) -> (model: BytePairEncoding, vocabulary: Vocabulary) {
        var options = modelOptions
        // Files of the first years have no type; a BPE has merges.
        if options["type"] == nil, modelMerges != nil { options.members.append(("type", "BPE")) }
        let (_, construct) = try Construct.typed(
            .object(options), "model",
            supported: [
                (
                    "BPE",
                    [
                        "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
                        "byte_fallback", "ignore_merges",
                    ]
                )
            ])
        guard let vocabulary = modelVocabulary else {
            throw LaminaError(
                .malformed, "", "model.vocab " + (modelVocabularyKind == nil ? "is missing" : "is not an object"))
        }
        guard let merges = modelMerges else { throw LaminaError(.malformed, "", "model.merges is missing") }
        try construct.requireNeutral("dropout") { $0.double == 0 }
        try construct.requireNeutral("continuing_subword_prefix") { $0.string?.isEmpty == true }
        try construct.requireNeutral("end_of_word_suffix") { $0.string?.isEmpty == true }
        _ = try construct.bool("fuse_unk", default: false)
        let model = try BytePairEncoding(
            vocabulary: vocabulary, merges: merges, ignoreMerges: try construct.bool("ignore_merges", default: false))
        if !model.coversAllBytes {
            // With a symbol for every byte nothing is unknown, and these two have no effect.
            try construct.requireNeutral("unk_token") { _ in false }
            try construct.requireNeutral("byte_fallback") { $0.bool == false }
        } else {
            if let unknown = construct.value("unk_token"), unknown.string == nil {
                try construct.requireNeutral("unk_token") { _ in false }
            }
            _ = try construct.bool("byte_fallback", default: false)
        }
        return (model, vocabulary)
    }

    /// The added tokens; those that the model lacks are put into `vocabulary`. Throws `.malformed`.
    func addedTokens(_ vocabulary: inout Vocabulary) throws(LaminaError) -> AddedTokens {
        guard let list = part("added_tokens") else { return AddedTokens([]) }
        guard let list = list.array else {
            throw LaminaError(.malformed, "", "added_tokens is not an array", found: list.summary)
        }
        var tokens: [AddedToken] = []
        var ids: Set<Int> = []
        var bytes = 0
        for (index, value) in list.enumerated() {
            let token = try TokenizerFile.addedToken(value, "added_tokens[\(index)]")
            let place = "added_tokens[\(index)]"
            guard ids.insert(token.id).inserted else {
                throw LaminaError(.malformed, "", "\(place): the id \(token.id) occurs twice")
            }
            bytes += token.content.utf8.count
            guard token.content.utf8.count <= AddedTokens.maximumLength, bytes <= TokenizerFile.maximumAddedBytes else {
                throw LaminaError(
                    .malformed, "", "\(place): added tokens are too long",
                    expected: "at most \(AddedTokens.maximumLength) bytes, together \(TokenizerFile.maximumAddedBytes)")
            }
            if let known = vocabulary.id(of: token.content) {
                guard known == token.id else {
                    throw LaminaError(
                        .malformed, "", "\(place): \(quoted(token.content)) has another id in the vocabulary",
                        expected: "\(known)", found: "\(token.id)")
                }
            } else {
                try vocabulary.insert(token.content, id: token.id, where: place)
            }
            tokens.append(token)
        }
        return AddedTokens(tokens)
    }

    private static func addedToken(_ value: JSONValue, _ path: String) throws(LaminaError) -> AddedToken {
        let construct = try Construct(
            value, path, keys: ["id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"])
        let isSpecial = try construct.bool("special", default: false)
        return AddedToken(
            id: try construct.integer("id"), content: try construct.string("content"),
            singleWord: try construct.bool("single_word", default: false),
            stripsLeft: try construct.bool("lstrip", default: false),
            stripsRight: try construct.bool("rstrip", default: false),
            isNormalized: try construct.bool("normalized", default: !isSpecial), isSpecial: isSpecial)
    }
}
