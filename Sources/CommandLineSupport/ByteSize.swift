import ArgumentParser
import TensorCore

/// A number of bytes on a command line: `2GiB`, `512M`, `1.5g`, `4096`. K, M, G and T are powers of 1024, with or
/// without `iB`; `kB`, `MB`, `GB` and `TB` are powers of 1000.
public struct ByteSize: ExpressibleByArgument, Sendable, Equatable {
    public var bytes: Int

    public init(bytes: Int) { self.bytes = bytes }

    public init?(argument: String) {
        let digits = argument.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
        guard let value = Double(digits), value.isFinite,
            let unit = ByteSize.unit(argument.dropFirst(digits.count).lowercased())
        else { return nil }
        let bytes = value * unit
        guard bytes >= 1, bytes < 9e18 else { return nil }
        self.bytes = Int(bytes)
    }

    private static func unit(_ suffix: String) -> Double? {
        switch suffix {
        case "", "b": 1
        case "k", "kib": 1024
        case "m", "mib": 1_048_576
        case "g", "gib": 1_073_741_824
        case "t", "tib": 1_099_511_627_776
        case "kb": 1e3
        case "mb": 1e6
        case "gb": 1e9
        case "tb": 1e12
        default: nil
        }
    }
}

/// `bytes` for people: `3.42 GiB`, `17 B`.
public func formattedBytes(_ bytes: some BinaryInteger) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"]
    var value = Double(bytes)
    var unit = 0
    while value >= 1024, unit < units.count - 1 {
        value /= 1024
        unit += 1
    }
    return unit == 0
        ? "\(bytes) B" : "\(formatted(value, decimals: value < 10 ? 2 : value < 100 ? 1 : 0)) \(units[unit])"
}

/// `value` with a fixed number of decimals, a point whatever the locale.
public func formatted(_ value: Double, decimals: Int) -> String {
    guard value.isFinite, abs(value) < 1e15 else { return "\(value)" }
    var scale = 1
    for _ in 0..<decimals { scale *= 10 }
    let scaled = (abs(value) * Double(scale)).rounded()
    let whole = Int(scaled)
    let sign = value < 0 && whole > 0 ? "-" : ""
    guard decimals > 0 else { return sign + String(whole) }
    let fraction = String(whole % scale)
    return sign + "\(whole / scale)." + String(repeating: "0", count: decimals - fraction.count) + fraction
}

/// Seconds for people: `0.8 s`, `2 min 05 s`, `1 h 12 min`.
public func formattedDuration(_ seconds: Double) -> String {
    guard seconds.isFinite, seconds >= 0 else { return "?" }
    if seconds < 60 { return "\(formatted(seconds, decimals: seconds < 10 ? 1 : 0)) s" }
    let whole = Int(seconds.rounded())
    func padded(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
    if whole < 3600 { return "\(whole / 60) min \(padded(whole % 60)) s" }
    return "\(whole / 3600) h \(padded(whole % 3600 / 60)) min"
}

/// Seconds for people, with milliseconds where seconds say nothing.
public func formattedTime(_ seconds: Double) -> String {
    seconds > 0 && seconds < 0.95
        ? "\(formatted(1000 * seconds, decimals: seconds < 0.01 ? 1 : 0)) ms" : formattedDuration(seconds)
}

extension JSONValue {
    /// Null for what is not known.
    public init(optional value: Double?) { self = value.map { JSONValue($0) } ?? .null }
}
