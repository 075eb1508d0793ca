import CKernels
import Testing

extension QuantizedScheme: CustomTestStringConvertible {
    typealias Quantize = @convention(c) (UnsafePointer<lamina_quantize_source>?, UnsafeMutableRawPointer?) -> Void

    /// As formats/quantized.py calls it.
    var testDescription: String { ["row8", "q8", "q4", "nf4", "nf4-double", "int8-dynamic"][Int(rawValue)] }

    /// Whether scales belong to blocks of the flattened matrix.
    var isFlat: Bool { rawValue >= Self.nf4.rawValue }

    func quantize(_ kernels: lamina_kernels) -> Quantize {
        let functions = kernels.quantize_panel
        return [functions.0, functions.1, functions.2, functions.3, functions.4, functions.5][Int(rawValue)]!
    }
}

/// A matrix in panels, quantized and read by one table's kernels.
struct QuantizedMatrix {
    /// How the steps of ROW8 are chosen.
    enum Steps: Sendable {
        case forLargest
        case forRMS(Double)
        case given([UInt16])
    }

    let scheme: QuantizedScheme
    let rows: Int
    let columns: Int
    let panelBytes: Int
    /// All panels, one after another.
    private(set) var bytes: [UInt8]
    /// What was quantized, and what measuring found was lost, for each row.
    let weights: [Float]
    private(set) var errors: [Double] = []
    private(set) var squares: [Double] = []

    init(
        _ weights: [Float], columns: Int, scheme: QuantizedScheme, steps: Steps = .forLargest,
        escapes: Int = Int(LAMINA_ESCAPES), kernels: UnsafePointer<lamina_kernels>
    ) {
        self.scheme = scheme
        self.columns = columns
        self.weights = weights
        rows = weights.count / columns
        panelBytes = lamina_quantized_panel_bytes(scheme.scheme, columns)
        bytes = [UInt8](repeating: 0xee, count: (rows + 15) / 16 * panelBytes)
        let maxima = scheme.isFlat ? Self.maxima(weights, block: scheme.flatBlock, kernels: kernels.pointee) : []
        let chosen = Self.steps(steps, of: weights, columns: columns, kernels: kernels.pointee)
        weights.withUnsafeBufferPointer { weights in
            chosen.withUnsafeBufferPointer { steps in
                maxima.withUnsafeBufferPointer { maxima in
                    for row in stride(from: 0, to: rows, by: 16) {
                        var source = lamina_quantize_source()
                        source.weights = weights.baseAddress! + row * columns
                        source.stride = columns
                        source.rows = min(16, rows - row)
                        source.columns = columns
                        source.steps = steps.baseAddress! + row
                        source.escapes = escapes
                        source.row = row
                        source.matrix_rows = rows
                        source.maxima = maxima.baseAddress.map { $0 + row * columns / scheme.flatBlock }
                        quantize(source, panel: row / 16, kernels: kernels)
                    }
                }
            }
        }
    }

    private mutating func quantize(
        _ source: lamina_quantize_source, panel: Int, kernels: UnsafePointer<lamina_kernels>
    ) {
        var (source, sums) = (source, lamina_panel_errors())
        bytes.withUnsafeMutableBytes {
            let place = $0.baseAddress! + panel * panelBytes
            scheme.quantize(kernels.pointee)(&source, place)
            lamina_measure_panel(kernels, scheme.scheme, &source, place, &sums)
        }
        errors += withUnsafeBytes(of: sums.errors) { Array($0.bindMemory(to: Double.self).prefix(source.rows)) }
        squares += withUnsafeBytes(of: sums.squares) { Array($0.bindMemory(to: Double.self).prefix(source.rows)) }
    }

    /// The largest magnitudes of flat blocks, in pieces that cut through them.
    private static func maxima(_ weights: [Float], block: Int, kernels: lamina_kernels) -> [Float] {
        var maxima = [Float](repeating: 0, count: weights.count / block + 1)
        let piece = 1000
        weights.withUnsafeBufferPointer { weights in
            maxima.withUnsafeMutableBufferPointer { maxima in
                for start in stride(from: 0, to: weights.count, by: piece) {
                    let count = min(piece, weights.count - start)
                    let target = maxima.baseAddress! + start / block
                    kernels.flat_maxima(weights.baseAddress! + start, count, start, block, target)
                }
            }
        }
        return maxima
    }

