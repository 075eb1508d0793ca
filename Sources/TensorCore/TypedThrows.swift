extension Array where Element == UInt8 {
    /// `withUnsafeBytes` for bodies with typed errors.
    public func withBytes<Value>(
        _ body: (UnsafeRawBufferPointer) throws(LaminaError) -> Value
    ) throws(LaminaError) -> Value {
        let result = withUnsafeBytes { bytes in
            Result { () throws(LaminaError) in try body(bytes) }
        }
        return try result.get()
    }

    /// `withUnsafeMutableBytes` for bodies with typed errors.
    public mutating func withMutableBytes<Value>(
        _ body: (UnsafeMutableRawBufferPointer) throws(LaminaError) -> Value
    ) throws(LaminaError) -> Value {
        let result = withUnsafeMutableBytes { bytes in
            Result { () throws(LaminaError) in try body(bytes) }
        }
        return try result.get()
    }
}
