import CKernels
import COpenBLAS
import Testing

/// A panel with activations for 16 columns, and what the reference makes of them.
private struct PanelCase {
    static let columns = 16
    static let untouched: Float = -7.5

    let type: WeightType
    let width: Int
    let rows: Int
    let storedK: Int
    let weights: [UInt8]
    var x: [Float]

    /// `value` gives the weight of (row, k); rows outside `rows` and a padded k get +0.
    init(
        type: WeightType, width: Int, rows: Int, k: Int, seed: UInt64,
        value: (inout SeededGenerator) -> Float = { $0.value() },
        activation: (inout SeededGenerator) -> Float = { $0.value() }
    ) {
        var generator = SeededGenerator(seed: seed)
        var source: [UInt8] = []
        for _ in 0..<rows * k {
            source += type.bytes(of: value(&generator))
        }
        let stored = type.stored(k)
        var weights = [UInt8](repeating: 0xee, count: stored * width * type.wordSize)
        type.pack(KernelTable.reference)(source, k, rows, width, k, &weights)
        var x = [Float](repeating: 0, count: Self.columns * stored)
        for column in 0..<Self.columns {
            for index in 0..<k {
                x[column * stored + index] = activation(&generator)
            }
        }
        (self.type, self.width, self.rows, self.storedK, self.weights, self.x) = (type, width, rows, stored, weights, x)
    }

    /// Room after the rows shows writes beyond them.
    var yStride: Int { rows + 5 }

    /// Multiplies `columns` by the whole panel, or by parts of it that begin at the multiples of `part`.
    func product(_ kernels: lamina_kernels, columns: Range<Int>, part: Int = .max) -> [Float] {
        var y = [Float](repeating: Self.untouched, count: columns.count * yStride)
        weights.withUnsafeBytes { weights in
            x.withUnsafeBufferPointer { x in
                y.withUnsafeMutableBufferPointer { y in
                    for begin in stride(from: 0, to: storedK, by: min(part, storedK)) {
                        var task = lamina_panel_task(
                            weights: weights.baseAddress! + begin * width * type.wordSize, width: width, rows: rows,
                            k_begin: begin, k_count: min(part, storedK - begin),
                            x: x.baseAddress! + columns.lowerBound * storedK, x_stride: storedK,
                            y: y.baseAddress!, y_stride: yStride, columns: columns.count)
                        type.multiply(kernels)(&task)
                    }
                }
            }
        }
        return y
    }
}

@Suite struct MultiplyPanelTests {
    private static let lengths = [1, 2, 63, 129, 511, 512, 513, 1024, 4095]

