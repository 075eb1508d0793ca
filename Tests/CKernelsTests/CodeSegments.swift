import CKernels
import Foundation

/// Codes that are spread in different ways over the tiers of a segment.
enum CodeSample: CaseIterable, Sendable {
    /// Normally distributed with a step of 0.05, 0.19, 0.32 and 0.75 standard deviations: from three raw bits to none.
    case fine, usual, coarse, coarsest
    /// One code.
    case constant
    /// One code, which is also what unused entries of the palette hold.
    case zeros
    /// Two far apart, and all others once in a while: escapes.
    case sparse
    /// All codes, equally frequent: stored verbatim.
    case random
    /// Normally distributed, then random ones: streams used unevenly.
    case uneven
    /// Rising through all codes, in runs: every stream is used up in bursts.
    case runs

    func make(_ count: Int, seed: UInt64) -> [UInt8] {
        var generator = SeededGenerator(seed: seed)
        return (0..<count).map { index in
            switch self {
            case .fine: return Self.normal(0.05, &generator)
            case .usual: return Self.normal(0.19, &generator)
            case .coarse: return Self.normal(0.32, &generator)
            case .coarsest: return Self.normal(0.75, &generator)
            case .constant: return 131
            case .zeros: return 0
            case .sparse:
                let random = generator.next()
                let code = UInt8(truncatingIfNeeded: random >> 16)
                return random % 40 == 0 ? code : random % 3 == 0 ? 255 : 3
            case .random: return UInt8(truncatingIfNeeded: generator.next() >> 16)
            case .uneven:
                let code = Self.normal(0.32, &generator)
                return index * 4 < count * 3 ? code : UInt8(truncatingIfNeeded: generator.next() >> 16)
            case .runs: return UInt8(truncatingIfNeeded: 100 + index * index / 65_536 % 60)
            }
        }
    }

    /// A code of a weight from N(0, 1), divided by `step`.
    static func normal(_ step: Double, _ generator: inout SeededGenerator) -> UInt8 {
        let radius = (-2 * log(Double.random(in: 0x1p-53..<1, using: &generator))).squareRoot()
        let angle = 2 * Double.pi * Double.random(in: 0..<1, using: &generator)
        return UInt8(min(max(radius * cos(angle) / step, -127), 127).rounded() + 128)
    }
}

extension lamina_kernels {
    /// The segment of `codes`, in memory that ends with it; also the bytes it left alone behind it.
    func codeSegment(_ codes: [UInt8]) -> (segment: [UInt8], behind: [UInt8]) {
        let source = GuardedMemory(codes)
        let memory = GuardedMemory(count: lamina_codes_bound(codes.count))
        memory.fill(0xee)
        let size = encode_codes(source.base.bindMemory(to: UInt8.self, capacity: codes.count), codes.count, memory.base)
        let bytes = memory.bytes
        return (Array(bytes[..<size]), Array(bytes[size...]))
    }

    /// What the bytes decode to as `count` codes, or nil if they are refused. Segment, codes and scratch end where
    /// nothing may be touched, and the scratch holds bytes of no meaning.
    func codes(_ segment: GuardedMemory, size: Int? = nil, count: Int) -> [UInt8]? {
        let codes = GuardedMemory(count: count)
        let scratch = GuardedMemory(count: Int(LAMINA_CODES_SCRATCH))
        scratch.fill(0xa5)
        let target = codes.base.bindMemory(to: UInt8.self, capacity: max(count, 1))
        guard decode_codes(segment.base, size ?? segment.count, target, count, scratch.base) else { return nil }
        return codes.bytes
    }
}
