import CKernels
import Testing

@Suite struct TierTests {
    private static let counts = Array(1...300) + [4095, 4096, 4160, 8193, 40_000, 65_536, 100_001]

    @Test(arguments: KernelTable.available, TierWords.allCases)
    func segmentsEqualTheReferenceAndDecode(table: KernelTable, kind: TierWords) {
        for count in Self.counts {
            let words = kind.make(count, seed: UInt64(count))
            let expected = KernelTable.reference.tierSegment(words).segment
            let found = table.kernels.tierSegment(words)
            #expect(found.segment == expected, "\(count) words")
            #expect(found.behind.allSatisfy { $0 == 0xee }, "\(count) words")
            #expect(table.kernels.tierWords(GuardedMemory(expected), count: count) == words, "\(count) words")
        }
    }

    /// Ten exponents, the first twice: one word in each place of each tier, and one escape.
    @Test func bytesLieWhereTheFormatSays() {
        let exponents = Array(100...109) + [100]
        let words = exponents.enumerated().map { index, exponent in
            UInt16(index % 2) << 15 | UInt16(exponent) << 7 | UInt16(10 + index)
        }
        var expected = [UInt8](repeating: 0, count: 192)
        func put(_ value: UInt64, at offset: Int) {
            for byte in 0..<8 { expected[offset + byte] |= UInt8(value >> (8 * UInt64(byte)) & 255) }
        }
        put(11 | 7 << 32, at: 0)
        put(4 | 1 << 32, at: 8)
        for rank in 0..<9 { expected[16 + rank] = UInt8(100 + rank) }
        put(0b011_1111_1010, at: 64)
        put(0b011_1111_1100, at: 72)
        put(0b111_1010, at: 80)
        put(0b111_1100, at: 88)
        put(0b1010, at: 96)
        put(0b1100, at: 104)
        expected[112] = 109
        for index in 0..<11 { expected[128 + index] = UInt8((10 + index) * 2 + index % 2) }
        #expect(KernelTable.reference.tierSegment(words).segment == expected)
        #expect(KernelTable.reference.tierWords(GuardedMemory(expected), count: 11) == words)
    }

    @Test func theBoundIsASegmentOfEscapesAlone() {
        #expect(lamina_tier_bound(1) == 64 + 64 + 64)
        #expect(lamina_tier_bound(64) == 64 + 128 + 64)
        #expect(lamina_tier_bound(65_536) == 64 + 3 * 16_384 + 2 * 65_536)
    }

    // ---- bytes that are no segment

    private static let tables = KernelTable.available.map(\.kernels) + [KernelTable.reference]

    private func expectRefused(_ bytes: [UInt8], size: Int? = nil, count: Int, _ what: Comment) {
        let segment = GuardedMemory(bytes)
        for kernels in Self.tables {
            #expect(kernels.tierWords(segment, size: size, count: count) == nil, what)
        }
    }

    @Test func anotherSizeOrCountIsRefused() {
        let segment = KernelTable.reference.tierSegment(TierWords.gaussian.make(1000, seed: 1)).segment
        for size in [0, 1, 15, 63, 64, segment.count - 64, segment.count - 1] {
            expectRefused(segment, size: size, count: 1000, "\(size) bytes")
        }
        expectRefused(segment + [0], count: 1000, "a byte more")
        expectRefused(segment + [UInt8](repeating: 0, count: 64), count: 1000, "64 bytes more")
        for count in [1, 960, 999, 1001, 1024] {
            expectRefused(segment, count: count, "\(count) words")
        }
        let zero = [UInt8](repeating: 0, count: 64)
        for kernels in Self.tables {
            #expect(kernels.tierWords(GuardedMemory(zero), count: 0) == nil)
        }
    }

    /// Counts changed so that the segment keeps its size: only decoding can tell.
    @Test func countsThatTheTiersDoNotNeedAreRefused() {
        for count in [1000, 30_000, 100_000] {
            let segment = KernelTable.reference.tierSegment(TierWords.gaussian.make(count, seed: 2)).segment
            for offset in [4, 8, 12] {
                for change in [255, 1] {
                    var bytes = segment
                    bytes[offset] = bytes[offset] &+ UInt8(change)
                    expectRefused(bytes, count: count, "count at \(offset) plus \(change)")
                }
            }
            for offset in [0, 4, 8, 12] {
                var bytes = segment
                bytes.replaceSubrange(offset..<offset + 4, with: [255, 255, 255, 255])
                expectRefused(bytes, count: count, "largest count at \(offset)")
            }
        }
    }