    @Test(arguments: KernelTable.available, WeightType.allCases)
    func anyBatchWidthEqualsTheReference(table: KernelTable, type: WeightType) {
        for width in stride(from: 16, through: 64, by: 16) {
            for (index, k) in Self.lengths.enumerated() {
                let rows = width - [0, 1, 7, 15][(index + width / 16) % 4]
                let panel = PanelCase(type: type, width: width, rows: rows, k: k, seed: UInt64(width * 10_000 + k))
                let expected = bits(panel.product(KernelTable.reference, columns: 0..<PanelCase.columns))
                for columns in 1...PanelCase.columns where k < 1024 || [1, 2, 6, 7, 16].contains(columns) {
                    let found = bits(panel.product(table.kernels, columns: 0..<columns))
                    #expect(
                        found == Array(expected.prefix(columns * panel.yStride)),
                        "width \(width), rows \(rows), k \(k), \(columns) columns")
                }
            }
        }
    }

    @Test(arguments: KernelTable.available, WeightType.allCases)
    func aColumnAloneEqualsTheColumnInABatch(table: KernelTable, type: WeightType) {
        let panel = PanelCase(type: type, width: 48, rows: 41, k: 1301, seed: 3)
        let batch = bits(panel.product(table.kernels, columns: 0..<PanelCase.columns))
        for column in 0..<PanelCase.columns {
            let alone = bits(panel.product(table.kernels, columns: column..<column + 1))
            #expect(alone == Array(batch[column * panel.yStride..<(column + 1) * panel.yStride]))
        }
    }

    @Test(arguments: KernelTable.available, WeightType.allCases)
    func rangesOfKEqualTheWhole(table: KernelTable, type: WeightType) {
        let panel = PanelCase(type: type, width: 64, rows: 50, k: 2817, seed: 4)
        for columns in [1, 5, 7] {
            let whole = bits(panel.product(KernelTable.reference, columns: 0..<columns))
            for part in [512, 1024, 1536, 2560] {
                #expect(bits(panel.product(table.kernels, columns: 0..<columns, part: part)) == whole)
            }
        }
    }

    /// A chain starts again at 512: 1 + 2^-24 is 1 in one chain, but not when 512 small terms are summed apart.
    @Test(arguments: KernelTable.available)
    func chainsRestartEvery512(table: KernelTable) {
        var panel = PanelCase(type: .f32, width: 16, rows: 1, k: 1024, seed: 5, value: { _ in 1 })
        for k in 0..<1024 {
            panel.x[k] = k == 0 ? 1 : k < 512 ? 0 : 0x1p-24
        }
        let y = panel.product(table.kernels, columns: 0..<1)
        #expect(y[0] == 1 + 0x1p-15)
        #expect(Array(y[1...]) == [Float](repeating: PanelCase.untouched, count: y.count - 1))
    }

    @Test(arguments: KernelTable.available, WeightType.allCases)
    func denormalsAreNotFlushed(table: KernelTable, type: WeightType) {
        let smallest: Float = type == .f16 ? 0x1p-24 : type == .bf16 ? 0x1p-133 : 0x1p-149
        let panel = PanelCase(
            type: type, width: 32, rows: 17, k: 3, seed: 6, value: { _ in smallest }, activation: { _ in 1 })
        let y = panel.product(table.kernels, columns: 0..<2)
        #expect(y[0] == 3 * smallest && y[16] == 3 * smallest && y[panel.yStride] == 3 * smallest)
        #expect(y[0] > 0)
    }

    @Test(arguments: KernelTable.available, WeightType.allCases)
    func negativeZeroSumsToPositiveZero(table: KernelTable, type: WeightType) {
        let panel = PanelCase(
            type: type, width: 16, rows: 16, k: 600, seed: 7, value: { _ in -0.0 }, activation: { _ in 1 })
        for columns in [1, 3] {
            let y = panel.product(table.kernels, columns: 0..<columns)
            #expect(y[0].bitPattern == 0)
            #expect(bits(y) == bits(panel.product(KernelTable.reference, columns: 0..<columns)))
        }
    }

    @Test(arguments: KernelTable.available, WeightType.allCases)
    func infiniteWeightsGiveInfinity(table: KernelTable, type: WeightType) {
        let panel = PanelCase(
            type: type, width: 32, rows: 20, k: 520, seed: 8,
            value: { $0.next() % 100 == 0 ? .infinity : $0.value() }, activation: { $0.value().magnitude + 1 })
        for columns in [1, 6] {
            let y = panel.product(table.kernels, columns: 0..<columns)
            #expect(y[0] == .infinity)
            #expect(bits(y) == bits(panel.product(KernelTable.reference, columns: 0..<columns)))
        }
    }

    /// An implementation that shares nothing with ours, in an order of its own.
    @Test(arguments: KernelTable.available, WeightType.allCases)
    func agreesWithOpenBLAS(table: KernelTable, type: WeightType) {
        openblas_set_num_threads(1)
        let (rows, k) = (64, 1000)
        let panel = PanelCase(type: type, width: rows, rows: rows, k: k, seed: 9)
        var words = [UInt8](repeating: 0, count: rows * k * type.wordSize)
        type.unpack(table.kernels)(panel.weights, rows, rows, k, &words, k)
        var dense = [Float](repeating: 0, count: rows * k)
        type.widen(table.kernels)(words, &dense, rows * k)
        for columns in [1, 16] {
            var expected = [Float](repeating: 0, count: columns * rows)
            // y [columns][rows] = x [columns][k] times the transpose of w [rows][k]
            cblas_sgemm(
                CblasRowMajor, CblasNoTrans, CblasTrans, Int32(columns), Int32(rows), Int32(k), 1, panel.x,
                Int32(panel.storedK), dense, Int32(k), 0, &expected, Int32(rows))
            let found = panel.product(table.kernels, columns: 0..<columns)
            for column in 0..<columns {
                for row in 0..<rows {
                    let scale = (0..<k).reduce(Float(0)) {
                        $0 + (dense[row * k + $1] * panel.x[column * panel.storedK + $1]).magnitude
                    }
                    let difference = found[column * panel.yStride + row] - expected[column * rows + row]
                    #expect(difference.magnitude <= 1e-6 * scale, "row \(row), column \(column)")
                }
            }
        }
    }
}
