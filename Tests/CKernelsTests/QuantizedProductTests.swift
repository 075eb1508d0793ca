import CKernels
import Testing

@Suite struct QuantizedProductTests {
    /// Columns of ordinary numbers with outliers.
    private static func columns(_ count: Int, _ length: Int, seed: UInt64) -> [[Float]] {
        var generator = SeededGenerator(seed: seed)
        return (0..<count).map { _ in
            (0..<length).map { _ in generator.value() * (generator.next() % 50 == 0 ? 30 : 1) }
        }
    }

    // ---- activations

    @Test(arguments: KernelTable.available)
    func activationsEqualTheReference(table: KernelTable) {
        for count in Array(1...70) + [511, 512, 513, 1000, 1100] {
            var x = Self.columns(1, count, seed: UInt64(count))[0]
            for start in stride(from: 0, to: count, by: 32) {
                let factor: Float = [1, 0x1p-126, 0x1p-140, 0, 0x1p126, 0x1p-119, 0x1p-121][start / 32 % 7]
                for index in start..<min(start + 32, count) { x[index] *= factor }
            }
            let found = QuantizedActivations(table.kernels, [x])
            let expected = QuantizedActivations(KernelTable.reference, [x])
            #expect(found.codes.bytes == expected.codes.bytes, "\(count) values")
            #expect(found.scales.bytes == expected.scales.bytes, "\(count) values")
            #expect(found.corrections.bytes == expected.corrections.bytes, "\(count) values")
        }
    }

    @Test(arguments: KernelTable.available)
    func activationsByHand(table: KernelTable) {
        // Largest magnitude 254: scale 2, so ties lie at odd integers.
        var x: [Float] = [-254, 254, 1, 3, 5, -1, -3, 0, 2.5, -2.5, 0.9, 1.1]
        x += [Float](repeating: 0, count: 32 - x.count) + [4]
        let found = QuantizedActivations(table.kernels, [x])
        #expect((0..<13).map { found.code(0, $0) } == [-127, 127, 0, 2, 2, 0, -2, 0, 1, -1, 0, 1, 0])
        #expect(found.scale(0, 0) == 2 && found.correction(0, 0) == -128 * 3)
        #expect(found.padded == 64 && found.code(0, 32) == 127 && found.scale(0, 1) == 4 / Float(127))
        #expect((33..<64).allSatisfy { found.code(0, $0) == 0 } && found.correction(0, 1) == -128 * 127)
    }

    @Test(arguments: KernelTable.available)
    func blocksBehindTheValuesAreZero(table: KernelTable) {
        let x = GuardedMemory([Float](repeating: 2, count: 10).flatMap { withUnsafeBytes(of: $0) { Array($0) } })
        for count in [0, 1, 10] {
            var codes = [Int8](repeating: 7, count: 96)
            var scales = [Float](repeating: 7, count: 3)
            var corrections = [Int32](repeating: 7, count: 3)
            let values = (x.base + 4 * (10 - count)).assumingMemoryBound(to: Float.self)
            table.kernels.quantize_activations(values, count, 96, &codes, &scales, &corrections)
            #expect(codes == [Int8](repeating: 127, count: count) + [Int8](repeating: 0, count: 96 - count))
            #expect(scales == [count == 0 ? 0 : 2 / Float(127), 0, 0])
            #expect(corrections == [Int32(-128 * 127 * count), 0, 0])
        }
    }

    @Test(arguments: KernelTable.available, [Float.nan, .infinity, -.infinity])
    func whatIsNoNumberSpoilsItsBlockOnly(table: KernelTable, value: Float) {
        for place in [0, 17, 31] {
            var x = [Float](repeating: 1, count: 96)
            x[32 + place] = value
            let found = QuantizedActivations(table.kernels, [x])
            #expect(found.scale(0, 1).isNaN && found.correction(0, 1) == 0)
            #expect((32..<64).allSatisfy { found.code(0, $0) == 0 })
            #expect(found.scale(0, 0) == 1 / Float(127) && found.code(0, 31) == 127 && found.code(0, 64) == 127)
        }
    }

    // ---- products

