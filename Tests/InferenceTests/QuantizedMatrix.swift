import CKernels
import LayerStore
import TensorCore

/// A matrix quantized by the reference, one panel after another.
struct QuantizedMatrix {
    private let scheme: any QuantizationScheme
    private let columns: Int
    private let rows: Int
    private let panels: [[UInt8]]
    private static var kernels: KernelTable { lamina_kernels_reference() }

    /// `source` are BF16 weights (rows, columns).
    init(_ source: [UInt8], _ dtype: DType, _ shape: Shape, _ scheme: any QuantizationScheme) {
        precondition(dtype == .bfloat16)
        self.scheme = scheme
        let (rows, columns) = ChunkGeometry.matrix(of: shape)
        (self.rows, self.columns) = (rows, columns)
        var weights = [Float](repeating: 0, count: rows * columns)
        source.withUnsafeBytes { Self.kernels.pointee.widen.0?($0.baseAddress, &weights, weights.count) }
        panels = stride(from: 0, to: rows, by: 16).map {
            Self.panel(weights, $0, min(16, rows - $0), rows, columns, scheme)
        }
    }

    private static func panel(
        _ weights: [Float], _ row: Int, _ count: Int, _ rows: Int, _ columns: Int, _ scheme: any QuantizationScheme
    ) -> [UInt8] {
        var panel = [UInt8](repeating: 0, count: scheme.panelBytes(columns: columns))
        let steps = (0..<count).map { index in
            let values = weights[((row + index) * columns)..<((row + index + 1) * columns)]
            let largest = values.map(abs).max() ?? 0
            // Some rows need escapes.
            return lamina_step_for_largest(index % 3 == 0 ? largest * 0.9 : largest)
        }
        let maxima = Self.maxima(weights, block: scheme is DynamicInt8 ? 2048 : 64)
        let first = row * columns / (scheme is DynamicInt8 ? 2048 : 64)
        weights.withUnsafeBufferPointer { weights in
            steps.withUnsafeBufferPointer { steps in
                maxima.withUnsafeBufferPointer { maxima in
                    var source = lamina_quantize_source()
                    source.weights = weights.baseAddress.map { $0 + row * columns }
                    source.stride = columns
                    source.rows = count
                    source.columns = columns
                    source.steps = steps.baseAddress
                    source.escapes = Int(LAMINA_ESCAPES)
                    source.row = row
                    source.matrix_rows = rows
                    source.maxima = maxima.baseAddress.map { $0 + first }
                    quantize(&source, &panel, scheme.form)
                }
            }
        }
        return panel
    }

    private static func quantize(
        _ source: UnsafePointer<lamina_quantize_source>, _ panel: UnsafeMutableRawPointer, _ form: lamina_scheme
    ) {
        let quantizers = kernels.pointee.quantize_panel
        switch form {
        case LAMINA_SCHEME_ROW8: quantizers.0?(source, panel)
        case LAMINA_SCHEME_Q8: quantizers.1?(source, panel)
        case LAMINA_SCHEME_Q4: quantizers.2?(source, panel)
        case LAMINA_SCHEME_NF4: quantizers.3?(source, panel)
        case LAMINA_SCHEME_NF4_DOUBLE: quantizers.4?(source, panel)
        default: quantizers.5?(source, panel)
        }
    }

    private static func maxima(_ weights: [Float], block: Int) -> [Float] {
        stride(from: 0, to: weights.count, by: block).map { start in
            weights[start..<min(start + block, weights.count)].map(abs).max() ?? 0
        }
    }

    /// The slot of one chunk.
    func chunk(_ index: Int, _ geometry: ChunkGeometry) -> [UInt8] {
        let extent = geometry.chunk(index)
        let bytes = panels[extent.firstUnit..<(extent.firstUnit + extent.unitCount)].flatMap { $0 }
        return bytes + [UInt8](repeating: 0, count: geometry.slotBytes - bytes.count)
    }

    /// The weights (rows, columns) that the panels stand for, as f32.
    var widened: [UInt8] {
        var values = [Float](repeating: 0, count: rows * columns)
        for (index, bytes) in panels.enumerated() {
            var column = [Float](repeating: 0, count: columns * 16)
            bytes.withUnsafeBytes { bytes in
                var panel = lamina_quantized_panel()
                panel.bytes = bytes.baseAddress
                panel.columns = columns
                panel.row = index * 16
                panel.rows = min(16, rows - index * 16)
                Self.kernels.pointee.dequantize(scheme.form, &panel, 0, columns, &column, 16)
            }
            for row in 0..<min(16, rows - index * 16) {
                for k in 0..<columns { values[(index * 16 + row) * columns + k] = column[k * 16 + row] }
            }
        }
        return values.withUnsafeBytes { Array($0) }
    }
}
