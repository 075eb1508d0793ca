import CKernels
import Foundation
import Testing

@Suite struct CodesTests {
    private static let counts = Array(stride(from: 512, through: 20 * 512, by: 512)) + [40_960, 65_536, 200_192]

    @Test(arguments: KernelTable.available, CodeSample.allCases)
    func segmentsEqualTheReferenceAndDecode(table: KernelTable, sample: CodeSample) {
        for count in Self.counts {
            let codes = sample.make(count, seed: UInt64(count))
            let expected = KernelTable.reference.codeSegment(codes).segment
            let found = table.kernels.codeSegment(codes)
            #expect(found.segment == expected, "\(count) codes")
            #expect(found.behind.allSatisfy { $0 == 0xee }, "\(count) codes")
            #expect(found.segment.count % 64 == 0 && found.segment.count <= lamina_codes_bound(count))
            #expect(table.kernels.codes(GuardedMemory(expected), count: count) == codes, "\(count) codes")
            #expect(KernelTable.reference.codes(GuardedMemory(expected), count: count) == codes, "\(count) codes")
        }
    }

    /// The example of formats/ecq-tier.md: both paired symbols, and three tiers.
    @Test func bytesLieWhereTheFormatSays() {
        let pattern: [UInt8] = [128, 128, 128, 128, 129, 129, 129, 129, 127, 127, 127, 127, 130, 130, 126, 131]
        var codes = (0..<512).map { pattern[$0 % 16] }
        codes[500] = 140
        codes[501] = 110
        var expected = [UInt8](repeating: 0, count: 256)
        func put(_ bytes: [UInt8], at offset: Int) {
            expected.replaceSubrange(offset..<offset + bytes.count, with: bytes)
        }
        put([0, 2, 0, 0, 190, 0, 0, 0, 66, 0, 0, 0, 34], at: 0)
        put([0, 2, 2, 1, 2, 1, 1], at: 28)
        put([127, 128, 129, 130, 126, 131, 110, 140], at: 35)
        // Of every 16 codes four are the first of their pair and two the second, of the last 16 codes but one as well.
        var choices = [UInt8](repeating: 0, count: 24)
        for bit in 0..<190 where [4, 5].contains(bit < 188 ? bit % 6 : bit - 184) {
            choices[bit / 8] |= 1 << UInt8(bit % 8)
        }
        put(choices, at: 64)
        let isSecondTier = codes.filter { ![127, 128, 129, 130].contains($0) }
        for (bit, code) in isSecondTier.enumerated() where code != 126 {
            expected[88 + bit / 64 * 8 + bit % 64 / 8] |= 1 << UInt8(bit % 8)
        }
        for (bit, code) in isSecondTier.filter({ $0 != 126 }).enumerated() {
            expected[104 + bit / 8] |= code == 110 ? 1 << UInt8(bit % 8) : 0
            expected[112 + bit / 8] |= code == 140 ? 1 << UInt8(bit % 8) : 0
        }
        for (index, code) in codes.enumerated() {
            let symbol: UInt8 = code == 127 ? 0 : code == 128 ? 1 : code == 129 || code == 130 ? 2 : 3
            expected[128 + index / 256 * 64 + index % 64] |= symbol << UInt8(2 * (index / 64 % 4))
        }
        #expect(KernelTable.reference.codeSegment(codes).segment == expected)
        #expect(KernelTable.reference.codes(GuardedMemory(expected), count: 512) == codes)
    }

    /// Bits per code beside the entropy of the codes: what the format promises for normally distributed weights.
    @Test(arguments: [(0.19, 4.51), (0.23, 4.26), (0.32, 3.77), (0.5, 3.16), (0.75, 2.59)])
    func sizesAreNearTheEntropy(step: Double, bits: Double) {
        var generator = SeededGenerator(seed: 5)
        let codes = (0..<65_536).map { _ in CodeSample.normal(step, &generator) }
        let segment = KernelTable.reference.codeSegment(codes).segment
        #expect(Double(segment.count * 8) / 65_536 < bits)
    }

    @Test func whatDoesNotGainIsStoredVerbatim() {
        let codes = CodeSample.random.make(5120, seed: 1)
        let segment = KernelTable.reference.codeSegment(codes).segment
        #expect(lamina_codes_bound(5120) == 5184 && segment.count == 5184)
        #expect(Array(segment[64...]) == codes)
        for kernels in Self.tables {
            for offset in 4..<64 {
                var bytes = segment
                bytes[offset] = 1
                #expect(kernels.codes(GuardedMemory(bytes), count: 5120) == nil, "byte \(offset)")
            }
        }
    }

    // ---- bytes that are no segment

    private static let tables = KernelTable.available.map(\.kernels) + [KernelTable.reference]

    private func expectRefused(_ bytes: [UInt8], size: Int? = nil, count: Int, _ what: Comment) {
        let segment = GuardedMemory(bytes)
        for kernels in Self.tables {
            #expect(kernels.codes(segment, size: size, count: count) == nil, what)
        }
    }

    @Test func anotherSizeOrCountIsRefused() {
        let segment = KernelTable.reference.codeSegment(CodeSample.usual.make(5120, seed: 1)).segment
        for size in [0, 1, 27, 63, 64, segment.count - 64, segment.count - 1] {
            expectRefused(segment, size: size, count: 5120, "\(size) bytes")
        }
        expectRefused(segment + [0], count: 5120, "a byte more")
        expectRefused(segment + [UInt8](repeating: 0, count: 64), count: 5120, "64 bytes more")
        for count in [0, 1, 512, 4608, 5119, 5121, 5632] {
            expectRefused(segment, count: count, "\(count) codes")
        }
    }

