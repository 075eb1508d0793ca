import CKernels
import Foundation

/// BF16 words whose exponents are spread in different ways over the tiers.
enum TierWords: CaseIterable, Sendable {
    /// Normally distributed, as weights are: all tiers and a few escapes.
    case gaussian
    /// One exponent.
    case constant
    /// One exponent, which is also what unused entries of the palette hold.
    case zeros
    /// Three exponents: tier 1 alone.
    case threeExponents
    /// Nine exponents, equally frequent: no escapes.
    case nineExponents
    /// All exponents, equally frequent: nearly everything is an escape.
    case allExponents
    /// Every bit random.
    case random
    /// Weights, then all exponents: the lower tiers are used unevenly.
    case uneven

    func make(_ count: Int, seed: UInt64) -> [UInt16] {
        var generator = SeededGenerator(seed: seed)
        return (0..<count).map { index in
            let random = generator.next()
            let rest = UInt16(truncatingIfNeeded: random) & 0x807f
            func word(exponent: Int) -> UInt16 { rest | UInt16(exponent) << 7 }
            switch self {
            case .gaussian: return Self.normal(&generator)
            case .constant: return 0x3f80
            case .zeros: return 0
            case .threeExponents: return word(exponent: 120 + Int(random >> 32 % 3))
            case .nineExponents: return word(exponent: Int(random >> 32 % 9))
            case .allExponents: return word(exponent: index * 7 % 256)
            case .random: return UInt16(truncatingIfNeeded: random >> 16)
            case .uneven: return index * 2 < count ? Self.normal(&generator) : word(exponent: index * 7 % 256)
            }
        }
    }

    private static func normal(_ generator: inout SeededGenerator) -> UInt16 {
        let radius = (-2 * log(Double.random(in: 0x1p-53..<1, using: &generator))).squareRoot()
        let angle = 2 * Double.pi * Double.random(in: 0..<1, using: &generator)
        return UInt16(Float(0.02 * radius * cos(angle)).bitPattern >> 16)
    }
}

extension lamina_kernels {
    /// The segment of `words`, in memory that ends with it; also the bytes it left alone behind it.
    func tierSegment(_ words: [UInt16]) -> (segment: [UInt8], behind: [UInt8]) {
        let memory = GuardedMemory(count: lamina_tier_bound(words.count))
        memory.fill(0xee)
        let size = encode_tier(words, words.count, memory.base)
        let bytes = memory.bytes
        return (Array(bytes[..<size]), Array(bytes[size...]))
    }

    /// What the bytes decode to as `count` words, or nil if they are refused. Segment, words and scratch end where
    /// nothing may be touched, and the scratch holds bytes of no meaning.
    func tierWords(_ segment: GuardedMemory, size: Int? = nil, count: Int) -> [UInt16]? {
        let words = GuardedMemory(count: 2 * count)
        let scratch = GuardedMemory(count: Int(LAMINA_TIER_SCRATCH))
        scratch.fill(0xa5)
        let target = words.base.bindMemory(to: UInt16.self, capacity: count)
        guard decode_tier(segment.base, size ?? segment.count, target, count, scratch.base) else { return nil }
        return Array(UnsafeBufferPointer(start: target, count: count))
    }
}
