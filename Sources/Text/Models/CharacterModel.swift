import TensorCore

/// The byte-pair encoding model over characters: a piece of text starts as one symbol per character, or one per byte
/// of a character that the vocabulary lacks, or as the unknown token.
struct CharacterModel: Sendable {
    /// What the model does with characters that the vocabulary lacks.
    struct Options: Sendable {
        /// The unknown token's id; without one unknown characters are left out.
        var unknown: UInt32?
        /// Whether adjacent unknown characters are one unknown token.
        var fusesUnknown: Bool
        /// Ids of the tokens `<0x00>` to `<0xFF>`, `ScalarTable.none` where there is none.
        var byteTokens: [UInt32]?
        /// Whether a piece that is a token as a whole is taken without merging.
        var ignoresMerges: Bool
    }

    private let options: Options
    private let engine: MergeEngine
    private let symbols: ScalarTable
    private let cutter: SegmentCutter
    private let modelTokenCount: Int
    private let longestToken: Int

    /// `vocabulary` holds no added tokens yet. `mergesWholeTokens` says whether a merge takes the unknown token or one
    /// that stands for a byte, which no published tokenizer has.
    init(vocabulary: Vocabulary, engine: MergeEngine, options: Options, mergesWholeTokens: Bool) {
        self.engine = engine
        self.options = options
        modelTokenCount = vocabulary.count
        var symbols = ScalarTable()
        var cutter = SegmentCutter()
        var longestToken = 0
        vocabulary.forEachToken { token, id in
            longestToken = max(longestToken, token.count)
            if let scalar = ScalarTable.onlyScalar(of: token) {
                symbols[scalar] = UInt32(truncatingIfNeeded: id)
            } else {
                cutter.note(token)
            }
        }
        self.symbols = symbols
        cutter.isUsable = !mergesWholeTokens
        self.cutter = cutter
        self.longestToken = longestToken
    }

    /// The ids of the tokens that stand for bytes.
    static func byteTokens(of vocabulary: Vocabulary) -> [UInt32] {
        (0...UInt8.max).map { byte in
            vocabulary.id(of: ByteTokens.name(of: byte)).map { UInt32(truncatingIfNeeded: $0) } ?? ScalarTable.none
        }
    }

    /// Appends the ids of `piece`, which is not empty.
    func encode(
        _ piece: UnsafeBufferPointer<UInt8>, vocabulary: Vocabulary, _ workspace: inout Workspace,
        into output: inout TokenOutput
    ) {
        if options.ignoresMerges, piece.count <= longestToken,
            let id = vocabulary.id(of: piece, amongFirst: modelTokenCount)
        {
            return output.ids.append(id)
        }
        cutter.forEachSegment(
            of: piece, known: { symbols[$0] != ScalarTable.none },
            body: { segment in encodeSegment(segment, &workspace, into: &output) })
    }

    @inline(__always)
    private func encodeSegment(
        _ segment: UnsafeBufferPointer<UInt8>, _ workspace: inout Workspace, into output: inout TokenOutput
    ) {
        let place = workspace.cache.place(of: segment)
        if let place, workspace.cache.append(at: place, to: &output.ids) { return }
        let start = output.ids.count
        appendSymbols(of: segment, to: &workspace.merging.symbols)
        engine.merge(&workspace.merging)
        for symbol in workspace.merging.symbols { output.ids.append(Int(symbol)) }
        if let place { workspace.cache.insert(output.ids[start...], at: place) }
    }

    /// An unknown token comes out only before the next known character, after the byte tokens of characters between,
    /// as in the reference implementation.
    private func appendSymbols(of segment: UnsafeBufferPointer<UInt8>, to output: inout [UInt32]) {
        output.removeAll(keepingCapacity: true)
        var pending = false
        UTF8Text.forEachScalar(segment) { scalar, range in
            let symbol = symbols[scalar]
            if symbol != ScalarTable.none {
                if pending, let unknown = options.unknown { output.append(unknown) }
                pending = false
                output.append(symbol)
            } else if let tokens = options.byteTokens,
                range.allSatisfy({ tokens[Int(segment[$0])] != ScalarTable.none })
            {
                for position in range { output.append(tokens[Int(segment[position])]) }
            } else if let unknown = options.unknown {
                if pending, !options.fusesUnknown { output.append(unknown) }
                pending = true
            }
        }
        if pending, let unknown = options.unknown { output.append(unknown) }
    }
}

/// The names of tokens that stand for bytes.
enum ByteTokens {
    /// `<0x0A>` for 10.
    static func name(of byte: UInt8) -> String {
        let digits = String(byte, radix: 16, uppercase: true)
        return "<0x" + (byte < 16 ? "0" : "") + digits + ">"
    }

    /// The byte that a token stands for; `nil` for other tokens. The digits may be of either case.
    static func byte(of token: some RandomAccessCollection<UInt8>) -> UInt8? {
        guard token.count == 6, token.starts(with: "<0x".utf8), token.last == UInt8(ascii: ">") else { return nil }
        let digits = token.dropFirst(3).dropLast()
        guard digits.allSatisfy({ Character(Unicode.Scalar($0)).isHexDigit }) else { return nil }
        return UInt8(String(decoding: digits, as: UTF8.self), radix: 16)
    }
}
