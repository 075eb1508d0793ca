import TensorCore

/// SentencePiece's precompiled character map: a double-array trie from texts to offsets of their replacements.
struct CharacterMap: Sendable {
    private let units: [UInt32]
    /// Replacements, each ending with a zero byte.
    private let replacements: [UInt8]

    /// Reads the map: the trie's size in bytes, the trie, the replacements. Throws `.malformed` if the sizes disagree.
    init(_ blob: ArraySlice<UInt8>) throws(LaminaError) {
        func number(_ offset: Int) -> UInt32 {
            (0..<4).reduce(0) { $0 | UInt32(blob[blob.startIndex + offset + $1]) << UInt32(8 * $1) }
        }
        guard blob.count > 4 else { throw LaminaError(.malformed, "", "the character map is cut off") }
        let size = Int(number(0))
        guard size > 0, size % 4 == 0, size <= blob.count - 4 else {
            throw LaminaError(
                .malformed, "", "the character map's trie has a bad size", expected: "at most \(blob.count - 4) bytes",
                found: "\(size)")
        }
        units = (0..<(size / 4)).map { number(4 + 4 * $0) }
        replacements = Array(blob[(blob.startIndex + 4 + size)...])
    }

    /// The longest text of the map that stands at `start`, and what replaces it.
    func longestMatch(
        in text: UnsafeBufferPointer<UInt8>, at start: Int
    ) -> (length: Int, replacement: ArraySlice<UInt8>)? {
        var longest: (length: Int, value: Int)?
        var node = offset(units[0])
        var position = start
        while position < text.count {
            node ^= Int(text[position])
            guard node < units.count, units[node] & 0x8000_00FF == UInt32(text[position]) else { break }
            let unit = units[node]
            node ^= offset(unit)
            guard node < units.count else { break }
            position += 1
            if unit >> 8 & 1 == 1 { longest = (position - start, Int(units[node] & 0x7FFF_FFFF)) }
        }
        guard let longest, longest.value < replacements.count else { return nil }
        let rest = replacements[longest.value...]
        return (longest.length, rest.prefix { $0 != 0 })
    }

    @inline(__always)
    private func offset(_ unit: UInt32) -> Int { Int(unit >> 10) << Int((unit & 0x200) >> 6) }
}
