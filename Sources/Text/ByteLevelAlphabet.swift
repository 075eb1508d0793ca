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

    /// The bytes that `token` stands for, or its own UTF-8 if a character of it stands for no byte: added tokens are
    /// written plainly.
    static func decoded(_ token: UnsafeBufferPointer<UInt8>) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(token.count)
        for scalar in String(decoding: token, as: UTF8.self).unicodeScalars {
            guard scalar.value < 0x180, bytes[Int(scalar.value)] < 256 else { return Array(token) }
            result.append(UInt8(truncatingIfNeeded: bytes[Int(scalar.value)]))
        }
        return result
    }

    /// `bytes` as a vocabulary writes them, in UTF-8.
    static func encoded(_ bytes: UnsafeBufferPointer<UInt8>) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(bytes.count * 2)
        for byte in bytes {
            let value = scalars[Int(byte)].value
            if value < 0x80 {
                result.append(UInt8(value))
            } else {
                result.append(UInt8(0xC0 | value >> 6))
                result.append(UInt8(0x80 | value & 0x3F))
            }
        }
        return result
    }
}
