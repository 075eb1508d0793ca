import CKernels
import Testing

@Suite struct QuantizeTests {
    /// Rows and columns: whole panels and chains, parts of both, flat blocks that cross rows, a single weight.
    private static let shapes = [(16, 512), (33, 100), (17, 576), (3, 2080), (5, 1000), (1, 1), (2, 31), (19, 96)]

    /// Kinds of matrices that quantizers find hard.
    enum Data: CaseIterable, Sendable {
        case normal, outlier, denormal, zeros, huge, sparse, mixed

        func weights(rows: Int, columns: Int) -> [Float] {
            var generator = SeededGenerator(seed: UInt64(rows * 10_000 + columns))
            var weights = generator.normal(rows * columns, deviation: 0.02)
            switch self {
            case .normal: break
            case .outlier: weights[rows * columns / 2] = -30
            case .denormal: weights = weights.map { $0 * 0x1p-133 }
            case .zeros: weights = weights.map { _ in 0 }
            case .huge: weights = weights.map { $0 * 3e38 }
            case .sparse: weights = weights.indices.map { $0 % 7 == 0 ? weights[$0] : 0 }
            case .mixed: weights = generator.values(weights.count)
            }
            return weights
        }
    }

    private static let steps: [(QuantizedMatrix.Steps, Int)] = [
        (.forLargest, 0), (.forRMS(0.2), 4), (.forRMS(0.01), 4), (.forRMS(0.01), 0), (.forRMS(1e-6), 4),
    ]

    @Test(arguments: KernelTable.available, Data.allCases)
    func panelsEqualTheReference(table: KernelTable, data: Data) {
        for (rows, columns) in Self.shapes {
            let weights = data.weights(rows: rows, columns: columns)
            for scheme in QuantizedScheme.allCases {
                for (steps, escapes) in scheme == .row8 ? Self.steps : [(.forLargest, 0)] {
                    let found = QuantizedMatrix(
                        weights, columns: columns, scheme: scheme, steps: steps, escapes: escapes,
                        kernels: table.pointer)
                    let expected = QuantizedMatrix(
                        weights, columns: columns, scheme: scheme, steps: steps, escapes: escapes,
                        kernels: lamina_kernels_reference())
                    #expect(found.bytes == expected.bytes, "\(scheme) \(rows) x \(columns) \(steps)")
                    #expect(found.errors == expected.errors && found.squares == expected.squares)
                }
            }
        }
    }

    /// What is measured is what is decoded.
    @Test(arguments: QuantizedScheme.allCases)
    func measuredErrorsAreThoseOfTheDecodedWeights(scheme: QuantizedScheme) {
        let weights = Data.normal.weights(rows: 19, columns: 600)
        let matrix = QuantizedMatrix(weights, columns: 600, scheme: scheme, kernels: KernelTable.best.pointer)
        let decoded = matrix.decoded(KernelTable.best.kernels)
        for row in 0..<19 {
            var (error, square) = (0.0, 0.0)
            for index in row * 600..<(row + 1) * 600 {
                let difference = Double(weights[index]) - Double(decoded[index])
                error += difference * difference
                square += Double(weights[index]) * Double(weights[index])
            }
            #expect(matrix.errors[row] == error && matrix.squares[row] == square)
        }
    }

