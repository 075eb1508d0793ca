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
    private(set) var modelOptions = JSONObject()
    private(set) var modelVocabulary: Vocabulary?
    private(set) var modelVocabularyKind: JSONScanner.Kind?
    private(set) var modelMerges: MergeList?
    /// The scores of a unigram vocabulary, by id.
    private(set) var scores: [Double] = []

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
        var vocabulary = Vocabulary()
        switch try scanner.peekKind() {
        case .object:
            modelVocabularyKind = .object
            try scanner.scanObjectBytes { (token, scanner) throws(LaminaError) in
                guard try scanner.peekKind() == .number, let id = Int(try scanner.scanNumber()) else {
                    let name = quoted(String(decoding: token, as: UTF8.self))
                    throw LaminaError(.malformed, "", "model.vocab: the id of \(name) is not an integer")
                }
                try token.withUnsafeBufferPointer { (token) throws(LaminaError) in
                    try vocabulary.insert(token, id: id, where: "model.vocab")
                }
            }
        case .array:
            modelVocabularyKind = .array
            try scanner.scanArray { (scanner) throws(LaminaError) in try scanPiece(&scanner, &vocabulary) }
        case let kind:
            modelVocabularyKind = kind
            return try scanner.skipValue()
        }
        modelVocabulary = vocabulary
    }

    /// One piece of a unigram vocabulary: a list of the piece and its score.
    private mutating func scanPiece(
        _ scanner: inout JSONScanner, _ vocabulary: inout Vocabulary
    ) throws(LaminaError) {
        let id = vocabulary.count
        let place = "model.vocab[\(id)]"
        var token: [UInt8] = []
        var count = 0
        guard try scanner.peekKind() == .array else { throw LaminaError(.malformed, "", "\(place) is not a list") }
        try scanner.scanArray { (scanner) throws(LaminaError) in
            switch (count, try scanner.peekKind()) {
            case (0, .string): try scanner.scanString(into: &token)
            case (1, .number):
                guard let score = Double(try scanner.scanNumber()), score.isFinite else {
                    throw LaminaError(.malformed, "", "\(place) has a score that is out of range")
                }
                scores.append(score)
            default: throw LaminaError(.malformed, "", "\(place) is not a list of a piece and its score")
            }
            count += 1
        }
        guard count == 2 else { throw LaminaError(.malformed, "", "\(place) is not a list of a piece and its score") }
        try token.withUnsafeBufferPointer { (token) throws(LaminaError) in
            try vocabulary.insert(token, id: id, where: place)
        }
    }

    /// A part of the pipeline; null counts as absent.
    func part(_ key: String) -> JSONValue? {
        guard let value = parts[key], !value.isNull else { return nil }
        return value
    }

    /// The added tokens; those that the model lacks are put into `vocabulary`. Throws `.malformed`.
    func addedTokens(
        _ vocabulary: inout Vocabulary, _ normalizers: [Normalizer]
    ) throws(LaminaError) -> AddedTokens {
        guard let list = part("added_tokens") else { return try AddedTokens([], normalizers: []) }
        guard let list = list.array else {
            throw LaminaError(.malformed, "", "added_tokens is not an array", found: list.summary)
        }
        var tokens: [AddedToken] = []
        var ids: Set<Int> = []
        var bytes = 0
        for (index, value) in list.enumerated() {
            let place = "added_tokens[\(index)]"
            let token = try TokenizerFile.addedToken(value, place)
            // As the reference implementation does.
            guard !token.content.isEmpty else { continue }
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
        return try AddedTokens(tokens, normalizers: normalizers)
    }

    private static func addedToken(_ value: JSONValue, _ path: String) throws(LaminaError) -> AddedToken {
        let construct = try Construct(
            value, path, keys: ["id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"])
        return try AddedToken(id: try construct.integer("id"), construct)
    }
}
