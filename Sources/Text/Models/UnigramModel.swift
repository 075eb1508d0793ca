import TensorCore

/// The unigram model of a tokenizer.json.
struct UnigramModel: Sendable {
    private let unigram: Unigram
    /// Ids of the tokens `<0x00>` to `<0xFF>` if all characters may fall back to them.
    private let byteTokens: [UInt32]?
    private let modelTokenCount: Int

    /// `scores` are those of ids 0, 1 and so on; `vocabulary` holds no added tokens yet. Throws `.malformed`.
    init(vocabulary: Vocabulary, scores: [Double], unknown: Int?, fallsBackToBytes: Bool) throws(LaminaError) {
        let pieces = scores.indices.map { id in
            Unigram.Piece(id: id, score: scores[id], bytes: vocabulary.bytes(of: id) ?? [])
        }
        unigram = try Unigram(
            pieces: pieces, size: scores.count, lowestScore: scores.min() ?? .infinity, unknown: unknown,
            precision: .double)
        byteTokens = fallsBackToBytes ? CharacterModel.byteTokens(of: vocabulary) : nil
        modelTokenCount = vocabulary.count
    }

    /// Appends the ids of `piece`, which is not empty. Throws `.malformed` for an unknown character if there is no
    /// unknown token.
    func encode(
        _ piece: UnsafeBufferPointer<UInt8>, vocabulary: Vocabulary, _ workspace: inout Workspace,
        into output: inout TokenOutput
    ) throws(LaminaError) {
        let place = workspace.cache.place(of: piece)
        if let place, workspace.cache.append(at: place, to: &output.ids) { return }
        let start = output.ids.count
        var unknown: Range<Int>?
        var isMissing = false
        unigram.forEachPiece(of: piece, &workspace.path) { id, range in
            if id == unigram.unknown {
                // Adjacent unknown characters are one piece.
                unknown = (unknown?.lowerBound ?? range.lowerBound)..<range.upperBound
                return
            }
            if let stretch = unknown { isMissing = !appendUnknown(piece, stretch, vocabulary, &output) || isMissing }
            unknown = nil
            output.ids.append(id)
        }
        if let stretch = unknown { isMissing = !appendUnknown(piece, stretch, vocabulary, &output) || isMissing }
        guard !isMissing else {
            throw LaminaError(
                .malformed, "", "the text has a character that the vocabulary lacks, and model.unk_id is missing")
        }
        if let place, !output.hasUnknown(from: start) { workspace.cache.insert(output.ids[start...], at: place) }
    }

    /// Appends the token that an unknown stretch happens to be, or its bytes, or the unknown token; `false` if there is
    /// none.
    private func appendUnknown(
        _ piece: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, _ vocabulary: Vocabulary,
        _ output: inout TokenOutput
    ) -> Bool {
        let stretch = UnsafeBufferPointer(rebasing: piece[range])
        if let id = vocabulary.id(of: stretch, amongFirst: modelTokenCount) {
            output.ids.append(id)
        } else if let byteTokens, stretch.allSatisfy({ byteTokens[Int($0)] != ScalarTable.none }) {
            for byte in stretch { output.ids.append(Int(byteTokens[Int(byte)])) }
        } else if unigram.unknown >= 0 {
            output.appendUnknown(unigram.unknown, stretch)
        } else {
            return false
        }
        return true
    }
}
