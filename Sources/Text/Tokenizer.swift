import TensorCore

/// Text to token ids and back, as a tokenizer.json describes it.
///
/// Supported are byte-level byte-pair encodings: no normalizer; pre-tokenizers ByteLevel, Digits, Split and Sequences
/// of them; model BPE over bytes; post-processors ByteLevel, TemplateProcessing and Sequences of them; decoder
/// ByteLevel; added tokens with all flags. Any other construct is refused when loading. `truncation` and `padding`
/// are ignored: they apply only when a caller asks for them, which Lamina does not.
///
/// A value of this type may be used from several threads.
public struct Tokenizer: Sendable {
    /// The largest tokenizer.json accepted, in bytes.
    public static let maximumFileBytes = TokenizerFile.maximumBytes

    private let vocabulary: Vocabulary
    private let addedTokens: AddedTokens
    private let preTokenizers: [PreTokenizer]
    private let model: BytePairEncoding
    private let postProcessor: PostProcessor
    private let decoder: Decoder

    /// Loads the text of a tokenizer.json; `file` names it in errors.
    ///
    /// Throws `.malformed`, naming key, value and what is supported, if it is damaged, contradictory or not supported.
    public init(json: [UInt8], file: String) throws(LaminaError) {
        do {
            let parts = try TokenizerFile(json)
            try Normalizer.requireNone(parts.part("normalizer"))
            var vocabulary: Vocabulary
            preTokenizers = try PreTokenizer.steps(parts.part("pre_tokenizer"))
            (model, vocabulary) = try parts.model()
            addedTokens = try parts.addedTokens(&vocabulary)
            postProcessor = try PostProcessor(parts.part("post_processor"), vocabulary)
            decoder = try Decoder(parts.part("decoder"), vocabulary)
            self.vocabulary = vocabulary
        } catch {
            throw error.about(file)
        }
    }

    /// The ids of `text`.
    ///
    /// Added tokens written in the text are recognised, special ones only unless `specialsAsText`. With
    /// `addSpecialTokens` the post-processor's tokens, such as a beginning-of-sequence token, come around. Throws
    /// `.limit` if a pattern of the tokenizer takes too many steps on this text.
    public func encode(
        _ text: String, addSpecialTokens: Bool, specialsAsText: Bool = false
    ) throws(LaminaError) -> [Int] {
        let bytes = Array(text.utf8)
        var ids: [Int] = []
        var scratch = BytePairEncoding.Scratch()
        if addSpecialTokens { ids += postProcessor.prefix }
        try bytes.withUnsafeBufferPointer { (bytes) throws(LaminaError) in
            try addedTokens.split(bytes, specialsAsText: specialsAsText) { (part) throws(LaminaError) in
                switch part {
                case .token(let id): ids.append(id)
                case .text(let range):
                    let text = UnsafeBufferPointer(rebasing: bytes[range])
                    try PreTokenizer.split(text, by: preTokenizers[...]) { (piece) throws(LaminaError) in
                        model.encode(piece, vocabulary: vocabulary, into: &ids, &scratch)
                    }
                }
            }
        }
        if addSpecialTokens { ids += postProcessor.suffix }
        return ids
    }

    /// The text of `ids`: bytes that are not UTF-8 become U+FFFD, one for each maximal part of a character; ids that
    /// no token has are left out, and with `skipSpecialTokens` special tokens too.
    public func decode(_ ids: [Int], skipSpecialTokens: Bool) -> String {
        decode(ids[...], skipSpecialTokens: skipSpecialTokens)
    }

    func decode(_ ids: ArraySlice<Int>, skipSpecialTokens: Bool) -> String {
        var bytes: [UInt8] = []
        for id in ids where !skipSpecialTokens || !addedTokens.isSpecial(id) {
            bytes.append(contentsOf: decoder.bytes(of: id))
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// The highest id + 1. A model's embedding may have more rows, never fewer.
    public var vocabularySize: Int { vocabulary.size }

    /// The id of a token, written as in tokenizer.json (`Ġthe`, `<|im_end|>`); `nil` if there is none.
    public func id(ofToken token: String) -> Int? { vocabulary.id(of: token) }

    /// The token with an id, written as in tokenizer.json; `nil` if there is none.
    public func token(ofID id: Int) -> String? { vocabulary.token(of: id) }

    /// Whether `id` is a special token, such as an end-of-sequence token.
    public func isSpecial(_ id: Int) -> Bool { addedTokens.isSpecial(id) }

    /// The bytes that `id` stands for, which need not be whole characters; none if no token has that id.
    public func bytes(of id: Int) -> [UInt8] { Array(decoder.bytes(of: id)) }
}
