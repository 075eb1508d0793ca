import CKernels
import Foundation
import TestSupport
import Testing

/// What every scheme loses, and what it must not lose.
@Suite struct QuantizeErrorTests {
    private static let table = KernelTable.best

    private static func quantized(
        _ weights: [Float], columns: Int, _ scheme: QuantizedScheme, _ steps: QuantizedMatrix.Steps = .forLargest
    ) -> QuantizedMatrix {
        QuantizedMatrix(weights, columns: columns, scheme: scheme, steps: steps, kernels: table.pointer)
    }

    // ---- how much on average

    /// Relative errors of normal weights as formats/quantization.md states them, 4096 columns.
    @Test(arguments: [
        (QuantizedScheme.row8, 0.0, 0.0087), (.row8, 0.19, 0.0548), (.row8, 0.23, 0.0664), (.row8, 0.32, 0.0924),
        (.q8, 0, 0.00492), (.q4, 0, 0.0727), (.nf4, 0, 0.0920), (.nf4Double, 0, 0.0920), (.int8Dynamic, 0, 0.0125),
    ])
    func errorsOfNormalWeights(scheme: QuantizedScheme, delta: Double, expected: Double) {
        var generator = SeededGenerator(seed: 11)
        let weights = generator.normal(128 * 4096, deviation: 0.02)
        let steps = delta > 0 ? QuantizedMatrix.Steps.forRMS(delta) : .forLargest
        let found = Self.quantized(weights, columns: 4096, scheme, steps).relativeError
        #expect(abs(found / expected - 1) < 0.02, "\(found)")
    }

    /// Blocks of 32 with an f16 scale, the largest magnitude over 127, rounded to nearest: ggml's Q8_0, 8.5 bits.
    private static func errorOfQ80(_ weights: [Float]) -> Double {
        var (error, squares) = (0.0, 0.0)
        for start in stride(from: 0, to: weights.count, by: 32) {
            let block = weights[start..<min(start + 32, weights.count)]
            var (scale, half) = ((block.map(\.magnitude).max() ?? 0) / 127, UInt16(0))
            // A table's own rounding to f16 and back: a cache of values whose one element is 127 scales.
            half = UInt16(truncatingIfNeeded: Float16Bits.nearest(scale))
            scale = Float16Bits.value(half)
            for weight in block {
                let value = scale == 0 ? 0 : (weight / scale).rounded() * scale
                error += Double(weight - value) * Double(weight - value)
                squares += Double(weight) * Double(weight)
            }
        }
        return (error / squares).squareRoot()
    }

    /// 8.31 bits lose less than Q8_0's 8.5.
    @Test func q8IsBetterThanQ80() throws {
        var generator = SeededGenerator(seed: 12)
        let model = try BitsandbytesTests.cases()[0]
        for (weights, columns) in [
            (generator.normal(64 * 1024, deviation: 0.02), 1024), (model.floats(model.weights), model.columns),
        ] {
            #expect(Self.quantized(weights, columns: columns, .q8).relativeError < Self.errorOfQ80(weights))
        }
    }

    // ---- how much at most

    private static func bound(_ scheme: QuantizedScheme) -> Double {
        switch scheme {
        case .row8: LAMINA_ERROR_BOUND_ROW8
        case .q8: LAMINA_ERROR_BOUND_Q8
        case .q4: LAMINA_ERROR_BOUND_Q4
        case .nf4: LAMINA_ERROR_BOUND_NF4
        case .nf4Double: LAMINA_ERROR_BOUND_NF4_DOUBLE
        case .int8Dynamic: LAMINA_ERROR_BOUND_INT8_DYNAMIC
        }
    }

    /// The largest magnitude among the weights that share a scale (or its super-scale) with weight (row, k).
    private static func largest(_ matrix: QuantizedMatrix, row: Int, k: Int) -> Double {
        let (weights, columns) = (matrix.weights, matrix.columns)
        let start = row * columns
        let range: Range<Int>
        switch matrix.scheme {
        case .row8: range = start..<start + columns
        case .q8, .q4: range = start + k / 512 * 512..<start + min(columns, (k / 512 + 1) * 512)
        // The row's blocks reach into its neighbours.
        case .nf4Double: range = start / 64 * 64..<min(weights.count, (start + columns + 63) / 64 * 64)
        case .nf4, .int8Dynamic:
            let block = matrix.scheme.flatBlock
            range = (start + k) / block * block..<min(weights.count, ((start + k) / block + 1) * block)
        }
        return Double(weights[range].map(\.magnitude).max() ?? 0)
    }

