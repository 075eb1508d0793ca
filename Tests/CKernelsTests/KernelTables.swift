import CKernels
import Testing

/// One instruction set's table, as an argument of a test.
struct KernelTable: Sendable, CustomTestStringConvertible {
    let isa: UInt32

    var testDescription: String { String(cString: lamina_isa_name(lamina_isa(isa))) }
    var kernels: lamina_kernels { lamina_kernels_for(lamina_isa(isa)).pointee }

    /// Every one this machine can run: portable always, so the list is never empty.
    static let available: [KernelTable] = (0..<5)
        .filter { lamina_isa_is_available(lamina_isa($0)) }
        .map { KernelTable(isa: $0) }

    static var reference: lamina_kernels { lamina_kernels_reference().pointee }
}

/// The three stored types, with the functions a table has for each.
enum WeightType: UInt32, CaseIterable, Sendable {
    case bf16 = 0
    case f16 = 1
    case f32 = 2

    typealias Multiply = @convention(c) (UnsafePointer<lamina_panel_task>?) -> Void
    typealias Pack = @convention(c) (UnsafeRawPointer?, Int, Int, Int, Int, UnsafeMutableRawPointer?) -> Void
    typealias Unpack = @convention(c) (UnsafeRawPointer?, Int, Int, Int, UnsafeMutableRawPointer?, Int) -> Void
    typealias Widen = @convention(c) (UnsafeRawPointer?, UnsafeMutablePointer<Float>?, Int) -> Void

    var wordSize: Int { self == .f32 ? 4 : 2 }

    /// The k stored for `count` of them.
    func stored(_ count: Int) -> Int { self == .bf16 ? (count + 1) / 2 * 2 : count }

    private func choose<Function>(_ functions: (Function, Function, Function)) -> Function {
        switch self {
        case .bf16: functions.0
        case .f16: functions.1
        case .f32: functions.2
        }
    }

    /// Of functions that bytes have, too.
    private func choose<Function>(_ functions: (Function, Function, Function, Function, Function)) -> Function {
        choose((functions.0, functions.1, functions.2))
    }

    func multiply(_ kernels: lamina_kernels) -> Multiply { choose(kernels.multiply_panel)! }
    func pack(_ kernels: lamina_kernels) -> Pack { choose(kernels.pack_panel)! }
    func unpack(_ kernels: lamina_kernels) -> Unpack { choose(kernels.unpack_panel)! }
    func widen(_ kernels: lamina_kernels) -> Widen { choose(kernels.widen)! }

    /// The bytes of a value of this type; f32 values must fit it exactly or are rounded toward zero.
    func bytes(of value: Float) -> [UInt8] {
        switch self {
        case .bf16: withUnsafeBytes(of: UInt16(value.bitPattern >> 16).littleEndian) { Array($0) }
        case .f16: withUnsafeBytes(of: Self.halfBits(of: value).littleEndian) { Array($0) }
        case .f32: withUnsafeBytes(of: value.bitPattern.littleEndian) { Array($0) }
        }
    }

    /// Truncates; below 2^-24 is a zero.
    private static func halfBits(of value: Float) -> UInt16 {
        let sign: UInt16 = value.sign == .minus ? 0x8000 : 0
        if value.isInfinite { return sign | 0x7c00 }
        let magnitude = value.magnitude
        if magnitude < 0x1p-14 { return sign | UInt16(magnitude * 0x1p24) }
        let exponent = UInt16(magnitude.exponent + 15)
        return sign | exponent << 10 | UInt16(magnitude.significandBitPattern >> 13)
    }
}

/// splitmix64: the same numbers on every machine.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return z ^ z >> 31
    }

    /// Mostly of magnitude below one; now and then a zero of either sign or a denormal of f32 or f16.
    mutating func value() -> Float {
        let random = next()
        let sign: Float = random & 1 == 0 ? 1 : -1
        switch random >> 1 & 63 {
        case 0: return sign * 0
        case 1: return sign * 0x1p-149 * Float(random >> 40)
        case 2: return sign * 0x1p-24 * Float(random >> 54)
        default: return sign * (Float(random >> 40) * 0x1p-24 + 0x1p-12)
        }
    }

    mutating func values(_ count: Int) -> [Float] {
        (0..<count).map { _ in value() }
    }
}

/// Floats compared by bits: -0 differs from +0.
func bits(_ values: some Sequence<Float>) -> [UInt32] {
    values.map(\.bitPattern)
}