    @Test(arguments: KernelTable.available, QuantizedScheme.multiplied)
    func anyShapeEqualsTheReference(table: KernelTable, scheme: QuantizedScheme) {
        let shapes = [1, 31, 32, 33, 63, 64, 100, 480, 511, 512, 513, 544, 576, 1000, 1024, 1100]
        for (index, columns) in shapes.enumerated() {
            for rows in [1 + index % 16, 16, 17 + index, 40] {
                let seed = UInt64(columns * 100 + rows)
                let slot = QuantizedSlot(scheme, rows: rows, columns: columns, escapes: index % 5, seed: seed)
                let batch = 1 + (index * 7 + rows) % 40
                let x = QuantizedActivations(KernelTable.reference, Self.columns(batch, columns, seed: seed + 1))
                let expected = comparableBits(slot.product(KernelTable.reference, x, columns: 0..<batch))
                let found = comparableBits(slot.product(table.kernels, x, columns: 0..<batch))
                #expect(found == expected, "\(rows) x \(columns), \(batch) columns")
            }
        }
    }

    @Test(arguments: KernelTable.available, QuantizedScheme.multiplied)
    func anyBatchWidthEqualsTheReference(table: KernelTable, scheme: QuantizedScheme) {
        let slot = QuantizedSlot(scheme, rows: 40, columns: 700, escapes: 3, seed: 2)
        let x = QuantizedActivations(KernelTable.reference, Self.columns(101, 700, seed: 3))
        let expected = bits(slot.product(KernelTable.reference, x, columns: 0..<101))
        let stride = expected.count / 101
        for width in Array(1...40) + [47, 48, 49, 50, 96, 97, 101] {
            let found = bits(slot.product(table.kernels, x, columns: 0..<width))
            #expect(found == Array(expected.prefix(width * stride)), "\(width) columns")
        }
        for column in 0..<40 {
            let alone = bits(slot.product(table.kernels, x, columns: column..<column + 1))
            #expect(alone == Array(expected[column * stride..<(column + 1) * stride]))
        }
        for together in 1...3 {
            for width in [1, 5] {
                let found = bits(slot.product(table.kernels, x, columns: 0..<width, together: together))
                #expect(found == Array(expected.prefix(width * stride)), "\(together) panels a task")
            }
        }
    }

    /// No columns are asked for: nothing is written.
    @Test(arguments: KernelTable.available, QuantizedScheme.multiplied)
    func noColumnsNoWork(table: KernelTable, scheme: QuantizedScheme) {
        let slot = QuantizedSlot(scheme, rows: 16, columns: 32, seed: 4)
        let x = QuantizedActivations(KernelTable.reference, [[Float](repeating: 1, count: 32)])
        #expect(slot.product(table.kernels, x, columns: 0..<0).allSatisfy { $0 == -7.5 })
    }

    /// All codes -128 and all activations 127 of one sign: the largest sums of pairs there are.
    @Test(arguments: KernelTable.available)
    func extremeCodesDoNotSaturate(table: KernelTable) {
        for (stored, code): (UInt8, Float) in [(0, -128), (255, 127)] {
            let slot = QuantizedSlot(.row8, rows: 16, columns: 544, seed: 5)
            for index in 64..<slot.memory.count {
                slot.memory.base.storeBytes(of: stored, toByteOffset: index, as: UInt8.self)
            }
            for row in 0..<16 { slot.memory.base.storeBytes(of: 0x3f80, toByteOffset: 2 * row, as: UInt16.self) }
            for sign: Float in [1, -1] {
                let x = QuantizedActivations(
                    KernelTable.reference, [[Float]](repeating: [Float](repeating: 127 * sign, count: 544), count: 13))
                for width in [1, 13] {
                    let y = slot.product(table.kernels, x, columns: 0..<width)
                    #expect(y[0] == 544 * 127 * sign * code && y[15] == y[0])
                    #expect(bits(y) == bits(slot.product(KernelTable.reference, x, columns: 0..<width)))
                }
            }
        }
    }

