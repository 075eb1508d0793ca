/// Element types of stored tensors, under the names safetensors gives them.
public enum DType: String, Sendable, CaseIterable {
    case bool = "BOOL"
    case uint8 = "U8"
    case int8 = "I8"
    case float8E4M3 = "F8_E4M3"
    case float8E5M2 = "F8_E5M2"
    case uint16 = "U16"
    case int16 = "I16"
    case float16 = "F16"
    case bfloat16 = "BF16"
    case uint32 = "U32"
    case int32 = "I32"
    case float32 = "F32"
    case uint64 = "U64"
    case int64 = "I64"
    case float64 = "F64"

    /// Bytes per element.
    public var size: Int {
        switch self {
        case .bool, .uint8, .int8, .float8E4M3, .float8E5M2: 1
        case .uint16, .int16, .float16, .bfloat16: 2
        case .uint32, .int32, .float32: 4
        case .uint64, .int64, .float64: 8
        }
    }
}

/// A tensor's extent per dimension, outermost first; the empty shape is a scalar.
public struct Shape: Hashable, Sendable, CustomStringConvertible {
    /// The most dimensions a tensor may have.
    public static let maximumRank = 8
    /// No dimension is larger: address arithmetic stays far from overflow.
    public static let maximumDimension = 1 << 47

    public var dimensions: [Int]

    public init(_ dimensions: [Int]) {
        self.dimensions = dimensions
    }

    /// Why these dimensions are refused, or `nil`: rank and dimension limits, and a product that fits in bytes.
    public func problem(elementSize: Int) -> String? {
        if dimensions.count > Shape.maximumRank {
            return "rank \(dimensions.count) is above the limit of \(Shape.maximumRank)"
        }
        for dimension in dimensions where dimension < 0 || dimension > Shape.maximumDimension {
            return "dimension \(dimension) is outside 0...\(Shape.maximumDimension)"
        }
        guard let count = Checked.product(dimensions), Checked.multiply(count, elementSize) != nil else {
            return "shape \(self) is too large to address"
        }
        return nil
    }

    /// Elements in all; only valid for shapes without a `problem`.
    public var elementCount: Int { dimensions.reduce(1, *) }

    public var description: String { "[" + dimensions.map(String.init).joined(separator: ", ") + "]" }
}
