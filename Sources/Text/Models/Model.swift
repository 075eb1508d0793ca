import TensorCore

/// What turns pieces of text into ids.
enum Model: Sendable {
    case byteLevel(ByteLevelModel)
    case characters(CharacterModel)
    case unigram(UnigramModel)
    case sentencePiece(SentencePieceModel)

    /// Appends the ids of `piece`, valid UTF-8 and not empty. Throws `.malformed` if a character is unknown and there is
    /// no unknown token.
    @inline(__always)
    func encode(
        _ piece: UnsafeBufferPointer<UInt8>, _ vocabulary: Vocabulary, _ workspace: inout Workspace,
        into output: inout TokenOutput
    ) throws(LaminaError) {
        switch self {
        case .byteLevel(let model): model.encode(piece, vocabulary: vocabulary, &workspace, into: &output)
        case .characters(let model): model.encode(piece, vocabulary: vocabulary, &workspace, into: &output)
        case .unigram(let model): try model.encode(piece, vocabulary: vocabulary, &workspace, into: &output)
        case .sentencePiece(let model): model.encode(piece, &workspace, into: &output)
        }
    }
}
