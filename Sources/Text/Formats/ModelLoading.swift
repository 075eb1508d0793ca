import TensorCore

/// The model of a tokenizer.json and what depends on it.
struct LoadedModel {
    var model: Model
    var vocabulary: Vocabulary
    var preTokenizers: [PreTokenizer]

    private static let options: [(type: String, keys: [String])] = [
        (
            "BPE",
            [
                "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "byte_fallback",
                "ignore_merges",
            ]
        ),
        ("Unigram", ["unk_id", "byte_fallback"]),
    ]

    /// Reads `model`; `preTokenizers` decide whether it works on bytes or on characters. Throws `.malformed` for what is
    /// not supported.
    init(_ file: TokenizerFile, _ preTokenizers: [PreTokenizer]) throws(LaminaError) {
        var options = file.modelOptions
        // Files of the first years have no type; a BPE has merges.
        if options["type"] == nil, file.modelMerges != nil { options.members.append(("type", "BPE")) }
        let (type, construct) = try Construct.typed(.object(options), "model", supported: LoadedModel.options)
        guard let vocabulary = file.modelVocabulary else {
            throw LaminaError(
                .malformed, "",
                "model.vocab " + (file.modelVocabularyKind == nil ? "is missing" : "is neither an object nor a list"))
        }
        let isList = file.modelVocabularyKind == .array
        guard isList == (type == "Unigram") else {
            throw LaminaError(.malformed, "", "model.vocab is not " + (isList ? "an object" : "a list"))
        }
        self.vocabulary = vocabulary
        self.preTokenizers = preTokenizers
        if isList {
            model = .unigram(try LoadedModel.unigram(file, construct, vocabulary))
        } else {
            (model, self.preTokenizers) = try LoadedModel.bytePair(file, construct, vocabulary, preTokenizers)
        }
    }

    private static func unigram(
        _ file: TokenizerFile, _ construct: Construct, _ vocabulary: Vocabulary
    ) throws(LaminaError) -> UnigramModel {
        let unknown = construct.value("unk_id") == nil ? nil : try construct.integer("unk_id")
        if let unknown, !vocabulary.contains(id: unknown) {
            throw LaminaError(.malformed, "", "model.unk_id is an id that no token has", found: "\(unknown)")
        }
        return try UnigramModel(
            vocabulary: vocabulary, scores: file.scores, unknown: unknown,
            fallsBackToBytes: try construct.bool("byte_fallback", default: false))
    }

    private static func bytePair(
        _ file: TokenizerFile, _ construct: Construct, _ vocabulary: Vocabulary, _ preTokenizers: [PreTokenizer]
    ) throws(LaminaError) -> (Model, [PreTokenizer]) {
        guard let merges = file.modelMerges else { throw LaminaError(.malformed, "", "model.merges is missing") }
        try construct.requireNeutral("dropout") { $0.double == 0 }
        try construct.requireNeutral("continuing_subword_prefix") { $0.string?.isEmpty == true }
        try construct.requireNeutral("end_of_word_suffix") { $0.string?.isEmpty == true }
        let engine = try MergeEngine(merges, vocabulary)
        let ignoresMerges = try construct.bool("ignore_merges", default: false)
        let options = CharacterModel.Options(
            unknown: try unknownToken(construct, vocabulary),
            fusesUnknown: try construct.bool("fuse_unk", default: false),
            byteTokens: try construct.bool("byte_fallback", default: false)
                ? CharacterModel.byteTokens(of: vocabulary) : nil, ignoresMerges: ignoresMerges)
        // With a symbol for every byte nothing is unknown.
        if let steps = PreTokenizer.withoutEncoding(preTokenizers),
            let symbols = ByteLevelModel.alphabet(of: vocabulary)
        {
            let model = ByteLevelModel(
                byteSymbols: symbols, vocabulary: vocabulary, engine: engine,
                wholePieces: ignoresMerges ? .inAlphabet : .merged)
            return (.byteLevel(model), steps)
        }
        return (
            .characters(
                CharacterModel(
                    vocabulary: vocabulary, engine: engine, options: options,
                    mergesWholeTokens: mergesWholeTokens(merges, vocabulary, options.unknown))), preTokenizers
        )
    }

    /// Whether a merge takes the unknown token or one that stands for a byte.
    private static func mergesWholeTokens(
        _ merges: MergeList, _ vocabulary: Vocabulary, _ unknown: UInt32?
    ) -> Bool {
        let unknown = unknown.flatMap { vocabulary.bytes(of: Int($0)) }
        func isWhole(_ range: Range<Int>) -> Bool {
            merges.withToken(range) { token in
                ByteTokens.byte(of: token) != nil || unknown.map { token.elementsEqual($0) } == true
            }
        }
        return (0..<merges.count).contains { rank in
            let merge = merges.merge(at: rank)
            return isWhole(merge.left) || isWhole(merge.right)
        }
    }

    /// The id of `unk_token`; `nil` without one.
    private static func unknownToken(
        _ construct: Construct, _ vocabulary: Vocabulary
    ) throws(LaminaError) -> UInt32? {
        guard construct.value("unk_token") != nil else { return nil }
        let name = try construct.string("unk_token")
        guard let id = vocabulary.id(of: name) else {
            // A byte-level model never needs it.
            if ByteLevelModel.alphabet(of: vocabulary) != nil { return nil }
            throw LaminaError(.malformed, "", "model.unk_token \(quoted(name)) is not in model.vocab")
        }
        return UInt32(truncatingIfNeeded: id)
    }
}