    private static func steps(_ steps: Steps, of weights: [Float], columns: Int, kernels: lamina_kernels) -> [UInt16] {
        if case .given(let given) = steps { return given }
        return stride(from: 0, to: weights.count, by: columns).map { start in
            var statistics = lamina_row_statistics()
            Array(weights[start..<start + columns]).withUnsafeBufferPointer {
                kernels.row_statistics($0.baseAddress, columns, &statistics)
            }
            guard case .forRMS(let delta) = steps else { return lamina_step_for_largest(statistics.largest) }
            return lamina_step_for_rms(delta, statistics.squares, statistics.largest, columns)
        }
    }

    /// All weights as they are decoded.
    func decoded(_ kernels: lamina_kernels) -> [Float] {
        let padded = lamina_quantized_columns(columns)
        var result = [Float](repeating: .nan, count: rows * columns)
        var values = [Float](repeating: 0, count: padded * 16)
        bytes.withUnsafeBytes { bytes in
            for panel in 0..<(rows + 15) / 16 {
                var place = lamina_quantized_panel_at(scheme.scheme, bytes.baseAddress!, panel, columns, 0, rows)
                for k in stride(from: 0, to: padded, by: 512) {
                    values.withUnsafeMutableBufferPointer {
                        scheme.dequantize(kernels)(&place, k, min(512, padded - k), $0.baseAddress! + k * 16, 16)
                    }
                }
                for row in 0..<place.rows {
                    for k in 0..<columns { result[(panel * 16 + row) * columns + k] = values[k * 16 + row] }
                }
            }
        }
        return result
    }

    /// The code of a weight as it is stored.
    func code(row: Int, k: Int) -> UInt8 {
        let padded = lamina_quantized_columns(columns)
        precondition(scheme != .q8 && scheme != .q4, "codes of chains lie elsewhere")
        let codes = row / 16 * panelBytes + panelBytes - padded * (scheme.hasNibbles ? 8 : 16)
        guard scheme.hasNibbles else { return bytes[codes + k / 4 * 64 + row % 16 * 4 + k % 4] }
        return bytes[codes + k / 8 * 64 + row % 16 * 4 + k % 4] >> (k / 4 % 2 == 0 ? 0 : 4) & 15
    }

    /// The step of a row of ROW8.
    func step(row: Int) -> UInt16 {
        let place = row / 16 * panelBytes + row % 16 * 2
        return UInt16(bytes[place]) | UInt16(bytes[place + 1]) << 8
    }

    /// The escapes of a panel of ROW8 that there are.
    func escapes(panel: Int) -> [(k: Int, row: Int, code: Int)] {
        (0..<Int(LAMINA_ESCAPES)).compactMap { index in
            let place = panel * panelBytes + 32 + index * 8
            let escape = (0..<8).reduce(UInt64(0)) { $0 | UInt64(bytes[place + $1]) << (8 * $1) }
            guard escape != 0x8080_8080_8080_8080 else { return nil }
            return (Int(escape >> 24), Int(escape >> 16 & 255), Int(Int16(truncatingIfNeeded: escape)))
        }
    }

    /// The root of what was lost over what there was.
    var relativeError: Double { (errors.reduce(0, +) / squares.reduce(0, +)).squareRoot() }
}

/// The table of an instruction set, as a pointer.
extension KernelTable {
    var pointer: UnsafePointer<lamina_kernels> { lamina_kernels_for(lamina_isa(isa)) }
    static var best: KernelTable { available[available.count - 1] }
}

extension SeededGenerator {
    /// Normally distributed numbers.
    mutating func normal(_ count: Int, deviation: Float) -> [Float] {
        (0..<count).map { _ in
            let (a, b) = (Double(next() >> 11) * 0x1p-53 + 0x1p-54, Double(next() >> 11) * 0x1p-53)
            return Float(lamina_cos(2 * .pi * b) * (-2 * lamina_log(a)).squareRoot()) * deviation
        }
    }
}