    @Test func reservedBytesAndFillingBitsMustBeZero() {
        let words = TierWords.random.make(1000, seed: 3)
        let segment = KernelTable.reference.tierSegment(words).segment
        for offset in 25..<64 {
            var bytes = segment
            bytes[offset] = 1
            expectRefused(bytes, count: 1000, "byte \(offset)")
        }
        var tier = 64
        for header in [0, 4, 8] {
            let symbols = Int(segment[header]) + Int(segment[header + 1]) << 8
            let last = tier + symbols / 64 * 16 + 7
            for offset in [last, last + 8] where symbols % 64 != 0 {
                var bytes = segment
                bytes[offset] |= 0x80
                expectRefused(bytes, count: 1000, "filling bit of the tier at \(tier)")
            }
            tier += (symbols + 63) / 64 * 16
        }
    }

    /// All symbols 3 although the lower tiers are empty, or full of 3s as well.
    @Test(arguments: [64, 128, 4096, 40_000])
    func tiersOfThreesAreRefused(count: Int) {
        var bytes = KernelTable.reference.tierSegment([UInt16](repeating: 0, count: count)).segment
        bytes.replaceSubrange(64..<64 + count / 4, with: [UInt8](repeating: 255, count: count / 4))
        expectRefused(bytes, count: count, "tier 1 full, tier 2 empty")
        let random = TierWords.random.make(count, seed: 4)
        bytes = KernelTable.reference.tierSegment(random).segment
        let end = bytes.count - (count + 63) / 64 * 64
        bytes.replaceSubrange(64..<end, with: [UInt8](repeating: 255, count: end - 64))
        expectRefused(bytes, count: count, "all tiers full")
    }

    /// Whatever the bytes are, every table decides as the reference does and decodes to the same words.
    @Test(arguments: KernelTable.available, TierWords.allCases)
    func damagedSegmentsAreTreatedAsByTheReference(table: KernelTable, kind: TierWords) {
        var generator = SeededGenerator(seed: 5)
        for (count, times) in [(64, 400), (300, 400), (4096, 150), (40_000, 25), (150_000, 6)] {
            let whole = KernelTable.reference.tierSegment(kind.make(count, seed: UInt64(count))).segment
            let segment = GuardedMemory(count: whole.count)
            for time in 0..<times {
                segment.write(whole.damaged(count: count, using: &generator))
                let expected = KernelTable.reference.tierWords(segment, count: count)
                #expect(table.kernels.tierWords(segment, count: count) == expected, "\(count) words, time \(time)")
            }
        }
    }
}

extension [UInt8] {
    /// A segment of `count` words after one of several kinds of damage.
    fileprivate func damaged(count: Int, using generator: inout SeededGenerator) -> [UInt8] {
        var bytes = self
        let tier = 64..<64 + (count + 63) / 64 * 16
        switch generator.next() % 6 {
        case 0:
            for _ in 0...generator.next() % 4 {
                bytes[Int.random(in: indices, using: &generator)] ^= 1 << UInt8(generator.next() % 8)
            }
        case 1: bytes[Int.random(in: 0..<64, using: &generator)] = UInt8(generator.next() >> 56)
        case 2:
            let start = Int.random(in: 64..<self.count, using: &generator)
            let end = Int.random(in: start..<self.count, using: &generator)
            let value: UInt8 = generator.next() % 2 == 0 ? 0 : 255
            bytes.replaceSubrange(start...end, with: [UInt8](repeating: value, count: end - start + 1))
        case 3: bytes[Int.random(in: tier, using: &generator)] ^= UInt8(generator.next() >> 56)
        case 4:
            // Other counts of the same number of groups, so that the sizes still agree.
            for offset in [4, 8, 12] where generator.next() % 2 == 0 {
                bytes[offset] = bytes[offset] & 0xc0 | UInt8(generator.next() % 64)
            }
        default:
            for offset in 64..<self.count { bytes[offset] = UInt8(generator.next() >> 56) }
        }
        return bytes
    }
}
