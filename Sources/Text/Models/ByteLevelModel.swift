import TensorCore

/// The byte-pair encoding model over bytes: a piece of text starts as one symbol per byte.
struct ByteLevelModel: Sendable {
    /// How the vocabulary writes a whole piece, for vocabularies that take one without merging if they have it.
    enum WholePieces: Sendable {
        case merged
        /// In the characters that stand for bytes.
        case inAlphabet
        /// As it is.
        case asBytes
    }

    /// The id of each byte's symbol.
    private let byteSymbols: [UInt32]
    private let engine: MergeEngine
    /// What every two bytes merge to, at 256 times the first byte plus the second.
    private let bytePairs: [PairTable.Value]
    private let wholePieces: WholePieces
    private let cutter: ByteSegmentCutter
    /// The model's own tokens come first in the vocabulary; added tokens, which only `AddedTokens` finds, follow.
    private let modelTokenCount: Int

    /// `byteSymbols` are 256 ids of `vocabulary`, which holds no added tokens yet.
    init(byteSymbols: [UInt32], vocabulary: Vocabulary, engine: MergeEngine, wholePieces: WholePieces) {
        self.byteSymbols = byteSymbols
        self.engine = engine
        self.wholePieces = wholePieces
        modelTokenCount = vocabulary.count
        bytePairs = byteSymbols.flatMap { left in byteSymbols.map { engine.merge(left, $0) } }
        var cutter = ByteSegmentCutter()
        var bytes: [UInt8] = []
        vocabulary.forEachToken { token, _ in
            guard wholePieces != .asBytes else { return cutter.note(token) }
            bytes.removeAll(keepingCapacity: true)
            ByteLevelAlphabet.appendDecoded(token, to: &bytes)
            bytes.withUnsafeBufferPointer { cutter.note($0) }
        }
        self.cutter = cutter
    }

    /// The ids of the symbols for bytes in a vocabulary that writes them as characters; `nil` if one is missing.
    static func alphabet(of vocabulary: Vocabulary) -> [UInt32]? {
        let symbols = ByteLevelAlphabet.scalars.compactMap { scalar in
            vocabulary.id(of: String(Character(scalar))).map { UInt32(truncatingIfNeeded: $0) }
        }
        return symbols.count == 256 ? symbols : nil
    }

    /// Appends the ids of `piece`, which is not empty.
    @inline(__always)
    func encode(
        _ piece: UnsafeBufferPointer<UInt8>, vocabulary: Vocabulary, _ workspace: inout Workspace,
        into output: inout TokenOutput
    ) {
        let place = workspace.cache.place(of: piece)
        if let place, workspace.cache.append(at: place, to: &output.ids) { return }
        let start = output.ids.count
        if let id = wholeToken(piece, vocabulary) {
            output.ids.append(id)
        } else {
            cutter.forEachSegment(of: piece) { encodeSegment($0, &workspace, into: &output) }
        }
        if let place { workspace.cache.insert(output.ids[start...], at: place) }
    }

    /// The id of a piece that is taken without merging.
    private func wholeToken(_ piece: UnsafeBufferPointer<UInt8>, _ vocabulary: Vocabulary) -> Int? {
        switch wholePieces {
        case .merged: nil
        case .inAlphabet:
            ByteLevelAlphabet.encoded(piece).withUnsafeBufferPointer {
                vocabulary.id(of: $0, amongFirst: modelTokenCount)
            }
        case .asBytes: vocabulary.id(of: piece, amongFirst: modelTokenCount)
        }
    }

    private func encodeSegment(
        _ segment: UnsafeBufferPointer<UInt8>, _ workspace: inout Workspace, into output: inout TokenOutput
    ) {
        let place = workspace.cache.place(of: segment, isSegment: true)
        if let place, workspace.cache.append(at: place, to: &output.ids) { return }
        let start = output.ids.count
        merge(segment, &workspace.merging, into: &output)
        if let place { workspace.cache.insert(output.ids[start...], at: place) }
    }

    private func merge(
        _ piece: UnsafeBufferPointer<UInt8>, _ scratch: inout MergeEngine.Scratch, into output: inout TokenOutput
    ) {
        scratch.symbols.removeAll(keepingCapacity: true)
        for byte in piece { scratch.symbols.append(byteSymbols[Int(byte)]) }
        for index in 1..<max(piece.count, 1) {
            scratch.pairs.append(bytePairs[Int(piece[index - 1]) << 8 | Int(piece[index])])
        }
        engine.merge(&scratch)
        for symbol in scratch.symbols { output.ids.append(Int(symbol)) }
    }
}
