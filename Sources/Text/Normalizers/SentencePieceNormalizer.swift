import TensorCore

/// What SentencePiece does to text before its model sees it: replaces characters by its map, tidies up white space,
/// writes spaces as U+2581 and puts one in front.
struct SentencePieceNormalizer: Sendable {
    private static let spaceSymbol: [UInt8] = [0xE2, 0x96, 0x81]

    private let map: CharacterMap?
    private let options: SentencePieceFile.Normalization
    private let treatsWhitespaceAsSuffix: Bool
    /// Left as they are.
    private var userDefined = ByteTrie()

    /// Throws `.malformed` if the character map is damaged.
    init(
        _ options: SentencePieceFile.Normalization, treatsWhitespaceAsSuffix: Bool,
        userDefined pieces: some Sequence<[UInt8]>
    ) throws(LaminaError) {
        map = options.characterMap.isEmpty ? nil : try CharacterMap(options.characterMap)
        self.options = options
        self.treatsWhitespaceAsSuffix = treatsWhitespaceAsSuffix
        for piece in pieces { userDefined.insert(piece, value: 0) }
    }

    /// `text`, valid UTF-8, as the model wants it.
    func normalized(_ text: UnsafeBufferPointer<UInt8>) -> [UInt8] {
        var position = 0
        if options.removesExtraWhitespace {
            while position < text.count {
                let isSpace = withPrefix(of: text, at: position) { prefix, length in
                    guard prefix.count == 1, prefix[0] == 0x20 else { return false }
                    position += length
                    return true
                }
                guard isSpace else { break }
            }
        }
        guard position < text.count else { return [] }
        let space = options.escapesWhitespace ? SentencePieceNormalizer.spaceSymbol : [0x20]
        var output: [UInt8] = []
        output.reserveCapacity(text.count + text.count / 4 + 8)
        if !treatsWhitespaceAsSuffix, options.addsDummyPrefix { output += space }
        var followsSpace = options.removesExtraWhitespace
        while position < text.count {
            withPrefix(of: text, at: position) { prefix, length in
                position += length
                var start = 0
                while followsSpace, start < prefix.count, prefix[start] == 0x20 { start += 1 }
                guard start < prefix.count else { return }
                for byte in prefix[start...] {
                    if byte == 0x20 { output += space } else { output.append(byte) }
                }
                followsSpace = options.removesExtraWhitespace && prefix[prefix.count - 1] == 0x20
            }
        }
        if options.removesExtraWhitespace {
            while output.count >= space.count, output.suffix(space.count).elementsEqual(space) {
                output.removeLast(space.count)
            }
        }
        if treatsWhitespaceAsSuffix, options.addsDummyPrefix { output += space }
        return output
    }

    /// Calls `body` with what the text at `position` becomes, and how many bytes of the text that takes.
    @inline(__always)
    private func withPrefix<Result>(
        of text: UnsafeBufferPointer<UInt8>, at position: Int, _ body: (UnsafeBufferPointer<UInt8>, Int) -> Result
    ) -> Result {
        if userDefined.starts(with: text[position]),
            let (_, end) = userDefined.longestPrefix(of: text, at: position)
        {
            return body(UnsafeBufferPointer(rebasing: text[position..<end]), end - position)
        }
        if let (length, replacement) = map?.longestMatch(in: text, at: position) {
            return replacement.withUnsafeBufferPointer { body($0, length) }
        }
        let length = min(UTF8Text.length(text[position]), text.count - position)
        return body(UnsafeBufferPointer(rebasing: text[position..<(position + length)]), length)
    }
}
