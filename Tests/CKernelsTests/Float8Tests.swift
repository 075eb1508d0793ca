import CKernels
import Foundation
import Testing

/// A type of 8-bit floats, by its definition.
struct Float8: Sendable, CustomTestStringConvertible {
    let type: lamina_weight_type
    let mantissaBits: Int
    let bias: Int
    var testDescription: String { mantissaBits == 3 ? "E4M3" : "E5M2" }

    static let all = [
        Float8(type: LAMINA_WEIGHT_E4M3, mantissaBits: 3, bias: 7),
        Float8(type: LAMINA_WEIGHT_E5M2, mantissaBits: 2, bias: 15),
    ]

    func value(of code: UInt8) -> Float {
        let sign: FloatingPointSign = code >> 7 == 0 ? .plus : .minus
        let exponent = Int(code & 0x7f) >> mantissaBits
        let mantissa = Int(code) & (1 << mantissaBits - 1)
        if mantissaBits == 3, code & 0x7f == 0x7f { return .nan }
        if mantissaBits == 2, exponent == 31 {
            return mantissa == 0 ? Float(sign: sign, exponent: 0, significand: .infinity) : .nan
        }
        let significand = Float(mantissa + (exponent == 0 ? 0 : 1 << mantissaBits))
        return Float(sign: sign, exponent: max(exponent, 1) - bias - mantissaBits, significand: significand)
    }

    func pack(_ kernels: lamina_kernels) -> WeightType.Pack {
        type == LAMINA_WEIGHT_E4M3 ? kernels.pack_panel.3! : kernels.pack_panel.4!
    }

    func unpack(_ kernels: lamina_kernels) -> WeightType.Unpack {
        type == LAMINA_WEIGHT_E4M3 ? kernels.unpack_panel.3! : kernels.unpack_panel.4!
    }
}

@Suite struct Float8Tests {
    /// Floats by bits, any NaN like any other.
    private static func isSame(_ a: Float, _ b: Float) -> Bool {
        a.isNaN ? b.isNaN : a.bitPattern == b.bitPattern
    }

    @Test func theEndsOfBothTypes() {
        #expect(Float8.all[0].value(of: 0x7e) == 448 && Float8.all[0].value(of: 1) == 0x1p-9)
        #expect(Float8.all[1].value(of: 0x7b) == 57344 && Float8.all[1].value(of: 0x81) == -0x1p-16)
    }

    @Test(arguments: KernelTable.available, Float8.all)
    func allCodesAreExactTimesTheScale(table: KernelTable, float8: Float8) {
        let codes = (0...255).map { UInt8($0) }
        for scale: Float in [1, -1, 0.3, 1.7e-38, 0x1.5p-140, 2.9e38, 0] {
            var found = [Float](repeating: 0, count: 256)
            var reference = found
            table.kernels.widen_f8(float8.type, codes, scale, &found, 256)
            KernelTable.reference.widen_f8(float8.type, codes, scale, &reference, 256)
            for code in codes {
                let expected = float8.value(of: code) * scale
                #expect(Self.isSame(found[Int(code)], expected), "code \(code) times \(scale)")
                #expect(Self.isSame(reference[Int(code)], expected), "code \(code) times \(scale)")
            }
        }
    }

    @Test(arguments: KernelTable.available, Float8.all)
    func wideningAnyNumberStaysInBounds(table: KernelTable, float8: Float8) {
        for count in 1...49 {
            let codes = GuardedMemory((0..<count).map { UInt8(truncatingIfNeeded: $0 * 37) })
            let found = GuardedMemory(count: count * 4)
            let source = codes.base.assumingMemoryBound(to: UInt8.self)
            let target = found.base.assumingMemoryBound(to: Float.self)
            table.kernels.widen_f8(float8.type, source, 2, target, count)
            for index in 0..<count {
                #expect(Self.isSame(target[index], float8.value(of: source[index]) * 2))
            }
        }
    }

    @Test(arguments: KernelTable.available, Float8.all)
    func packingEqualsTheReferenceAndIsUndone(table: KernelTable, float8: Float8) {
        var generator = SeededGenerator(seed: 41)
        for (width, rows) in [(16, 16), (16, 3), (32, 31), (48, 48), (64, 64), (64, 50)] {
            for k in [1, 3, 4, 15, 16, 17, 63, 64, 65, 67, 128, 257] {
                let rowStride = k + 3
                let source = (0..<rows * rowStride).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
                var panel = [UInt8](repeating: 0xee, count: k * width + 64)
                var expected = panel
                float8.pack(table.kernels)(source, rowStride, rows, width, k, &panel)
                float8.pack(KernelTable.reference)(source, rowStride, rows, width, k, &expected)
                #expect(panel == expected, "width \(width), rows \(rows), k \(k)")
                #expect(panel[(k - 1) * width] == source[k - 1])

                var unpacked = [UInt8](repeating: 0xee, count: source.count)
                float8.unpack(table.kernels)(panel, width, rows, k, &unpacked, rowStride)
                #expect(unpacked == source.indices.map { $0 % rowStride < k ? source[$0] : 0xee })
            }
        }
    }

    // ---- rows of panels of every type

    /// All ranges of rows, of panels whose bytes are anything.
    @Test(arguments: KernelTable.available, 0..<5)
    func rowsOfPanels(table: KernelTable, type: Int) {
        let type = lamina_weight_type(UInt32(type))
        let size = type == LAMINA_WEIGHT_F32 ? 4 : type.rawValue <= LAMINA_WEIGHT_F16.rawValue ? 2 : 1
        var generator = SeededGenerator(seed: 42)
        for (width, k) in [(16, 1), (16, 33), (48, 16), (64, 31), (64, 130)] {
            let stored = type == LAMINA_WEIGHT_BF16 ? (k + 1) / 2 * 2 : k
            let panel = GuardedMemory(
                (0..<stored * width * size).map { _ in UInt8(truncatingIfNeeded: generator.next()) })
            for (first, count) in [(0, width), (0, 1), (width - 1, 1), (3, 12), (5, width - 5), (15, 1)] {
                let stride = k + 5
                var found = [Float](repeating: -7.5, count: count * stride)
                var expected = found
                table.kernels.panel_rows(type, panel.base, width, first, count, k, &found, stride)
                KernelTable.reference.panel_rows(type, panel.base, width, first, count, k, &expected, stride)
                #expect(
                    zip(found, expected).allSatisfy(Self.isSame), "rows \(first)..<\(first + count) of \(width), k \(k)"
                )
            }
        }
    }

    /// What was packed comes out as it went in, so the reference itself is pinned.
    @Test(arguments: KernelTable.available)
    func rowsAreTheRowsThatWerePacked(table: KernelTable) {
        var generator = SeededGenerator(seed: 43)
        let (rows, k) = (20, 37)
        for type in WeightType.allCases {
            let values = (0..<rows * k).map { _ in Float(Int(generator.next() % 255) - 127) / 64 }
            var panel = [UInt8](repeating: 0, count: type.stored(k) * 32 * type.wordSize)
            type.pack(table.kernels)(values.flatMap(type.bytes), k, rows, 32, k, &panel)
            var found = [Float](repeating: 0, count: rows * k)
            table.kernels.panel_rows(lamina_weight_type(type.rawValue), panel, 32, 0, rows, k, &found, k)
            #expect(found == values)
        }
    }
}
