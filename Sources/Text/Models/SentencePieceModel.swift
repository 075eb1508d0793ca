import TensorCore

/// The models of SentencePiece: byte-pair encoding over pieces with scores, or unigram.
struct SentencePieceModel: Sendable {
    private enum Search: Sendable {
        case bytePair(PieceMerging)
        case unigram(Unigram)
    }

    private let search: Search
    private let unknown: Int
    /// Ids of the pieces for bytes if unknown characters fall back to them.
    private let byteTokens: [UInt32]?

    /// Throws `.malformed` for pieces that are not supported.
    init(_ file: SentencePieceFile) throws(LaminaError) {
        unknown = file.unknown
        if file.fallsBackToBytes {
            var tokens = [UInt32](repeating: ScalarTable.none, count: 256)
            for (id, piece) in file.pieces.enumerated() where piece.kind == .byte {
                if let byte = ByteTokens.byte(of: piece.bytes) { tokens[Int(byte)] = UInt32(truncatingIfNeeded: id) }
            }
            byteTokens = tokens
        } else {
            byteTokens = nil
        }
        switch file.model {
        case .bytePair: search = .bytePair(try PieceMerging(file))
        case .unigram: search = .unigram(try SentencePieceModel.unigram(file))
        }
    }

    private static func unigram(_ file: SentencePieceFile) throws(LaminaError) -> Unigram {
        let normal = file.pieces.filter { $0.kind == .normal }.map(\.score)
        let pieces = file.pieces.enumerated().compactMap { id, piece -> Unigram.Piece? in
            switch piece.kind {
            case .normal: return Unigram.Piece(id: id, score: Double(piece.score), bytes: piece.bytes)
            // Better than every normal piece, whose scores are logarithms of probabilities.
            case .userDefined: return Unigram.Piece(id: id, score: 0, bytes: piece.bytes)
            default: return nil
            }
        }
        return try Unigram(
            pieces: pieces, size: file.pieces.count,
            lowestScore: Double(normal.min() ?? .greatestFiniteMagnitude), unknown: file.unknown, precision: .single)
    }

    /// Appends the ids of normalized text, which is not empty.
    func encode(
        _ text: UnsafeBufferPointer<UInt8>, _ workspace: inout Workspace, into output: inout TokenOutput
    ) {
        switch search {
        case .bytePair(let merging):
            merging.forEachPiece(
                of: text, &workspace, known: { output.ids.append(contentsOf: $0) },
                unknown: { surface in appendUnknown(surface, &output) })
        case .unigram(let unigram):
            unigram.forEachPiece(of: text, &workspace.path) { id, range in
                if id == unknown {
                    appendUnknown(UnsafeBufferPointer(rebasing: text[range]), &output)
                } else {
                    output.ids.append(id)
                }
            }
        }
    }

    private func appendUnknown(_ surface: UnsafeBufferPointer<UInt8>, _ output: inout TokenOutput) {
        if let byteTokens {
            for byte in surface { output.ids.append(Int(byteTokens[Int(byte)])) }
        } else if output.endsInUnknown {
            output.extendUnknown(surface)
        } else {
            output.appendUnknown(unknown, surface)
        }
    }
}
