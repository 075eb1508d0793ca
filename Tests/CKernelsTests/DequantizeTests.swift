import CKernels
import Testing

@Suite struct DequantizeTests {
    private static let lengths = [1, 3, 7, 8, 9, 31, 32, 33, 60, 64, 65, 96, 100, 511, 512, 513, 576, 1000, 1100]

    @Test(arguments: KernelTable.available, QuantizedScheme.allCases)
    func anyShapeEqualsTheReference(table: KernelTable, scheme: QuantizedScheme) {
        for (index, columns) in Self.lengths.enumerated() {
            let slot = QuantizedSlot(
                scheme, rows: 1 + index * 5 % 40, columns: columns, firstRow: 16 * (index * 37 % 50),
                escapes: index % 5,
                seed: UInt64(columns))
            let expected = bits(slot.dequantized(KernelTable.reference))
            #expect(bits(slot.dequantized(table.kernels)) == expected, "\(columns) columns")
        }
    }

    @Test(arguments: KernelTable.available, QuantizedScheme.allCases)
    func rangesOfKArePartsOfTheWhole(table: KernelTable, scheme: QuantizedScheme) {
        let slot = QuantizedSlot(scheme, rows: 32, columns: 1100, firstRow: 48, escapes: 4, seed: 21)
        let whole = bits(slot.dequantized(KernelTable.reference))
        for begin in [0, 32, 64, 480, 512, 544, 1024, 1088] {
            for count in [1, 5, 31, 32, 33, 512, 1100] where begin + count <= 1100 {
                let part = bits(slot.dequantized(table.kernels, from: begin, count: count))
                #expect(part == Array(whole[begin * 32..<(begin + count) * 32]), "\(count) from \(begin)")
            }
        }
    }

    /// Blocks that cross rows and reach beyond 2048 columns.
    @Test(arguments: KernelTable.available, [QuantizedScheme.nf4, .nf4Double, .int8Dynamic])
    func flatBlocksCrossRows(table: KernelTable, scheme: QuantizedScheme) {
        for columns in [2047, 2048, 2049, 4100] {
            let slot = QuantizedSlot(scheme, rows: 17, columns: columns, firstRow: 16, seed: UInt64(columns))
            #expect(bits(slot.dequantized(table.kernels)) == bits(slot.dequantized(KernelTable.reference)))
        }
    }

    // ---- one column

    /// Chains of 512 as multiply_panel has them.
    private static func product(_ weights: [Float], rows: Int, stride: Int, _ x: [Float]) -> [Float] {
        (0..<rows).map { row in
            var y: Float = 0
            for begin in Swift.stride(from: 0, to: x.count, by: 512) {
                var sum: Float = 0
                for k in begin..<min(begin + 512, x.count) { sum.addProduct(weights[k * stride + row], x[k]) }
                y = begin == 0 ? sum : y + sum
            }
            return y
        }
    }

    @Test(arguments: KernelTable.available, QuantizedScheme.allCases)
    func oneColumnGivesWhatWeightsInMemoryGive(table: KernelTable, scheme: QuantizedScheme) {
        for (index, columns) in [31, 32, 64, 96, 100, 512, 576, 1024, 1088, 2048, 2080, 4096].enumerated() {
            let (rows, escapes) = (1 + index * 29 % 70, index % 3)
            let slot = QuantizedSlot(
                scheme, rows: rows, columns: columns, firstRow: 16 * index, escapes: escapes, seed: UInt64(columns))
            var generator = SeededGenerator(seed: UInt64(index))
            let x = (0..<columns).map { _ in generator.value() }
            let weights = slot.dequantized(KernelTable.reference)
            let expected = comparableBits(Self.product(weights, rows: rows, stride: 16 * slot.panels, x))
            #expect(slot.product(KernelTable.reference, single: x).map(comparableBits) == expected)
            let block = [.row8, .q8, .q4].contains(scheme) ? 32 : scheme.flatBlock
            let isFast = columns % block == 0 && (scheme != .row8 || escapes == 0)
            for together in 1...4 {
                let found = slot.product(table.kernels, single: x, together: together)
                #expect(found.map(comparableBits) == (isFast ? expected : nil), "\(rows) x \(columns), \(together)")
            }
        }
    }

    // ---- the reference itself, by hand

    /// Codes of a panel of a scheme without chains, one after another: rising k, all 16 rows of each.
    private func byte(_ offset: Int, _ k: Int, _ row: Int) -> Int { offset + k / 4 * 64 + 4 * row + k % 4 }

    @Test(arguments: KernelTable.available)
    func bytesByHand(table: KernelTable) {
        let slot = QuantizedSlot(.row8, rows: 16, columns: 40, seed: 22)
        let base = slot.memory.base
        for row in 0..<16 { base.storeBytes(of: 0x4000, toByteOffset: 2 * row, as: UInt16.self) }  // 2
        for k in 0..<40 {
            for row in 0..<16 {
                base.storeBytes(of: UInt8(k * 3 + row), toByteOffset: byte(64, k, row), as: UInt8.self)
            }
        }
        let values = slot.dequantized(table.kernels)
        for k in 0..<40 {
            for row in 0..<16 { #expect(values[k * 16 + row] == Float(2 * (k * 3 + row - 128))) }
        }
    }

    @Test(arguments: KernelTable.available)
    func scalesOfBlocksByHand(table: KernelTable) {
        let codebook = withUnsafeBytes(of: lamina_q4_codebook) { $0.map { Int8(bitPattern: $0) } }
        let slot = QuantizedSlot(.q4, rows: 16, columns: 64, seed: 23)
        let base = slot.memory.base
        for row in 0..<16 {
            base.storeBytes(of: Float(row) + 0.5, toByteOffset: 4 * row, as: Float.self)
            base.storeBytes(of: Int8(3), toByteOffset: 64 + row, as: Int8.self)
            base.storeBytes(of: Int8(-7), toByteOffset: 80 + row, as: Int8.self)
        }
        // k 0 to 3 are the low halves of the first 64 bytes, k 4 to 7 the high ones.
        for index in 0..<512 { base.storeBytes(of: UInt8(0x2f), toByteOffset: 128 + index, as: UInt8.self) }
        let values = slot.dequantized(table.kernels)
        for k in 0..<64 {
            for row in 0..<16 {
                let code = Float(codebook[k % 8 < 4 ? 15 : 2])
                #expect(values[k * 16 + row] == code * ((k < 32 ? 3 : -7) * (Float(row) + 0.5)))
            }
        }
    }

    /// Row 1 of 48 columns begins at weight 48: its first 16 weights share the last block of row 0.
    @Test(arguments: KernelTable.available)
    func flatBlocksByHand(table: KernelTable) {
        let slot = QuantizedSlot(.nf4Double, rows: 2, columns: 48, seed: 24)
        let base = slot.memory.base
        for index in 0..<slot.memory.count { base.storeBytes(of: 0xff, toByteOffset: index, as: UInt8.self) }
        for row in 0..<16 {
            base.storeBytes(of: Float(0.5), toByteOffset: 4 * row, as: Float.self)
            for entry in 0..<2 {
                base.storeBytes(of: UInt8(10 * entry + row + 1), toByteOffset: 64 + 16 * entry + row, as: UInt8.self)
            }
        }
        let values = slot.dequantized(table.kernels)
        #expect((0..<48).map { values[$0 * 16] } == [Float](repeating: 0.5, count: 48))
        let second = [Float](repeating: 1, count: 16) + [Float](repeating: 6, count: 32)
        #expect((0..<48).map { values[$0 * 16 + 1] } == second)
    }
}