    @Test(arguments: KernelTable.available, QuantizedScheme.allCases)
    func nothingOutsideIsTouched(table: KernelTable, scheme: QuantizedScheme) {
        for (rows, columns) in [(1, 1), (3, 33), (15, 63), (16, 65), (16, 129), (7, 511), (16, 515)] {
            let weights = Data.normal.weights(rows: rows, columns: columns)
            let memory = GuardedMemory(weights.flatMap { withUnsafeBytes(of: $0, Array.init) })
            let panel = GuardedMemory(count: lamina_quantized_panel_bytes(scheme.scheme, columns))
            panel.fill(0xee)
            let steps = [UInt16](repeating: 0x3a00, count: 16)
            let maxima = [Float](repeating: 1, count: rows * columns / 64 + 2)
            var (source, sums) = (lamina_quantize_source(), lamina_panel_errors())
            steps.withUnsafeBufferPointer { steps in
                maxima.withUnsafeBufferPointer { maxima in
                    source.weights = UnsafePointer(memory.base.assumingMemoryBound(to: Float.self))
                    source.stride = columns
                    source.rows = rows
                    source.columns = columns
                    source.matrix_rows = rows
                    source.steps = steps.baseAddress
                    source.escapes = 4
                    source.maxima = maxima.baseAddress
                    scheme.quantize(table.kernels)(&source, panel.base)
                    lamina_measure_panel(table.pointer, scheme.scheme, &source, panel.base, &sums)
                }
            }
            #expect(sums.squares.0 > 0)
        }
    }

    /// A flat block belongs to the matrix, not to its panels: rows from 16 on give the same whichever came before.
    @Test(arguments: [QuantizedScheme.nf4, .nf4Double, .int8Dynamic])
    func blocksCrossPanels(scheme: QuantizedScheme) {
        let weights = Data.normal.weights(rows: 40, columns: 100)
        let whole = QuantizedMatrix(weights, columns: 100, scheme: scheme, kernels: KernelTable.best.pointer)
        var others = weights
        for index in 0..<1500 { others[index] *= 1.5 }
        let other = QuantizedMatrix(others, columns: 100, scheme: scheme, kernels: KernelTable.best.pointer)
        let last = whole.bytes.count - whole.panelBytes
        #expect(whole.bytes[last...] == other.bytes[last...] || scheme == .int8Dynamic)
        #expect(whole.bytes[..<whole.panelBytes] != other.bytes[..<whole.panelBytes])
    }

    // ---- rows

    @Test(arguments: KernelTable.available)
    func statisticsEqualTheReference(table: KernelTable) {
        var generator = SeededGenerator(seed: 5)
        for count in [0, 1, 2, 15, 16, 17, 100, 1023] {
            let row = generator.values(count)
            var (found, expected) = (lamina_row_statistics(), lamina_row_statistics())
            table.kernels.row_statistics(row, count, &found)
            KernelTable.reference.row_statistics(row, count, &expected)
            #expect(found.finite == count && expected.finite == count)
            #expect(found.largest == row.map(\.magnitude).max() ?? 0 && found.largest == expected.largest)
            #expect(found.squares == expected.squares)
        }
    }

    /// Where the first value is that is none, in whichever lane.
    @Test(arguments: KernelTable.available, [Float.nan, .infinity, -.infinity, -.nan, .signalingNaN])
    func whatIsNotFiniteIsFound(table: KernelTable, value: Float) {
        for position in [0, 1, 15, 16, 40, 98] {
            var row = [Float](repeating: 3e38, count: 99)
            row[position] = value
            row[98] = .nan
            for kernels in [table.kernels, KernelTable.reference] {
                var statistics = lamina_row_statistics()
                kernels.row_statistics(row, 99, &statistics)
                #expect(statistics.finite == position && statistics.largest == 0 && statistics.squares == 0)
            }
        }
    }

    @Test(arguments: KernelTable.available)
    func maximaOfPartsOfBlocks(table: KernelTable) {
        var generator = SeededGenerator(seed: 6)
        let values = generator.values(700)
        for (position, block) in [(0, 64), (63, 64), (5, 64), (2047, 2048), (1500, 2048)] {
            let count = (position + 699) / block - position / block + 1
            var found = [Float](repeating: 0, count: count)
            var expected = found
            table.kernels.flat_maxima(values, 700, position, block, &found)
            for (index, value) in values.enumerated() {
                let entry = (position + index) / block - position / block
                expected[entry] = max(expected[entry], value.magnitude)
            }
            #expect(found == expected)
        }
    }
}
