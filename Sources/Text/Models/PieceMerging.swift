import TensorCore

/// SentencePiece's byte-pair encoding: two adjacent symbols merge if together they are a piece, the piece of the
/// highest score first and of equal scores the leftmost.
struct PieceMerging: Sendable {
    /// Longest piece accepted, in bytes: every split of a piece is a merge.
    static let longestPiece = 512

    private let engine: MergeEngine
    private let symbols: ScalarTable
    private let cutter: SegmentCutter
    /// Pieces that are never merged with others.
    private let userDefined: ByteTrie
    /// Symbols from here on are characters that are no piece themselves but part of one.
    private let pieceCount: UInt32
    /// Length in bytes of every piece.
    private let pieceLengths: [Int]
    /// What is added to the id of a user-defined piece found in the text, so that no merge knows it.
    private let frozen: UInt32

    /// Throws `.malformed` for pieces that are too long or not in use.
    init(_ file: SentencePieceFile) throws(LaminaError) {
        var builder = try Builder(file)
        var cutter = SegmentCutter()
        var userDefined = ByteTrie()
        for piece in file.pieces where piece.kind == .normal || piece.kind == .userDefined {
            piece.bytes.withUnsafeBufferPointer { cutter.note($0) }
        }
        for (id, piece) in file.pieces.enumerated() where piece.kind == .userDefined {
            userDefined.insert(piece.bytes, value: id)
        }
        pieceLengths = file.pieces.map(\.bytes.count)
        self.cutter = cutter
        self.userDefined = userDefined
        engine = builder.engine(file)
        symbols = builder.symbols
        pieceCount = UInt32(truncatingIfNeeded: file.pieces.count)
        frozen = builder.symbolCount
    }

    /// Calls `known` with ids and `unknown` with the text of characters that are no piece.
    func forEachPiece(
        of text: UnsafeBufferPointer<UInt8>, _ workspace: inout Workspace, known: (ArraySlice<Int>) -> Void,
        unknown: (UnsafeBufferPointer<UInt8>) -> Void
    ) {
        var ids: [Int] = []
        func encode(_ segment: UnsafeBufferPointer<UInt8>) {
            let place = workspace.cache.place(of: segment)
            ids.removeAll(keepingCapacity: true)
            if let place, workspace.cache.append(at: place, to: &ids) { return known(ids[...]) }
            merge(segment, &workspace.merging)
            if workspace.merging.symbols.allSatisfy({ isKnown($0) }) {
                for symbol in workspace.merging.symbols { ids.append(Int(symbol >= frozen ? symbol - frozen : symbol)) }
                if let place { workspace.cache.insert(ids[...], at: place) }
                known(ids[...])
            } else {
                emit(workspace.merging.symbols, segment, known, unknown)
            }
        }
        cutter.forEachSegment(of: text, known: { symbols[$0] < pieceCount }, body: encode)
    }

    private func isKnown(_ symbol: UInt32) -> Bool { symbol < pieceCount || symbol >= frozen && symbol < .max }

    private func merge(_ segment: UnsafeBufferPointer<UInt8>, _ scratch: inout MergeEngine.Scratch) {
        scratch.symbols.removeAll(keepingCapacity: true)
        var position = 0
        while position < segment.count {
            if userDefined.starts(with: segment[position]),
                let (id, end) = userDefined.longestPrefix(of: segment, at: position)
            {
                scratch.symbols.append(UInt32(truncatingIfNeeded: id) + frozen)
                position = end
            } else {
                let (scalar, length) = UTF8Text.scalar(segment, at: position)
                scratch.symbols.append(symbols[scalar])
                position += length
            }
        }
        engine.merge(&scratch)
    }

    /// Unknown symbols are single characters, so walking the segment beside the symbols finds their text.
    private func emit(
        _ merged: [UInt32], _ segment: UnsafeBufferPointer<UInt8>, _ known: (ArraySlice<Int>) -> Void,
        _ unknown: (UnsafeBufferPointer<UInt8>) -> Void
    ) {
        var position = 0
        for symbol in merged {
            let id = Int(symbol >= frozen && symbol < .max ? symbol - frozen : symbol)
            if isKnown(symbol) {
                known([id])
                position += pieceLengths[id]
            } else {
                let length = UTF8Text.length(segment[position])
                unknown(UnsafeBufferPointer(rebasing: segment[position..<(position + length)]))
                position += length
            }
        }
    }
}

/// Finds all pairs of symbols that make a piece.
private struct Builder {
    private var pieces = Vocabulary()
    private(set) var symbols = ScalarTable()
    private(set) var symbolCount: UInt32

    init(_ file: SentencePieceFile) throws(LaminaError) {
        symbolCount = UInt32(truncatingIfNeeded: file.pieces.count)
        for (id, piece) in file.pieces.enumerated() {
            switch piece.kind {
            case .normal, .userDefined: break
            case .unused:
                throw LaminaError(
                    .malformed, "", "piece \(id) is marked as unused, which is not supported",
                    expected: "normal, unknown, control, user-defined or byte pieces")
            default: continue
            }
            guard piece.bytes.count <= PieceMerging.longestPiece else {
                throw LaminaError(
                    .malformed, "", "piece \(id) is too long", expected: "at most \(PieceMerging.longestPiece) bytes",
                    found: "\(piece.bytes.count)")
            }
            try piece.bytes.withUnsafeBufferPointer { (bytes) throws(LaminaError) in
                try pieces.insert(bytes, id: id, where: "piece \(id)")
                if let scalar = ScalarTable.onlyScalar(of: bytes) { symbols[scalar] = UInt32(truncatingIfNeeded: id) }
            }
        }
    }

    mutating func engine(_ file: SentencePieceFile) -> MergeEngine {
        let parts = file.pieces.filter { $0.kind == .normal || $0.kind == .userDefined }
        let ranks = Builder.ranks(parts.map(\.score))
        var engine = MergeEngine(minimumCapacity: parts.count * 2)
        for (id, piece) in file.pieces.enumerated() where piece.kind == .normal || piece.kind == .userDefined {
            piece.bytes.withUnsafeBufferPointer { bytes in
                addMerges(of: bytes, id: id, rank: ranks[piece.score] ?? .max - 1, to: &engine)
            }
        }
        return engine
    }

    /// Equal scores have equal ranks.
    private static func ranks(_ scores: [Float]) -> [Float: UInt32] {
        var ranks: [Float: UInt32] = [:]
        for score in Set(scores).sorted(by: >) { ranks[score] = UInt32(truncatingIfNeeded: ranks.count) }
        return ranks
    }

    private mutating func addMerges(
        of piece: UnsafeBufferPointer<UInt8>, id: Int, rank: UInt32, to engine: inout MergeEngine
    ) {
        var middle = UTF8Text.length(piece[0])
        while middle < piece.count {
            let left = symbol(of: UnsafeBufferPointer(rebasing: piece[..<middle]))
            let right = symbol(of: UnsafeBufferPointer(rebasing: piece[middle...]))
            if let left, let right { engine.add(left, right, rank: rank, joined: UInt32(truncatingIfNeeded: id)) }
            middle += UTF8Text.length(piece[middle])
        }
    }

    /// The symbol of a part of a piece: a piece, or any single character.
    private mutating func symbol(of part: UnsafeBufferPointer<UInt8>) -> UInt32? {
        guard let scalar = ScalarTable.onlyScalar(of: part) else {
            return pieces.id(of: part).map { UInt32(truncatingIfNeeded: $0) }
        }
        if symbols[scalar] == ScalarTable.none {
            symbols[scalar] = symbolCount
            symbolCount += 1
        }
        return symbols[scalar]
    }
}
