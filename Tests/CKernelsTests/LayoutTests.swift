import CKernels
import Testing

@Suite struct LayoutTests {
    // ---- byte planes

    /// All 65536 words, and a tail that fills no vector.
    private static let words = (0..<65536 + 19).map { UInt16(truncatingIfNeeded: $0) }

    @Test(arguments: KernelTable.available)
    func bf16PlanesHoldExponentAndRest(table: KernelTable) {
        let count = Self.words.count
        var exponent = [UInt8](repeating: 0, count: count)
        var rest = [UInt8](repeating: 0, count: count)
        table.kernels.split_bf16(Self.words, &exponent, &rest, count)
        #expect(exponent == Self.words.map { UInt8($0 >> 7 & 255) })
        #expect(rest == Self.words.map { UInt8($0 & 127) << 1 | UInt8($0 >> 15) })
        var merged = [UInt16](repeating: 0, count: count)
        table.kernels.merge_bf16(exponent, rest, &merged, count)
        #expect(merged == Self.words)
    }

    @Test(arguments: KernelTable.available)
    func f16PlanesHoldHighAndLowBytes(table: KernelTable) {
        let count = Self.words.count
        var high = [UInt8](repeating: 0, count: count)
        var low = [UInt8](repeating: 0, count: count)
        table.kernels.split_f16(Self.words, &high, &low, count)
        #expect(high == Self.words.map { UInt8($0 >> 8) })
        #expect(low == Self.words.map { UInt8($0 & 255) })
        var merged = [UInt16](repeating: 0, count: count)
        table.kernels.merge_f16(high, low, &merged, count)
        #expect(merged == Self.words)
    }

    @Test(arguments: KernelTable.available)
    func f32PlanesHoldExponentFirst(table: KernelTable) {
        var generator = SeededGenerator(seed: 21)
        let weights =
            (0..<10_007).map { _ in UInt32(truncatingIfNeeded: generator.next()) } + [0x8000_0000, 0x3f80_0000]
        let count = weights.count
        let planes = (0..<4).map { _ in UnsafeMutablePointer<UInt8>.allocate(capacity: count) }
        defer {
            for plane in planes { plane.deallocate() }
        }
        table.kernels.split_f32(weights, planes.map(Optional.some), count)
        let rotated = weights.map { $0 << 1 | $0 >> 31 }
        for (plane, shift) in [24, 16, 8, 0].enumerated() {
            let found = Array(UnsafeBufferPointer(start: planes[plane], count: count))
            #expect(found == rotated.map { UInt8(truncatingIfNeeded: $0 >> shift) })
        }
        var merged = [UInt32](repeating: 0, count: count)
        table.kernels.merge_f32(planes.map { UnsafePointer($0) }, &merged, count)
        #expect(merged == weights)
    }

    @Test(arguments: KernelTable.available, 0..<70)
    func planesOfAnyLengthStayInBounds(table: KernelTable, count: Int) {
        let words = Array(Self.words[16_000..<16_000 + count])
        var exponent = [UInt8](repeating: 0xee, count: count + 1)
        var rest = [UInt8](repeating: 0xee, count: count + 1)
        var merged = [UInt16](repeating: 0xeeee, count: count + 1)
        table.kernels.split_bf16(words, &exponent, &rest, count)
        table.kernels.merge_bf16(exponent, rest, &merged, count)
        #expect(merged == words + [0xeeee])
        #expect(exponent[count] == 0xee && rest[count] == 0xee)
    }

    // ---- widening

    @Test(arguments: KernelTable.available)
    func wideningIsExact(table: KernelTable) {
        let count = Self.words.count
        var wide = [Float](repeating: 0, count: count)
        table.kernels.widen.0!(Self.words, &wide, count)
        #expect(bits(wide) == Self.words.map { UInt32($0) << 16 })
        table.kernels.widen.1!(Self.words, &wide, count)
        for (word, value) in zip(Self.words, wide) {
            #expect(Self.isSame(value, half: word), "\(word)")
        }
        let values: [Float] = [0, -0.0, 1.5, 0x1p-149, .infinity, -3]
        var copy = [Float](repeating: 0, count: values.count)
        table.kernels.widen.2!(values, &copy, values.count)
        #expect(bits(copy) == bits(values))
    }

    /// An f16 by its definition: sign, then mantissa times a power of two.
    private static func isSame(_ value: Float, half: UInt16) -> Bool {
        let exponent = Int(half >> 10 & 31)
        let mantissa = half & 1023
        let magnitude: Float =
            switch exponent {
            case 31: mantissa == 0 ? .infinity : .nan
            case 0: Float(sign: .plus, exponent: -24, significand: Float(mantissa))
            default: Float(sign: .plus, exponent: exponent - 25, significand: Float(1024 + mantissa))
            }
        if magnitude.isNaN { return value.isNaN }
        return value.magnitude == magnitude && (value.sign == .minus) == (half >> 15 == 1)
    }

    // ---- panels

    /// Packing and unpacking on the whole or part of blocks, with rows that do not begin at multiples of anything.
    @Test(arguments: KernelTable.available, WeightType.allCases)
    func packingEqualsTheReferenceAndIsUndone(table: KernelTable, type: WeightType) {
        var generator = SeededGenerator(seed: 22)
        for width in stride(from: 16, through: 64, by: 16) {
            for rows in [width, width - 1, width - 15] {
                for k in [1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 130, 257] {
                    let rowStride = k + 3
                    let source = (0..<rows * rowStride * type.wordSize).map { _ in UInt8(generator.next() >> 56) }
                    let size = type.stored(k) * width * type.wordSize
                    var panel = [UInt8](repeating: 0xee, count: size + 64)
                    var expected = panel
                    type.pack(table.kernels)(source, rowStride, rows, width, k, &panel)
                    type.pack(KernelTable.reference)(source, rowStride, rows, width, k, &expected)
                    #expect(panel == expected, "width \(width), rows \(rows), k \(k)")

                    var unpacked = [UInt8](repeating: 0xee, count: source.count)
                    type.unpack(table.kernels)(panel, width, rows, k, &unpacked, rowStride)
                    let original = source.indices.map { index in
                        index / type.wordSize % rowStride < k ? source[index] : 0xee
                    }
                    #expect(unpacked == original, "width \(width), rows \(rows), k \(k)")
                }
            }
        }
    }

    /// The layout written out, so that the reference itself is pinned.
    @Test func panelWordsLieWhereTheFormatSays() {
        let (rows, width, k) = (3, 16, 5)
        let source = (0..<rows * k).map { UInt16(100 + $0) }
        var pairs = [UInt16](repeating: 1, count: 6 * width)
        KernelTable.reference.pack_panel.0!(source, k, rows, width, k, &pairs)
        var plain = [UInt16](repeating: 1, count: k * width)
        KernelTable.reference.pack_panel.1!(source, k, rows, width, k, &plain)
        for row in 0..<width {
            for index in 0..<6 {
                let expected = row < rows && index < k ? source[row * k + index] : 0
                #expect(pairs[index / 2 * 2 * width + 2 * row + index % 2] == expected)
                if index < k {
                    #expect(plain[index * width + row] == expected)
                }
            }
        }
    }
}
