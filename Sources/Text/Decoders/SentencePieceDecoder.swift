/// Turns ids of SentencePiece's pieces back into text, as its own decoder does.
struct SentencePieceDecoder: Sendable {
    private enum Part: Sendable {
        case text([UInt8])
        case byte(UInt8)
        case hidden
        case unknown
    }

    private static let spaceSymbol: [UInt8] = [0xE2, 0x96, 0x81]

    private var parts: [Part]
    private let unknownSurface: [UInt8]
    private let stripsFirstSpace: Bool
    private let stripsAllSpaces: Bool
    private let denormalizer: SentencePieceNormalizer?

    /// `added` tokens stand for their content, whatever piece has their id.
    init(_ file: SentencePieceFile, added: [AddedToken], denormalizer: SentencePieceNormalizer?) {
        parts = file.pieces.map { piece in
            switch piece.kind {
            case .control: .hidden
            case .unknown: .unknown
            case .byte: ByteTokens.byte(of: piece.bytes).map(Part.byte) ?? .text(piece.bytes)
            default: .text(piece.bytes)
            }
        }
        for token in added where parts.indices.contains(token.id) { parts[token.id] = .text(Array(token.content.utf8)) }
        unknownSurface = file.unknownSurface
        stripsAllSpaces = file.normalization.removesExtraWhitespace
        stripsFirstSpace = file.normalization.addsDummyPrefix || stripsAllSpaces
        self.denormalizer = denormalizer
    }

    /// The text of `ids`; an id that no piece has stands for the bytes that `added` gives.
    func decode(_ ids: some Sequence<Int>, added: (Int) -> [UInt8]?) -> [UInt8] {
        var output: [UInt8] = []
        var bytes: [UInt8] = []
        var mayStrip = true
        var hasStripped = false
        func flushBytes() {
            UTF8Text.append(bytes, replacingInvalidBytesTo: &output)
            bytes.removeAll(keepingCapacity: true)
        }
        for id in ids {
            let part = parts.indices.contains(id) ? parts[id] : added(id).map(Part.text) ?? .hidden
            if case .byte(let byte) = part {
                bytes.append(byte)
                continue
            }
            flushBytes()
            if hasStripped || !output.isEmpty { mayStrip = false }
            hasStripped = false
            switch part {
            case .text(let piece):
                let isSpaced = mayStrip && stripsFirstSpace && piece.starts(with: SentencePieceDecoder.spaceSymbol)
                hasStripped = isSpaced && !stripsAllSpaces
                append(isSpaced ? piece.dropFirst(3) : piece[...], to: &output)
            case .unknown: output += unknownSurface
            case .hidden, .byte: break
            }
        }
        flushBytes()
        guard let denormalizer else { return output }
        return output.withUnsafeBufferPointer { denormalizer.normalized($0) }
    }

    /// The bytes that a piece stands for inside a text; `nil` for an id that no piece has.
    func bytes(of id: Int) -> [UInt8]? {
        guard parts.indices.contains(id) else { return nil }
        switch parts[id] {
        case .byte(let byte): return [byte]
        case .unknown: return unknownSurface
        case .hidden: return []
        case .text(let piece):
            var output: [UInt8] = []
            append(piece[...], to: &output)
            return output
        }
    }

    private func append(_ piece: ArraySlice<UInt8>, to output: inout [UInt8]) {
        var rest = piece
        while let byte = rest.first {
            if rest.starts(with: SentencePieceDecoder.spaceSymbol) {
                output.append(0x20)
                rest = rest.dropFirst(3)
            } else {
                output.append(byte)
                rest = rest.dropFirst()
            }
        }
    }
}
