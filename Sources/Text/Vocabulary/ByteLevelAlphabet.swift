/// The 256 characters that stand for bytes in byte-level vocabularies, as GPT-2 chose them.
///
/// Printable Latin-1 bytes stand for themselves; the other 68, in rising order, are U+0100, U+0101 and so on. Space
/// is U+0120 (`Ġ`), line feed U+010A (`Ċ`).
enum ByteLevelAlphabet {
    /// The character of each byte.
    static let scalars: [Unicode.Scalar] = {
        var next: UInt32 = 0x100
        return (0...UInt8.max).map { byte in
            if isPrintable(byte) { return Unicode.Scalar(byte) }
            defer { next += 1 }
            return Unicode.Scalar(next) ?? "\u{FFFD}"
        }
    }()

    /// The byte of each character below U+0180, 256 where there is none.
    private static let bytes: [UInt16] = {
        var table = [UInt16](repeating: 256, count: 0x180)
        for (byte, scalar) in scalars.enumerated() { table[Int(scalar.value)] = UInt16(byte) }
        return table
    }()

    private static func isPrintable(_ byte: UInt8) -> Bool {
        (0x21...0x7E).contains(byte) || (0xA1...0xAC).contains(byte) || byte >= 0xAE
    }

    /// Appends the bytes that `token`, valid UTF-8, stands for, or its own bytes if a character of it stands for none:
    /// added tokens are written plainly.
    static func appendDecoded(_ token: UnsafeBufferPointer<UInt8>, to output: inout [UInt8]) {
        let bytes = ByteLevelAlphabet.bytes
        let start = output.count
        var position = 0
        while position < token.count {
            let (scalar, length) = UTF8Text.scalar(token, at: position)
            guard scalar < 0x180, bytes[Int(scalar)] < 256 else {
                output.removeSubrange(start...)
                return output.append(contentsOf: token)
            }
            output.append(UInt8(truncatingIfNeeded: bytes[Int(scalar)]))
            position += length
        }
    }

    /// `bytes` as a vocabulary writes them, in UTF-8.
    static func encoded(_ bytes: UnsafeBufferPointer<UInt8>) -> [UInt8] {
        let scalars = ByteLevelAlphabet.scalars
        var result: [UInt8] = []
        result.reserveCapacity(bytes.count * 2)
        for byte in bytes { UTF8Text.append(scalars[Int(byte)].value, to: &result) }
        return result
    }
}