    /// An escape counts with its own code, as if the weight were stored with it.
    @Test(arguments: KernelTable.available)
    func escapesReplaceTheirCodes(table: KernelTable) {
        let slot = QuantizedSlot(.row8, rows: 16, columns: 600, seed: 6)
        let base = slot.memory.base
        for index in 64..<slot.memory.count { base.storeBytes(of: 128, toByteOffset: index, as: UInt8.self) }
        for row in 0..<16 { base.storeBytes(of: 0x3f80, toByteOffset: 2 * row, as: UInt16.self) }
        let escapes: [(k: Int, row: Int, code: Int16)] = [(3, 5, 300), (3, 7, -129), (511, 5, 32767), (599, 0, -32768)]
        for (index, escape) in escapes.enumerated() {
            let bits = UInt64(escape.k) << 24 | UInt64(escape.row) << 16 | UInt64(UInt16(bitPattern: escape.code))
            base.storeBytes(of: bits, toByteOffset: 32 + 8 * index, as: UInt64.self)
            base.storeBytes(of: 0, toByteOffset: 64 + escape.k / 4 * 64 + 4 * escape.row + escape.k % 4, as: UInt8.self)
        }
        let weights = slot.dequantized(table.kernels)
        var expected = [Float](repeating: 0, count: weights.count)
        for escape in escapes { expected[escape.k * 16 + escape.row] = Float(escape.code) }
        #expect(weights == expected)
        let x = QuantizedActivations(KernelTable.reference, [[Float](repeating: 127, count: 600)])
        let y = slot.product(table.kernels, x, columns: 0..<1)
        #expect(y[5] == 127 * (300 + 32767) && y[7] == 127 * -129 && y[0] == 127 * -32768 && y[1] == 0)
    }

    /// Bytes of any value in place of escapes are left alone or used, but nothing outside the panel is touched.
    @Test(arguments: KernelTable.available)
    func damagedEscapesStayInBounds(table: KernelTable) {
        var generator = SeededGenerator(seed: 7)
        let x = QuantizedActivations(KernelTable.reference, Self.columns(3, 70, seed: 8))
        for round in 0..<200 {
            let slot = QuantizedSlot(.row8, rows: 16, columns: 70, seed: UInt64(round))
            for index in 0..<4 {
                let random = generator.next() >> (generator.next() % 40)
                slot.memory.base.storeBytes(of: random, toByteOffset: 32 + 8 * index, as: UInt64.self)
            }
            #expect(slot.dequantized(table.kernels).count == 70 * 16)
            #expect(slot.product(table.kernels, x, columns: 0..<3).count == 3 * 21)
        }
    }

    @Test(arguments: KernelTable.available, QuantizedScheme.multiplied)
    func aNaNReachesItsColumnOnly(table: KernelTable, scheme: QuantizedScheme) {
        let slot = QuantizedSlot(scheme, rows: 16, columns: 96, seed: 9)
        var columns = Self.columns(4, 96, seed: 10)
        columns[2][50] = .infinity
        let x = QuantizedActivations(table.kernels, columns)
        let y = slot.product(table.kernels, x, columns: 0..<4)
        for column in 0..<4 {
            #expect((0..<16).allSatisfy { y[column * 21 + $0].isNaN == (column == 2) })
        }
    }

    /// The sums of the definition in double precision, from dequantized weights: what no rounding order changes.
    @Test(arguments: KernelTable.available, QuantizedScheme.multiplied)
    func productsAreThoseOfTheWeights(table: KernelTable, scheme: QuantizedScheme) {
        let (rows, columns) = (32, 1100)
        let slot = QuantizedSlot(scheme, rows: rows, columns: columns, escapes: 4, seed: 11)
        let weights = slot.dequantized(KernelTable.reference)
        let x = QuantizedActivations(table.kernels, Self.columns(2, columns, seed: 12))
        let y = slot.product(table.kernels, x, columns: 0..<2)
        for column in 0..<2 {
            for row in 0..<rows {
                var (sum, magnitudes) = (0.0, 0.0)
                for k in 0..<columns {
                    let activation = Double(x.code(column, k)) * Double(x.scale(column, k / 32))
                    sum += Double(weights[k * rows + row]) * activation
                    magnitudes += abs(Double(weights[k * rows + row]) * activation)
                }
                #expect(abs(Double(y[column * (rows + 5) + row]) - sum) <= 1e-6 * magnitudes)
            }
        }
    }
}
