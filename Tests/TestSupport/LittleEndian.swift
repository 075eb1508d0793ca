/// A number's bytes, lowest first.
public func littleEndian<Number: FixedWidthInteger>(_ value: Number) -> [UInt8] {
    (0..<MemoryLayout<Number>.size).map { UInt8(truncatingIfNeeded: value >> Number(8 * $0)) }
}
