import TensorCore

/// The steps of a tokenizer, whichever file they come from.
struct TokenizerPipeline: Sendable {
    /// All tokens, the model's first.
    var vocabulary: Vocabulary
    /// Applied to the whole text before anything else.
    var textNormalizers: [Normalizer] = []
    /// Finds added tokens and normalizes the text between.
    var addedTokens: AddedTokens
    var preTokenizers: [PreTokenizer]
    var model: Model
    var postProcessor: PostProcessor
    var decoder: Decoder
}

extension TokenizerPipeline {
    /// A tokenizer.json. Throws `.malformed`, naming key, value and what is supported.
    init(json bytes: [UInt8]) throws(LaminaError) {
        let file = try TokenizerFile(bytes)
        let normalizers = try Normalizer.steps(file.part("normalizer"))
        let loaded = try LoadedModel(file, try PreTokenizer.steps(file.part("pre_tokenizer")))
        var vocabulary = loaded.vocabulary
        addedTokens = try file.addedTokens(&vocabulary, normalizers)
        preTokenizers = loaded.preTokenizers
        model = loaded.model
        postProcessor = try PostProcessor(file.part("post_processor"), vocabulary)
        decoder = try Decoder(file.part("decoder"))
        self.vocabulary = vocabulary
    }

    /// A SentencePiece model, with the added tokens of `config`. Throws `.malformed`.
    init(sentencePiece bytes: [UInt8], _ config: TokenizerConfig) throws(LaminaError) {
        let file = try SentencePieceFile(bytes)
        var vocabulary = Vocabulary()
        for (id, piece) in file.pieces.enumerated() {
            try piece.bytes.withUnsafeBufferPointer { (bytes) throws(LaminaError) in
                try vocabulary.insert(bytes, id: id, where: "piece \(id)")
            }
        }
        let normalizer = try SentencePieceNormalizer(
            file.normalization, treatsWhitespaceAsSuffix: file.treatsWhitespaceAsSuffix,
            userDefined: file.pieces.filter { $0.kind == .userDefined }.map(\.bytes))
        let denormalizer =
            file.denormalization.characterMap.isEmpty
            ? nil
            : try SentencePieceNormalizer(file.denormalization, treatsWhitespaceAsSuffix: false, userDefined: [])
        let tokens = SpecialTokens(file, config, vocabulary)
        try tokens.insert(into: &vocabulary)
        addedTokens = try AddedTokens(tokens.tokens, normalizers: [.sentencePiece(normalizer)])
        preTokenizers = []
        model = .sentencePiece(try SentencePieceModel(file))
        postProcessor = PostProcessor(prefix: tokens.prefix, suffix: tokens.suffix)
        decoder = .sentencePiece(SentencePieceDecoder(file, added: tokens.tokens, denormalizer: denormalizer))
        self.vocabulary = vocabulary
    }

    /// A rank file, which holds no more than tokens: the rest is known by the name of the tokenizer's class. Throws
    /// `.malformed` for an unknown class.
    init(ranks bytes: [UInt8], _ config: TokenizerConfig) throws(LaminaError) {
        let family = try RankFamily(config)
        let file = try TiktokenFile(bytes)
        var vocabulary = file.vocabulary
        let tokens = SpecialTokens(family, config, vocabulary)
        try tokens.insert(into: &vocabulary)
        textNormalizers = family.normalizes ? [.form(.nfc)] : []
        addedTokens = try AddedTokens(tokens.tokens, normalizers: [])
        preTokenizers = [
            .split(.scanner(.wordsWithPrefix(digits: family.digits)), .isolated, invert: false)
        ]
        model = .byteLevel(try file.model())
        postProcessor = PostProcessor(prefix: tokens.prefix, suffix: tokens.suffix)
        decoder = .bytes
        self.vocabulary = vocabulary
    }
}
