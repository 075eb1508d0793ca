import TensorCore

/// A pull reader for protocol buffers out of untrusted files: fields of one message in the order they are written.
struct ProtobufReader {
    /// A field's value.
    enum Value {
        case integer(UInt64)
        case fixed32(UInt32)
        case fixed64(UInt64)
        case bytes(ArraySlice<UInt8>)
    }

    private let bytes: ArraySlice<UInt8>
    private var position: Int

    init(_ bytes: ArraySlice<UInt8>) {
        self.bytes = bytes
        position = bytes.startIndex
    }

    private func failure(_ problem: String) -> LaminaError {
        LaminaError(.malformed, "", "invalid protocol buffer at byte \(position): \(problem)")
    }

    /// The next field; `nil` after the last. Throws `.malformed` if the message is damaged.
    mutating func next() throws(LaminaError) -> (number: Int, value: Value)? {
        guard position < bytes.endIndex else { return nil }
        let key = try integer()
        guard key >> 3 > 0, key >> 3 < 1 << 29 else { throw failure("a field number out of range") }
        let number = Int(key >> 3)
        switch key & 7 {
        case 0: return (number, .integer(try integer()))
        case 1: return (number, .fixed64(try fixed(8)))
        case 2:
            let length = try integer()
            guard length <= UInt64(bytes.endIndex - position) else {
                throw failure("a field of \(length) bytes reaches past the end")
            }
            defer { position += Int(length) }
            return (number, .bytes(bytes[position..<(position + Int(length))]))
        case 5: return (number, .fixed32(UInt32(truncatingIfNeeded: try fixed(4))))
        default: throw failure("wire type \(key & 7), which is not supported")
        }
    }

    private mutating func integer() throws(LaminaError) -> UInt64 {
        var value: UInt64 = 0
        for shift in stride(from: UInt64(0), through: 63, by: 7) {
            guard position < bytes.endIndex else { throw failure("a number does not end") }
            let byte = bytes[position]
            position += 1
            value |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 { return value }
        }
        throw failure("a number is too long")
    }

    private mutating func fixed(_ count: Int) throws(LaminaError) -> UInt64 {
        guard bytes.endIndex - position >= count else { throw failure("a number does not end") }
        var value: UInt64 = 0
        for offset in 0..<count { value |= UInt64(bytes[position + offset]) << UInt64(8 * offset) }
        position += count
        return value
    }
}

extension ProtobufReader.Value {
    var bytes: ArraySlice<UInt8>? { if case .bytes(let value) = self { value } else { nil } }
    var bool: Bool? { if case .integer(let value) = self { value != 0 } else { nil } }
    var integer: UInt64? { if case .integer(let value) = self { value } else { nil } }
    var float: Float? { if case .fixed32(let value) = self { Float(bitPattern: value) } else { nil } }
}
