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

    /// Throws `.malformed`, without a file, for a name that is empty, too long or has control characters.
    static func check(_ name: String) throws(LaminaError) {
        let isClean = name.unicodeScalars.allSatisfy { $0.value >= 0x20 && !(0x7F...0x9F).contains($0.value) }
        guard !name.isEmpty, name.utf8.count <= maximumBytes, isClean else {
            throw LaminaError(
                .malformed, "", "a tensor name is not acceptable: \"\(escapedForDisplay(name, limit: 80))\"",
                expected: "1 to \(maximumBytes) bytes without control characters", found: "\(name.utf8.count) bytes")
        }
    }
}
