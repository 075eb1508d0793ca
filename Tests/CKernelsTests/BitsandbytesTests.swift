import CKernels
import Foundation
import TestSupport
import Testing

/// The same codes as bitsandbytes' on a CPU (Tests/Fixtures/make_bitsandbytes.py).
@Suite struct BitsandbytesTests {
    struct Case: Decodable, Sendable, CustomTestStringConvertible {
        let name: String
        let rows: Int
        let columns: Int
        let weights: Data
        let nf4Codes: Data
        let nf4Maxima: Data
        let dynamicCodes: Data
        let dynamicMaxima: Data

        var testDescription: String { name }

        func floats(_ data: Data) -> [Float] {
            stride(from: 0, to: data.count, by: 4).map { start in
                Float(bitPattern: (0..<4).reduce(0) { $0 | UInt32(data[start + $1]) << (8 * $1) })
            }
        }
    }

    static func cases() throws -> [Case] {
        try JSONDecoder().decode([Case].self, from: Data(try Fixtures.bytes("quantization/bitsandbytes.json")))
    }

    private static func codes(_ matrix: QuantizedMatrix) -> [UInt8] {
        (0..<matrix.rows * matrix.columns).map { matrix.code(row: $0 / matrix.columns, k: $0 % matrix.columns) }
    }

    @Test(arguments: KernelTable.available)
    func nf4CodesAreTheSame(table: KernelTable) throws {
        for example in try Self.cases() {
            let weights = example.floats(example.weights)
            for scheme in [QuantizedScheme.nf4, .nf4Double] {
                let matrix = QuantizedMatrix(weights, columns: example.columns, scheme: scheme, kernels: table.pointer)
                #expect(Self.codes(matrix) == Array(example.nf4Codes), "\(example.name)")
            }
        }
    }

    @Test(arguments: KernelTable.available)
    func dynamicCodesAndScalesAreTheSame(table: KernelTable) throws {
        for example in try Self.cases() {
            let weights = example.floats(example.weights)
            let matrix = QuantizedMatrix(
                weights, columns: example.columns, scheme: .int8Dynamic, kernels: table.pointer)
            #expect(Self.codes(matrix) == Array(example.dynamicCodes), "\(example.name)")
            // What bitsandbytes decodes: the map's value times the block's largest magnitude.
            let maxima = example.floats(example.dynamicMaxima)
            let map = withUnsafeBytes(of: lamina_dynamic_map) { Array($0.bindMemory(to: Float.self)) }
            let expected = weights.indices.map { map[Int(example.dynamicCodes[$0])] * maxima[$0 / 2048] }
            #expect(matrix.decoded(table.kernels) == expected, "\(example.name)")
        }
    }

    /// f16 scales are the nearest to bitsandbytes' f32 ones: 2^-11 off at most.
    @Test func nf4ScalesAreNear() throws {
        for example in try Self.cases() where example.name != "edges" {
            let weights = example.floats(example.weights)
            let matrix = QuantizedMatrix(
                weights, columns: example.columns, scheme: .nf4, kernels: KernelTable.best.pointer)
            let values = withUnsafeBytes(of: lamina_nf4_values) { Array($0.bindMemory(to: Float.self)) }
            let maxima = example.floats(example.nf4Maxima)
            for (index, found) in matrix.decoded(KernelTable.best.kernels).enumerated() {
                let exact = values[Int(example.nf4Codes[index])] * maxima[index / 64]
                #expect(abs(found - exact) <= abs(exact) * 0x1.01p-11)
            }
        }
    }

    // ---- the reader in Python, which shares no code

    private static let needsPython: Comment = "LAMINA_PYTHON names no Python: scripts/test sets it up"

    @Test(.enabled(if: Tool.python != nil, needsPython), arguments: QuantizedScheme.allCases)
    func numpyReadsTheSameWeights(scheme: QuantizedScheme) throws {
        let reader = Fixtures.project.appendingPathComponent("formats/quantized.py").path
        var generator = SeededGenerator(seed: 21)
        for (rows, columns) in [(33, 700), (16, 2048), (5, 3)] {
            let weights = generator.normal(rows * columns, deviation: 0.02)
            let matrix = QuantizedMatrix(
                weights, columns: columns, scheme: scheme, steps: .forRMS(0.03), kernels: KernelTable.best.pointer)
            try Fixtures.withScratchFolder { folder in
                try Data(matrix.bytes).write(to: URL(fileURLWithPath: folder + "/slot"))
                let result = try Tool.run(
                    executable: try #require(Tool.python),
                    [reader, scheme.testDescription, "\(columns)", "0", "\(rows)", folder + "/slot", folder + "/out"])
                #expect(result.status == 0, "\(result.standardError)")
                let found = try Data(contentsOf: URL(fileURLWithPath: folder + "/out"))
                let expected = matrix.decoded(KernelTable.best.kernels).flatMap { withUnsafeBytes(of: $0, Array.init) }
                #expect(Array(found) == expected)
            }
        }
    }
}
