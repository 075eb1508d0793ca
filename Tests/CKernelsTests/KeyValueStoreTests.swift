import CKernels
import Foundation
import Testing

@Suite struct KeyValueStoreTests {
    private static let dimensions = [1, 6, 31, 32, 33, 64, 80, 128, 576]

    @Test func blocksAreWhatTheLayoutTakes() {
        for dimension in Self.dimensions {
            let sizes = KeyValueType.allCases.map { lamina_kv_block_bytes($0.type, dimension) }
            let exact = [64, 32, 32, 16].map { $0 * dimension }
            let scales = (dimension + 31) / 32 * 16 * 2
            #expect(sizes[0] == exact[0])
            #expect(sizes[1] == (exact[1] + 63) / 64 * 64 && sizes[2] == sizes[1])
            #expect(sizes[3] == (exact[3] + scales + 63) / 64 * 64)
        }
    }

    /// Only the lane's own bytes change, and they are the reference's.
    @Test(arguments: KernelTable.available, KeyValueType.allCases)
    func storingEqualsTheReferenceAndTouchesItsLaneOnly(table: KernelTable, type: KeyValueType) {
        for dimension in Self.dimensions {
            var generator = SeededGenerator(seed: UInt64(dimension))
            for magnitude: Float in [1, 1e-4, 1e-9, 1e5, 1e30, 0] {
                let source = generator.values(dimension).map { $0 * magnitude }
                let lane = Int(generator.next() % 16)
                var found = KeyValueBlocks(type, dimension: dimension, blocks: 1)
                var expected = found
                let before = found
                found.storeKey(table.kernels, block: 0, lane: lane, source)
                expected.storeKey(KernelTable.reference, block: 0, lane: lane, source)
                #expect(found.bytes == expected.bytes)
                for d in 0..<dimension {
                    for other in 0..<16 where other != lane {
                        let kept = found.key(block: 0, lane: other, dimension: d).bitPattern
                        #expect(kept == before.key(block: 0, lane: other, dimension: d).bitPattern)
                    }
                    let stored = found.key(block: 0, lane: lane, dimension: d)
                    if magnitude == 1 { #expect(abs(Double(stored) - Double(source[d])) <= type.error) }
                }
                found = before
                expected = before
                found.storeValue(table.kernels, block: 0, lane: lane, source)
                expected.storeValue(KernelTable.reference, block: 0, lane: lane, source)
                #expect(found.bytes == expected.bytes)
                for d in 0..<dimension where magnitude == 1 {
                    let stored = found.value(block: 0, lane: lane, dimension: d)
                    #expect(abs(Double(stored) - Double(source[d])) <= type.error)
                }
            }
        }
    }

    /// Every boundary between neighbouring f16 and bf16, from below, on, and from above.
    @Test(arguments: KernelTable.available)
    func sixteenBitTypesRoundToTheNearestEven(table: KernelTable) {
        var sources: [Float] = []
        for pattern in stride(from: UInt16(0), to: 0x7bff, by: 7) {
            let middle = (Float(Float16(bitPattern: pattern)) + Float(Float16(bitPattern: pattern + 1))) / 2
            sources += [middle.nextDown, middle, middle.nextUp, -middle]
        }
        for pattern in stride(from: UInt32(0), to: 0x7f7f, by: 13) {
            let middle = Float(bitPattern: pattern << 16 | 0x8000)
            sources += [middle.nextDown, middle, middle.nextUp, -middle]
        }
        var halves = KeyValueBlocks(.f16, dimension: sources.count, blocks: 1)
        var brains = KeyValueBlocks(.bf16, dimension: sources.count, blocks: 1)
        halves.storeValue(table.kernels, block: 0, lane: 0, sources)
        brains.storeValue(table.kernels, block: 0, lane: 0, sources)
        for (d, source) in sources.enumerated() {
            let half = Float(Float16(max(-65504, min(65504, source))))
            #expect(halves.value(block: 0, lane: 0, dimension: d).bitPattern == half.bitPattern)
            let lower = source.bitPattern & 0xffff_0000
            let upper = lower &+ 0x1_0000
            let rest = source.bitPattern & 0xffff
            let up = rest > 0x8000 || (rest == 0x8000 && lower & 0x1_0000 != 0)
            #expect(brains.value(block: 0, lane: 0, dimension: d).bitPattern == (up ? upper : lower))
        }
    }

    @Test(arguments: KernelTable.available)
    func whatLiesBeyondTheRange(table: KernelTable) {
        let source: [Float] = [
            65504, 65519.9, 65520, 1e30, .infinity, -.infinity, .nan, 0x1p-24, 0x1p-25, 0x1.8p-25, -0.0,
        ]
        var halves = KeyValueBlocks(.f16, dimension: source.count, blocks: 1)
        halves.storeKey(table.kernels, block: 0, lane: 3, source)
        let found = source.indices.map { halves.key(block: 0, lane: 3, dimension: $0) }
        #expect(found[0..<6] == [65504, 65504, 65504, 65504, 65504, -65504] && found[6].isNaN)
        #expect(bits(found[7...]) == bits([0x1p-24, 0, 0x1p-24, -0.0]))
        var brains = KeyValueBlocks(.bf16, dimension: 4, blocks: 1)
        brains.storeKey(table.kernels, block: 0, lane: 3, [.greatestFiniteMagnitude, -.infinity, .nan, 0x1p-149])
        #expect(brains.key(block: 0, lane: 3, dimension: 0) == .infinity)
        #expect(brains.key(block: 0, lane: 3, dimension: 1) == -.infinity)
        #expect(brains.key(block: 0, lane: 3, dimension: 2).isNaN && brains.key(block: 0, lane: 3, dimension: 3) == 0)
    }

    /// Codes and scales that can be computed by hand.
    @Test(arguments: KernelTable.available)
    func q8ByHand(table: KernelTable) {
        // Three groups: steps of 1/2 with ties, zeros only, and one that is too large for f16 scales.
        var source = [Float](repeating: 0, count: 70)
        source[0..<6] = [63.5, -63.5, 0.25, 0.75, -0.25, 1.1]
        source[64] = 1e9
        source[65] = 65504
        var blocks = KeyValueBlocks(.q8, dimension: 70, blocks: 1)
        blocks.storeValue(table.kernels, block: 0, lane: 5, source)
        let codes = blocks.bytes[5 * 70..<6 * 70].map { Int8(bitPattern: $0) }
        #expect(codes[0..<6] == [127, -127, 0, 2, 0, 2])
        #expect(codes[6..<64].allSatisfy { $0 == 0 })
        #expect(codes[64] == 127 && codes[65] == 1)
        let scales = (0..<3).map { group in
            let offset = 16 * 70 + (5 * 3 + group) * 2
            return UInt16(blocks.bytes[offset]) | UInt16(blocks.bytes[offset + 1]) << 8
        }
        #expect(scales == [0x3800, 0, 0x7bff])
    }

    @Test(arguments: KernelTable.available)
    func aNaNSpoilsItsGroupOfQ8Only(table: KernelTable) {
        var source = [Float](repeating: 1, count: 64)
        source[40] = .nan
        var blocks = KeyValueBlocks(.q8, dimension: 64, blocks: 1)
        blocks.storeKey(table.kernels, block: 0, lane: 0, source)
        let found = (0..<64).map { blocks.key(block: 0, lane: 0, dimension: $0) }
        #expect(found[..<32].allSatisfy { abs($0 - 1) < 1e-3 } && found[32...].allSatisfy(\.isNaN))
    }
}
