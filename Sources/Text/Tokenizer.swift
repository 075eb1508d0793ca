import TensorCore

/// Text to token ids and back, as a checkpoint's tokenizer files describe it: a tokenizer.json, a SentencePiece
/// `tokenizer.model`, or a rank file. docs/tokenizers.md lists what is supported; anything else is refused when loading.
///
/// `truncation` and `padding` of a tokenizer.json are ignored: they apply only when a caller asks for them, which Lamina
/// does not. A value of this type may be used from several threads.
public struct Tokenizer: Sendable {
    /// The largest tokenizer.json accepted, in bytes.
    public static let maximumFileBytes = TokenizerFile.maximumBytes

    private let pipeline: TokenizerPipeline
    private let workspaces = WorkspacePool()

    /// Loads the text of a tokenizer.json; `file` names it in errors.
    ///
    /// Throws `.malformed`, naming key, value and what is supported, if it is damaged, contradictory or not supported.
    public init(json: [UInt8], file: String) throws(LaminaError) {
        do { pipeline = try TokenizerPipeline(json: json) } catch { throw error.about(file) }
    }

    init(_ pipeline: TokenizerPipeline) { self.pipeline = pipeline }

    /// The ids of `text`.
    ///
    /// Added tokens written in the text are recognised, special ones only unless `specialsAsText`. With
    /// `addSpecialTokens` the post-processor's tokens, such as a beginning-of-sequence token, come around. Throws
    /// `.limit` if a pattern of the tokenizer takes too many steps on this text.
    public func encode(
        _ text: String, addSpecialTokens: Bool, specialsAsText: Bool = false
    ) throws(LaminaError) -> [Int] {
        try output(text, addSpecialTokens, specialsAsText).ids
    }

    /// The ids of `text` and the pieces they stand for, as the vocabulary writes them; for an unknown token its text.
    /// Arguments and errors are those of `encode`.
    public func encodePieces(
        _ text: String, addSpecialTokens: Bool, specialsAsText: Bool = false
    ) throws(LaminaError) -> [(id: Int, piece: String)] {
        let output = try output(text, addSpecialTokens, specialsAsText)
        let offset = addSpecialTokens ? pipeline.postProcessor.prefix.count : 0
        return output.ids.enumerated().map { index, id in
            let surface = output.surfaces[index - offset].map { String(decoding: $0, as: UTF8.self) }
            return (id, surface ?? token(ofID: id) ?? "")
        }
    }

    private func output(
        _ text: String, _ addSpecialTokens: Bool, _ specialsAsText: Bool
    ) throws(LaminaError) -> TokenOutput {
        var whole = PipelineText(bytes: Array(text.utf8), isAtStart: true)
        for normalizer in pipeline.textNormalizers { try normalizer.apply(to: &whole) }
        var output = TokenOutput()
        var workspace = workspaces.take()
        defer { workspaces.giveBack(workspace) }
        output.ids.reserveCapacity(whole.bytes.count / 4 + 16)
        try whole.bytes.withUnsafeBufferPointer { (bytes) throws(LaminaError) in
            try pipeline.addedTokens.split(bytes, specialsAsText: specialsAsText) { (part) throws(LaminaError) in
                switch part {
                case .token(let id): output.ids.append(id)
                case .text(let text, let isAtStart):
                    try PreTokenizer.split(text, isAtStart, by: pipeline.preTokenizers[...]) {
                        (piece, _) throws(LaminaError) in
                        try pipeline.model.encode(piece, pipeline.vocabulary, &workspace, into: &output)
                    }
                }
            }
        }
        if addSpecialTokens {
            output.ids.insert(contentsOf: pipeline.postProcessor.prefix, at: 0)
            output.ids += pipeline.postProcessor.suffix
        }
        return output
    }

    /// The text of `ids`: bytes that are not UTF-8 become U+FFFD; ids that no token has are left out, and with
    /// `skipSpecialTokens` special tokens too.
    public func decode(_ ids: [Int], skipSpecialTokens: Bool) -> String {
        decode(ids[...], skipSpecialTokens: skipSpecialTokens)
    }

    func decode(_ ids: ArraySlice<Int>, skipSpecialTokens: Bool) -> String {
        let kept = skipSpecialTokens ? ids.filter { !pipeline.addedTokens.isSkipped($0) }[...] : ids
        do throws(LaminaError) {
            let bytes = try pipeline.decoder.decode(kept) {
                pipeline.addedTokens.normalizedContent(of: $0) ?? pipeline.vocabulary.bytes(of: $0)
            }
            return String(decoding: bytes, as: UTF8.self)
        } catch {
            // A pattern that takes too many steps on this text: the tokens as they are.
            return kept.compactMap { pipeline.vocabulary.token(of: $0) }.joined()
        }
    }

    /// The ids that come before a text where special tokens are asked for, such as a beginning-of-sequence token.
    public var beginning: [Int] { pipeline.postProcessor.prefix }

    /// The highest id + 1. A model's embedding may have more rows, never fewer.
    public var vocabularySize: Int { pipeline.vocabulary.size }

    /// The id of a token, written as in tokenizer.json (`Ġthe`, `<|im_end|>`); `nil` if there is none.
    public func id(ofToken token: String) -> Int? {
        pipeline.addedTokens.id(of: token) ?? pipeline.vocabulary.id(of: token)
    }

    /// The token with an id, written as in tokenizer.json; `nil` if there is none.
    public func token(ofID id: Int) -> String? {
        pipeline.addedTokens.content(of: id) ?? pipeline.vocabulary.token(of: id)
    }

    /// Whether `id` is a special token, such as an end-of-sequence token.
    public func isSpecial(_ id: Int) -> Bool { pipeline.addedTokens.isSpecial(id) }

    /// The bytes that `id` stands for, which need not be whole characters; none if no token has that id.
    public func bytes(of id: Int) -> [UInt8] { pipeline.decoder.bytes(of: id, pipeline.vocabulary) }
}
