import TensorCore

/// Turns ids back into text.
enum Decoder: Sendable {
    /// Tokens with spaces between, for want of anything better.
    case spaced
    case steps([DecoderStep])
    /// The bytes of the tokens one after the other.
    case bytes
    case sentencePiece(SentencePieceDecoder)

    /// The text of `ids`, those without a `token` left out; what is not UTF-8 is replaced. Throws `.limit` if a pattern
    /// takes too many steps.
    func decode(
        _ ids: some Sequence<Int>, token: (Int) -> [UInt8]?
    ) throws(LaminaError) -> [UInt8] {
        switch self {
        case .spaced:
            return Array(ids.compactMap(token).joined(separator: [UInt8(ascii: " ")]))
        case .bytes:
            return Decoder.repaired(Array(ids.compactMap(token).joined()))
        case .sentencePiece(let decoder):
            return decoder.decode(ids, added: token)
        case .steps(let steps):
            var texts = ids.compactMap(token)
            for step in steps { try step.apply(to: &texts) }
            return Array(texts.joined())
        }
    }

    private static func repaired(_ bytes: [UInt8]) -> [UInt8] {
        Array(String(decoding: bytes, as: UTF8.self).utf8)
    }

    /// The bytes that one token stands for inside a text, which need not be whole characters; none for an id that no
    /// token has.
    func bytes(of id: Int, _ vocabulary: Vocabulary) -> [UInt8] {
        guard var token = vocabulary.bytes(of: id) else { return [] }
        switch self {
        case .spaced, .bytes: return token
        case .sentencePiece(let decoder): return decoder.bytes(of: id) ?? token
        case .steps(let steps):
            for step in steps {
                switch step {
                case .byteLevel:
                    var bytes: [UInt8] = []
                    token.withUnsafeBufferPointer { ByteLevelAlphabet.appendDecoded($0, to: &bytes) }
                    token = bytes
                case .byteFallback: if let byte = ByteTokens.byte(of: token) { return [byte] }
                case .replace(.literal(let text), let replacement): token = Decoder.replaced(token, text, replacement)
                case .metaspace(let text, _): token = Decoder.replaced(token, text, [UInt8(ascii: " ")])
                case .fuse, .strip, .replace: break
                }
            }
            return token
        }
    }

    private static func replaced(_ token: [UInt8], _ text: [UInt8], _ replacement: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        var rest = token[...]
        while let byte = rest.first {
            let isMatch = rest.starts(with: text)
            result += isMatch ? replacement : [byte]
            rest = rest.dropFirst(isMatch ? text.count : 1)
        }
        return result
    }
}
