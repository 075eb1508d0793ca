/// Reading scalars out of valid UTF-8.
enum UTF8Text {
    /// The number of bytes of the character that starts with `byte`.
    @inline(__always)
    static func length(_ byte: UInt8) -> Int {
        byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4
    }

    /// The scalar at `position` and its length in bytes; a character cut off at the end counts as one byte.
    @inline(__always)
    static func scalar(_ text: UnsafeBufferPointer<UInt8>, at position: Int) -> (value: UInt32, length: Int) {
        let byte = text[position]
        if byte < 0x80 { return (UInt32(byte), 1) }
        let length = length(byte)
        guard position + length <= text.count else { return (UInt32(byte), 1) }
        var value = UInt32(byte) & (0x7F >> UInt32(length))
        for offset in 1..<length { value = value << 6 | UInt32(text[position + offset] & 0x3F) }
        return (value, length)
    }

    /// The scalar that ends at `end` and its length in bytes.
    static func scalar(_ text: UnsafeBufferPointer<UInt8>, before end: Int) -> (value: UInt32, length: Int) {
        var start = end - 1
        while start > 0, text[start] & 0xC0 == 0x80, end - start < 4 { start -= 1 }
        let (value, length) = scalar(text, at: start)
        return start + length == end ? (value, length) : (UInt32(text[end - 1]), 1)
    }

    /// Appends the UTF-8 of a scalar.
    @inline(__always)
    static func append(_ scalar: UInt32, to bytes: inout [UInt8]) {
        switch scalar {
        case 0..<0x80:
            bytes.append(UInt8(scalar))
        case 0x80..<0x800:
            bytes.append(UInt8(0xC0 | scalar >> 6))
            bytes.append(UInt8(0x80 | scalar & 0x3F))
        case 0x800..<0x10000:
            bytes.append(UInt8(0xE0 | scalar >> 12))
            bytes.append(UInt8(0x80 | scalar >> 6 & 0x3F))
            bytes.append(UInt8(0x80 | scalar & 0x3F))
        default:
            bytes.append(UInt8(truncatingIfNeeded: 0xF0 | scalar >> 18))
            bytes.append(UInt8(0x80 | scalar >> 12 & 0x3F))
            bytes.append(UInt8(0x80 | scalar >> 6 & 0x3F))
            bytes.append(UInt8(0x80 | scalar & 0x3F))
        }
    }

    /// Calls `body` with every scalar and where its bytes are.
    @inline(__always)
    static func forEachScalar(_ text: UnsafeBufferPointer<UInt8>, _ body: (UInt32, Range<Int>) -> Void) {
        var position = 0
        while position < text.count {
            let (value, length) = scalar(text, at: position)
            body(value, position..<(position + length))
            position += length
        }
    }

    /// Appends `bytes`, every single byte that is part of no character replaced by U+FFFD.
    static func append(_ bytes: [UInt8], replacingInvalidBytesTo output: inout [UInt8]) {
        var position = 0
        while position < bytes.count {
            let length = bytes[position] >= 0xC0 || bytes[position] < 0x80 ? length(bytes[position]) : 1
            let end = min(position + length, bytes.count)
            if String(validating: bytes[position..<end], as: UTF8.self) != nil {
                output += bytes[position..<end]
                position = end
            } else {
                output += [0xEF, 0xBF, 0xBD]
                position += 1
            }
        }
    }
}
