/// A half-open range of byte offsets in a file.
public typealias ByteRange = Range<UInt64>

/// Arithmetic on numbers that come from a file: `nil` instead of a trap on overflow.
public enum Checked {
    public static func add<T: FixedWidthInteger>(_ a: T, _ b: T) -> T? {
        let (value, overflow) = a.addingReportingOverflow(b)
        return overflow ? nil : value
    }

    public static func multiply<T: FixedWidthInteger>(_ a: T, _ b: T) -> T? {
        let (value, overflow) = a.multipliedReportingOverflow(by: b)
        return overflow ? nil : value
    }

    /// The product of all `factors`, `nil` if it, or the product of the factors other than zero, overflows: a zero
    /// must not hide dimensions that no machine can address.
    public static func product(_ factors: [Int]) -> Int? {
        var result = 1
        for factor in factors where factor != 0 {
            guard let next = multiply(result, factor) else { return nil }
            result = next
        }
        return factors.contains(0) ? 0 : result
    }

    /// `value` rounded up to a multiple of `multiple` (> 0).
    public static func roundUp<T: FixedWidthInteger>(_ value: T, to multiple: T) -> T? {
        guard let sum = add(value, multiple - 1) else { return nil }
        return sum / multiple * multiple
    }
}

/// `value` rounded up to a multiple of `multiple`; both positive and far from overflow.
public func roundedUp(_ value: Int, to multiple: Int) -> Int {
    (value + multiple - 1) / multiple * multiple
}

/// `dividend / divisor`, rounded up.
public func dividedUp(_ dividend: Int, by divisor: Int) -> Int {
    (dividend + divisor - 1) / divisor
}