    private static func expectWithinBound(_ matrix: QuantizedMatrix, sourceLocation: SourceLocation = #_sourceLocation)
    {
        let decoded = matrix.decoded(table.kernels)
        let isSearched = matrix.scheme == .q8 || matrix.scheme == .q4
        let floor = matrix.scheme == .nf4 ? LAMINA_ERROR_FLOOR_NF4 : LAMINA_ERROR_FLOOR
        for row in 0..<matrix.rows {
            for k in stride(from: 0, to: matrix.columns, by: 32) {
                let block = (k..<min(k + 32, matrix.columns)).map { row * matrix.columns + $0 }
                let errors = block.map { Double(matrix.weights[$0]) - Double(decoded[$0]) }
                let worst = errors.map(\.magnitude).max() ?? 0
                let found = isSearched ? (errors.reduce(0) { $0 + $1 * $1 } / 32).squareRoot() : worst
                // A block of the flattened matrix may end within these 32.
                let shared = [k, min(k + 31, matrix.columns - 1)].map { largest(matrix, row: row, k: $0) }.max() ?? 0
                #expect(found <= bound(matrix.scheme) * shared + floor, sourceLocation: sourceLocation)
            }
        }
    }

    @Test(arguments: QuantizedScheme.allCases)
    func errorsAreBounded(scheme: QuantizedScheme) {
        var generator = SeededGenerator(seed: 13)
        for (rows, columns) in [(20, 700), (5, 33), (40, 96)] {
            let normal = generator.normal(rows * columns, deviation: 0.02)
            let heavy = normal.map { $0 * $0 * $0 * 1e4 }
            let uniform = generator.values(rows * columns)
            for weights in [normal, heavy, uniform] {
                Self.expectWithinBound(Self.quantized(weights, columns: columns, scheme))
            }
        }
    }

    @Test(arguments: QuantizedScheme.allCases)
    func oneOutlierCostsOnlyItsBlocks(scheme: QuantizedScheme) {
        var generator = SeededGenerator(seed: 14)
        var weights = generator.normal(16 * 1024, deviation: 0.02)
        weights[3 * 1024 + 700] = 60
        let matrix = Self.quantized(weights, columns: 1024, scheme)
        Self.expectWithinBound(matrix)
        let decoded = matrix.decoded(Self.table.kernels)[3 * 1024 + 700]
        #expect(abs(decoded / 60 - 1) < 0.12)
        let plain = (0..<16).filter { $0 != 3 && !($0 == 2 && scheme == .int8Dynamic) }
        #expect(plain.allSatisfy { matrix.errors[$0] < 0.02 * matrix.squares[$0] })
    }

    @Test(arguments: QuantizedScheme.allCases)
    func zerosStayZeros(scheme: QuantizedScheme) {
        var generator = SeededGenerator(seed: 15)
        let zeros = [Float](repeating: 0, count: 18 * 600)
        let allZero = Self.quantized(zeros, columns: 600, scheme)
        #expect(allZero.decoded(Self.table.kernels).allSatisfy { $0 == 0 } && allZero.errors.allSatisfy { $0 == 0 })
        // A row, and a block of 64, among others.
        var weights = generator.normal(18 * 640, deviation: 0.02)
        for index in 4 * 640..<5 * 640 { weights[index] = 0 }
        for index in 7 * 640 + 128..<7 * 640 + 192 { weights[index] = 0 }
        let decoded = Self.quantized(weights, columns: 640, scheme).decoded(Self.table.kernels)
        let bound = scheme == .q4 || scheme == .nf4Double ? 2e-4 : 0
        #expect(decoded[7 * 640 + 128..<7 * 640 + 192].allSatisfy { Double($0.magnitude) <= bound })
        if scheme != .int8Dynamic { #expect(decoded[4 * 640..<5 * 640].allSatisfy { $0 == 0 }) }
    }

    @Test(arguments: QuantizedScheme.allCases)
    func denormalsAndHugeNumbers(scheme: QuantizedScheme) {
        var generator = SeededGenerator(seed: 16)
        let normal = generator.normal(17 * 200, deviation: 1)
        // f16 scales end at 65504.
        for factor: Float in [0x1p-149, 0x1p-140, 0x1p-133, 0x1p-126, 0x1p-120, scheme == .nf4 ? 1e4 : 5e37] {
            Self.expectWithinBound(Self.quantized(normal.map { $0 * factor }, columns: 200, scheme))
        }
    }

    // ---- again

    /// Weights on the grid stay there: ROW8 with the same steps; NF4, whose blocks keep their largest magnitudes.
    @Test func quantizingAgainChangesNothing() {
        var generator = SeededGenerator(seed: 17)
        let weights = generator.normal(33 * 700, deviation: 0.02)
        let row8 = Self.quantized(weights, columns: 700, .row8, .forRMS(0.2))
        let steps = (0..<33).map { row8.step(row: $0) }
        let again = Self.quantized(row8.decoded(Self.table.kernels), columns: 700, .row8, .given(steps))
        #expect(again.bytes == row8.bytes)
        let nf4 = Self.quantized(weights, columns: 700, .nf4)
        #expect(Self.quantized(nf4.decoded(Self.table.kernels), columns: 700, .nf4).bytes == nf4.bytes)
    }

    // ---- steps and escapes

    @Test func stepsForTheLargest() {
        var generator = SeededGenerator(seed: 18)
        for largest in generator.values(1000).map(\.magnitude) + [0, 127, 3.4e38, 0x1p-149] {
            let step = Float(bitPattern: UInt32(lamina_step_for_largest(largest)) << 16)
            #expect(largest == 0 ? step == 0 : (largest / step).rounded() <= 127)
            #expect(step <= largest / 127 * (1 + 0x1p-7) + 0x1p-133)
        }
        #expect(lamina_step_for_largest(127) == 0x3f80)
    }

    @Test func stepsForTheRMS() {
        #expect(lamina_step_for_rms(0.5, 400, 3, 100) == 0x3f80)  // 0.5 * sqrt(4)
        #expect(lamina_step_for_rms(0.5, 0, 0, 100) == 0)
        // Codes must fit 16 bits.
        let step = Float(bitPattern: UInt32(lamina_step_for_rms(1e-9, 1, 1, 1)) << 16)
        #expect((1 / step).rounded() <= 32767 && 1 / step > 32767 / (1 + 0x1p-7))
    }

    /// Up to four weights of a panel keep codes beyond 127.
    @Test func largestCodesBecomeEscapes() {
        var weights = [Float](repeating: 1, count: 16 * 64)
        for (row, k, weight) in [(2, 40, -300), (9, 3, 20_000), (2, 7, 128)] as [(Int, Int, Float)] {
            weights[row * 64 + k] = weight
        }
        let ones = QuantizedMatrix.Steps.given([UInt16](repeating: 0x3f80, count: 16))
        let matrix = Self.quantized(weights, columns: 64, .row8, ones)
        let escapes = matrix.escapes(panel: 0)
        #expect(escapes.map(\.k) == [3, 7, 40] && escapes.map(\.row) == [9, 2, 2])
        #expect(escapes.map(\.code) == [20_000, 128, -300])
        #expect(matrix.code(row: 2, k: 40) == 0 && matrix.code(row: 2, k: 41) == 129)
        #expect(matrix.decoded(Self.table.kernels) == weights)
    }

    /// A fifth raises the step of its row: that of the smallest code, then of the largest k, then of the last row.
    @Test func moreEscapesRaiseSteps() {
        var weights = [Float](repeating: 1, count: 16 * 64)
        for (row, k, weight) in [
            (0, 9, 500), (1, 8, -200), (5, 8, 200), (1, 9, 200), (7, 30, 200), (7, 31, 254), (7, 32, 150),
        ] as [(Int, Int, Float)] { weights[row * 64 + k] = weight }
        let ones = QuantizedMatrix.Steps.given([UInt16](repeating: 0x3f80, count: 16))
        let matrix = Self.quantized(weights, columns: 64, .row8, ones)
        // 500, 254, -200 and the 200 of row 5 are first; row 1's other 200 and row 7's 200 and 150 need larger steps.
        let expected = (0..<16).map { [1, 7].contains($0) ? lamina_step_for_largest(200) : 0x3f80 }
        #expect((0..<16).map { matrix.step(row: $0) } == expected)
        // With these, -200 of row 1 fits.
        #expect(
            matrix.escapes(panel: 0).map(\.row) == [5, 0, 7] && matrix.escapes(panel: 0).map(\.code) == [200, 500, 161])
        let none = QuantizedMatrix(
            weights, columns: 64, scheme: .row8, steps: ones, escapes: 0, kernels: Self.table.pointer)
        #expect(none.escapes(panel: 0).isEmpty && none.step(row: 0) == lamina_step_for_largest(500))
        #expect(none.step(row: 3) == 0x3f80)
    }
}

/// f16 in integers, for numbers that are not negative.
private enum Float16Bits {
    static func value(_ bits: UInt16) -> Float {
        let (exponent, mantissa) = (Int(bits >> 10), Float(bits & 1023))
        return exponent == 0
            ? mantissa * 0x1p-24 : Float(sign: .plus, exponent: exponent - 25, significand: mantissa + 1024)
    }

    static func nearest(_ value: Float) -> UInt16 {
        let exponent = max(-14, value == 0 ? -14 : Int(value.exponent))
        let mantissa = Float(sign: .plus, exponent: 10 - exponent, significand: value).rounded(.toNearestOrEven)
        return UInt16(mantissa) + UInt16(exponent + 14) << 10
    }
}
