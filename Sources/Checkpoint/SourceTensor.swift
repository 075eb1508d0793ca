import TensorCore

/// One tensor in a checkpoint's file, its elements contiguous, the last dimension fastest.
public struct SourceTensor: Sendable, Equatable {
    public var name: String
    public var dtype: DType
    public var shape: Shape
    /// Bytes in the file's data part.
    public var bytes: ByteRange

    public init(name: String, dtype: DType, shape: Shape, bytes: ByteRange) {
        self.name = name
        self.dtype = dtype
        self.shape = shape
        self.bytes = bytes
    }
}

/// Which names tensors may have.
enum TensorName {
    /// Names end up in logs and on terminals.
    static let maximumBytes = 512

    /// Throws `.malformed`, without a file, for a name, valid UTF-8, that is empty, too long or has control characters.
    static func check(_ name: some Collection<UInt8>) throws(LaminaError) {
        var last: UInt8 = 0
        var isClean = true
        for byte in name {
            // U+0080 to U+009F, the second set of control characters, are C2 and the character's number.
            if byte < 0x20 || byte == 0x7F || (last == 0xC2 && byte <= 0x9F) { isClean = false }
            last = byte
        }
        guard !name.isEmpty, name.count <= maximumBytes, isClean else {
            let start = String(decoding: name.prefix(400), as: UTF8.self)
            throw LaminaError(
                .malformed, "", "a tensor name is not acceptable: \"\(escapedForDisplay(start, limit: 80))\"",
                expected: "1 to \(maximumBytes) bytes without control characters", found: "\(name.count) bytes")
        }
    }
}

/// Names of files and folders that come from input.
enum PlainName {
    /// Whether a plain name may have this byte: ASCII letters, digits, `.`, `_` and `-`, which no system takes for
    /// anything else.
    static func has(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
            true
        default: false
        }
    }
}
