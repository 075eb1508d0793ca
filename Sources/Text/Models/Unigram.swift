import TensorCore

/// The unigram model: of all ways to write a text as pieces the one with the highest sum of scores, found in one pass.
struct Unigram: Sendable {
    /// How scores are summed: tokenizer.json is defined with 64-bit numbers, SentencePiece with 32-bit ones, and ties
    /// between sums depend on it.
    enum Precision: Sendable { case single, double }

    /// A piece that the search may use.
    struct Piece {
        var id: Int
        var score: Double
        var bytes: [UInt8]
    }

    /// Longest piece accepted, in bytes: with the number of characters it bounds the work for a text.
    static let longestPiece = 1024
    /// How much worse than the worst piece an unknown character is.
    private static let unknownPenalty = 10.0

    /// The best way to write the text up to some place.
    struct Node: Sendable {
        var score: Double
        /// Where the last piece starts, -1 if no way is known.
        var start: Int32
        var id: Int32
    }

    /// The nodes of one text, used again for the next.
    typealias Path = [Node]

    private var trie = ByteTrie()
    private var scores: [Double] = []
    private let unknownScore: Double
    private let precision: Precision
    /// The unknown token's id; -1 without one.
    let unknown: Int

    /// Throws `.malformed` if a piece is too long. `lowestScore` is that of the pieces that count for it.
    init(
        pieces: some Sequence<Piece>, size: Int, lowestScore: Double, unknown: Int?, precision: Precision
    ) throws(LaminaError) {
        scores = [Double](repeating: 0, count: size)
        for piece in pieces {
            guard piece.bytes.count <= Unigram.longestPiece else {
                throw LaminaError(
                    .malformed, "", "piece \(piece.id) is too long", expected: "at most \(Unigram.longestPiece) bytes",
                    found: "\(piece.bytes.count)")
            }
            trie.insert(piece.bytes, value: piece.id)
            scores[piece.id] = piece.score
        }
        self.unknown = unknown ?? -1
        self.precision = precision
        unknownScore =
            precision == .single
            ? Double(Float(lowestScore) - Float(Unigram.unknownPenalty)) : lowestScore - Unigram.unknownPenalty
    }

    /// Calls `body` with the pieces of the best way to write `text`, valid UTF-8 and not empty.
    func forEachPiece(
        of text: UnsafeBufferPointer<UInt8>, _ path: inout Path, _ body: (Int, Range<Int>) -> Void
    ) {
        search(text, &path)
        // The way is known from its end; turn the links around to walk it from its start.
        var end = text.count
        var next = -1
        while end >= 0 {
            let start = Int(path[end].start)
            path[end].start = Int32(truncatingIfNeeded: next)
            next = end
            end = start
        }
        var start = 0
        while path[start].start > 0 {
            let end = Int(path[start].start)
            body(Int(path[end].id), start..<end)
            start = end
        }
    }

    private func search(_ text: UnsafeBufferPointer<UInt8>, _ path: inout Path) {
        path.removeAll(keepingCapacity: true)
        path.append(contentsOf: repeatElement(Node(score: 0, start: -1, id: 0), count: text.count + 1))
        path.withUnsafeMutableBufferPointer { path in
            var position = 0
            while position < text.count {
                let length = min(UTF8Text.length(text[position]), text.count - position)
                let score = path[position].score
                var hasCharacter = false
                trie.forEachPrefix(of: text, at: position) { id, end in
                    offer(rounded(score + scores[id]), id, position, &path[end])
                    if end == position + length { hasCharacter = true }
                }
                if !hasCharacter { offer(rounded(score + unknownScore), unknown, position, &path[position + length]) }
                position += length
            }
        }
    }

    @inline(__always)
    private func rounded(_ score: Double) -> Double { precision == .single ? Double(Float(score)) : score }

    @inline(__always)
    private func offer(_ score: Double, _ id: Int, _ start: Int, _ node: inout Node) {
        guard node.start < 0 || score > node.score else { return }
        node.score = score
        node.start = Int32(truncatingIfNeeded: start)
        node.id = Int32(truncatingIfNeeded: id)
    }
}