    /// Counts changed so that the segment may keep its size: only decoding can tell.
    @Test(arguments: [CodeSample.fine, .usual, .coarse, .sparse])
    func countsThatTheStreamsDoNotNeedAreRefused(sample: CodeSample) {
        for count in [1024, 40_960, 100_352] {
            let segment = KernelTable.reference.codeSegment(sample.make(count, seed: 2)).segment
            for offset in stride(from: 0, to: 28, by: 4) {
                for change: UInt8 in [255, 1] {
                    var bytes = segment
                    bytes[offset] = bytes[offset] &+ change
                    expectRefused(bytes, count: count, "count at \(offset) plus \(change)")
                }
                var bytes = segment
                bytes.replaceSubrange(offset..<offset + 4, with: [255, 255, 255, 255])
                expectRefused(bytes, count: count, "largest count at \(offset)")
            }
        }
    }

    @Test func splitsThatDoNotExistAreRefused() {
        let segment = KernelTable.reference.codeSegment(CodeSample.usual.make(5120, seed: 3)).segment
        for (offset, values) in [(28, [4, 255]), (29, [8, 255]), (30, [0, 1, 4]), (31, [0, 3]), (34, [0, 3, 255])] {
            for value in values {
                var bytes = segment
                bytes[offset] = UInt8(value)
                expectRefused(bytes, count: 5120, "byte \(offset) is \(value)")
            }
        }
    }

    @Test func unusedBytesAndBitsMustBeZero() {
        let segment = KernelTable.reference.codeSegment(CodeSample.usual.make(5120, seed: 3)).segment
        func count(_ offset: Int) -> Int { Int(segment[offset]) + Int(segment[offset + 1]) << 8 }
        let last = (1 << Int(segment[30])) - 1
        let entries = 2 * last - Int(segment[29]) + segment[31...34].reduce(0) { $0 + (1 << Int($1)) - 1 }
        for offset in 35 + entries..<64 {
            var bytes = segment
            bytes[offset] = 1
            expectRefused(bytes, count: 5120, "byte \(offset)")
        }
        var stream = 64
        for index in 1...5 {
            let width = index == 1 ? 1 : Int(segment[29 + index])
            let groups = (count(4 * index) + 63) / 64
            for plane in 0..<width where count(4 * index) % 64 != 0 {
                var bytes = segment
                bytes[stream + ((groups - 1) * width + plane) * 8 + 7] |= 0x80
                expectRefused(bytes, count: 5120, "filling bit of stream \(index)")
            }
            stream += groups * width * 8
        }
        for offset in stream + count(24)..<(stream + count(24) + 63) / 64 * 64 {
            var bytes = segment
            bytes[offset] = 1
            expectRefused(bytes, count: 5120, "byte \(offset) behind the escapes")
        }
    }

    /// Last symbols only, although the streams behind them are empty or full of last symbols as well.
    @Test(arguments: [512, 4096, 40_960])
    func streamsOfLastSymbolsAreRefused(count: Int) {
        for sample in [CodeSample.constant, .usual, .fine, .uneven] {
            var bytes = KernelTable.reference.codeSegment(sample.make(count, seed: 4)).segment
            let first = bytes.count - count / 8 * Int(bytes[28] + bytes[30])
            bytes.replaceSubrange(first..., with: [UInt8](repeating: 255, count: bytes.count - first))
            expectRefused(bytes, count: count, "tier 1")
            // Escapes may be any bytes; what is behind the streams' last symbols stays zero.
            bytes.replaceSubrange(first..., with: (0..<bytes.count - first).map { UInt8(truncatingIfNeeded: $0 * 37) })
            expectRefused(bytes, count: count, "tier 1 of anything")
        }
    }

    /// Whatever the bytes, every table gives the reference's answer and touches nothing else.
    @Test(arguments: KernelTable.available, CodeSample.allCases)
    func damagedSegmentsDecodeAsByTheReference(table: KernelTable, sample: CodeSample) {
        var generator = SeededGenerator(seed: 6)
        for (count, times) in [(512, 200), (1536, 200), (40_960, 20), (100_352, 8)] {
            let whole = KernelTable.reference.codeSegment(sample.make(count, seed: UInt64(count))).segment
            let segment = GuardedMemory(count: whole.count)
            for time in 0..<times {
                segment.write(whole.damagedCodes(using: &generator))
                let expected = KernelTable.reference.codes(segment, count: count)
                #expect(table.kernels.codes(segment, count: count) == expected, "\(count) codes, time \(time)")
            }
        }
    }
}

extension [UInt8] {
    /// A segment after one of several kinds of damage.
    fileprivate func damagedCodes(using generator: inout SeededGenerator) -> [UInt8] {
        var bytes = self
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
        case 3:
            // Another split, of which the size may still be right.
            bytes[28 + Int(generator.next() % 7)] = UInt8(generator.next() % 4)
        case 4:
            // Other counts of the same number of groups, so that the sizes still agree.
            for offset in stride(from: 4, to: 28, by: 4) where generator.next() % 2 == 0 {
                bytes[offset] = bytes[offset] & 0xc0 | UInt8(generator.next() % 64)
            }
        default:
            for offset in 64..<self.count { bytes[offset] = UInt8(generator.next() >> 56) }
        }
        return bytes
    }
}
