import TensorCore

/// A token that is found in the text before the pre-tokenizer and the model see it.
struct AddedToken: Sendable {
    var id: Int
    var content: String
    /// Only where no word character touches it.
    var singleWord: Bool
    /// Takes white space before it along.
    var stripsLeft: Bool
    /// Takes white space after it along.
    var stripsRight: Bool
    /// Whether it is looked for in the normalized text rather than in the original.
    var isNormalized: Bool
    /// Left out when decoding without special tokens.
    var isSpecial: Bool
}

/// Finds added tokens in text: at the leftmost place the longest, then on from its end.
struct AddedTokens: Sendable {
    /// Longest added token accepted, in bytes: bounds the work at every position of a text.
    static let maximumLength = 512

    /// A part of a text: an added token, or text between.
    enum Part {
        case text(Range<Int>)
        case token(Int)
    }

    let tokens: [AddedToken]
    private var specialIDs: Set<Int> = []
    private let original: TokenTrie
    private let normalized: TokenTrie

    init(_ tokens: [AddedToken]) {
        self.tokens = tokens
        // The reference knows special tokens first; of two that match the same text, the first known wins.
        let ordered = tokens.indices.filter { tokens[$0].isSpecial } + tokens.indices.filter { !tokens[$0].isSpecial }
        original = TokenTrie(tokens, ordered.filter { !tokens[$0].isNormalized })
        normalized = TokenTrie(tokens, ordered.filter { tokens[$0].isNormalized })
        specialIDs = Set(tokens.filter(\.isSpecial).map(\.id))
    }

    /// Whether decoding can leave `id` out.
    func isSpecial(_ id: Int) -> Bool { specialIDs.contains(id) }

    /// Cuts `text` at the added tokens. With `specialsAsText`, special tokens stay text. Throws what `body` throws.
    func split(
        _ text: UnsafeBufferPointer<UInt8>, specialsAsText: Bool, _ body: (Part) throws(LaminaError) -> Void
    ) throws(LaminaError) {
        try split(text, 0..<text.count, original, specialsAsText) { (part) throws(LaminaError) in
            switch part {
            case .token: try body(part)
            case .text(let range): try split(text, range, normalized, specialsAsText, body)
            }
        }
    }

    private func split(
        _ whole: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, _ trie: TokenTrie, _ specialsAsText: Bool,
        _ body: (Part) throws(LaminaError) -> Void
    ) throws(LaminaError) {
        let text = UnsafeBufferPointer(rebasing: whole[range])
        var done = 0
        var position = 0
        while let match = trie.firstMatch(in: text, from: position) {
            position = match.range.upperBound
            let token = tokens[match.token]
            if specialsAsText, token.isSpecial { continue }
            if token.singleWord, TextEdges.touchesWord(text, match.range) { continue }
            var (start, end) = (match.range.lowerBound, match.range.upperBound)
            if token.stripsLeft { start = max(TextEdges.spaceStart(text, before: start), done) }
            if token.stripsRight { end = TextEdges.spaceEnd(text, after: end) }
            if done < start { try body(.text((range.lowerBound + done)..<(range.lowerBound + start))) }
            try body(.token(token.id))
            done = end
        }
        if done < text.count { try body(.text((range.lowerBound + done)..<range.upperBound)) }
    }
}

/// A trie over the bytes of tokens.
private struct TokenTrie: Sendable {
    private var edges = PairTable()
    /// Index + 1 of the token that ends at each node, or 0.
    private var endings: [Int] = [0]
    private var firstBytes = [Bool](repeating: false, count: 256)

    init(_ tokens: [AddedToken], _ indices: [Int]) {
        for index in indices where !tokens[index].content.isEmpty {
            var node: UInt32 = 0
            for byte in tokens[index].content.utf8 {
                if let next = edges[node, UInt32(byte)] {
                    node = next.id
                } else {
                    let next = UInt32(truncatingIfNeeded: endings.count)
                    edges.insert(node, UInt32(byte), PairTable.Value(rank: 0, id: next))
                    endings.append(0)
                    node = next
                }
            }
            if endings[Int(node)] == 0 { endings[Int(node)] = index + 1 }
            if let first = tokens[index].content.utf8.first { firstBytes[Int(first)] = true }
        }
    }

    /// The leftmost match at or after `start`, and of those the longest.
    func firstMatch(in text: UnsafeBufferPointer<UInt8>, from start: Int) -> (token: Int, range: Range<Int>)? {
        guard edges.count > 0 else { return nil }
        var position = start
        while position < text.count {
            if firstBytes[Int(text[position])], let match = longestMatch(in: text, at: position) { return match }
            position += 1
        }
        return nil
    }

    private func longestMatch(in text: UnsafeBufferPointer<UInt8>, at start: Int) -> (token: Int, range: Range<Int>)? {
        var node: UInt32 = 0
        var position = start
        var best: (token: Int, range: Range<Int>)?
        while position < text.count, let next = edges[node, UInt32(text[position])] {
            node = next.id
            position += 1
            if endings[Int(node)] > 0 { best = (endings[Int(node)] - 1, start..<position) }
        }
        return best
    }
}

/// White space and word characters beside a place in a text.
private enum TextEdges {
    /// Whether a word character stands right before or after `range`.
    static func touchesWord(_ text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>) -> Bool {
        if let (scalar, _) = last(text, before: range.lowerBound), isWord(scalar) { return true }
        if let (scalar, _) = first(text, after: range.upperBound), isWord(scalar) { return true }
        return false
    }

    /// Where the white space that ends at `end` starts.
    static func spaceStart(_ text: UnsafeBufferPointer<UInt8>, before end: Int) -> Int {
        var position = end
        while let (scalar, length) = last(text, before: position), scalar.properties.isWhitespace { position -= length }
        return position
    }

    /// Where the white space that starts at `start` ends.
    static func spaceEnd(_ text: UnsafeBufferPointer<UInt8>, after start: Int) -> Int {
        var position = start
        while let (scalar, length) = first(text, after: position), scalar.properties.isWhitespace { position += length }
        return position
    }

    private static func isWord(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .nonspacingMark, .spacingMark, .enclosingMark, .decimalNumber, .connectorPunctuation: true
        default: scalar.properties.isAlphabetic || scalar.properties.isJoinControl
        }
    }

    private static func last(_ text: UnsafeBufferPointer<UInt8>, before end: Int) -> (Unicode.Scalar, Int)? {
        guard end > 0 else { return nil }
        var start = end - 1
        while start > 0, text[start] & 0xC0 == 0x80 { start -= 1 }
        let scalar = String(decoding: text[start..<end], as: UTF8.self).unicodeScalars.first
        return scalar.map { ($0, end - start) }
    }

    private static func first(_ text: UnsafeBufferPointer<UInt8>, after start: Int) -> (Unicode.Scalar, Int)? {
        guard start < text.count else { return nil }
        var end = start + 1
        while end < text.count, text[end] & 0xC0 == 0x80 { end += 1 }
        let scalar = String(decoding: text[start..<end], as: UTF8.self).unicodeScalars.first
        return scalar.map { ($0, end - start) }
    }
}
