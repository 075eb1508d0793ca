import CKernels
import TensorCore

/// Turns panels of quantized weights into rows of numbers, on one thread.
public final class PanelDequantizer: @unchecked Sendable {
    // Sendable: each reader has its own.
    private static let rows = Int(LAMINA_QUANTIZED_ROWS)
    private static let chain = Int(LAMINA_CHAIN_LENGTH)
    /// Bytes that one takes.
    public static let memoryBytes = rows * chain * MemoryLayout<Float>.stride

    /// (columns of a chain, 16).
    private let values: AlignedBuffer
    private let kernels: KernelTable

    /// Throws `.limit`.
    public init(kernels: KernelTable) throws(LaminaError) {
        values = try AlignedBuffer(count: PanelDequantizer.memoryBytes)
        self.kernels = kernels
    }

    /// Writes the rows of chunk `index` (rows, columns), in the tensor's dtype, to `target`. `slot` is the decoded chunk.
    public func write(
        _ slot: UnsafeRawPointer, chunk index: Int, of tensor: TensorRecord, into target: UnsafeMutableRawPointer
    ) {
        let size = tensor.dtype.size
        forEachChain(slot, chunk: index, of: tensor) { values, row, column, count in
            let place = target + (row * tensor.geometry.columns + column) * size
            PanelDequantizer.narrow(values, to: tensor.dtype, at: place, count: count)
        }
    }

    /// The same as f32, exactly what is multiplied.
    public func writeFloats(
        _ slot: UnsafeRawPointer, chunk index: Int, of tensor: TensorRecord, into target: UnsafeMutablePointer<Float>
    ) {
        forEachChain(slot, chunk: index, of: tensor) { values, row, column, count in
            let place = target + row * tensor.geometry.columns + column
            for k in 0..<count { place[k] = values[k * PanelDequantizer.rows] }
        }
    }

    /// Calls `body` with the values of each row of each chain, 16 apart, the row counted from the chunk's first.
    private func forEachChain(
        _ slot: UnsafeRawPointer, chunk index: Int, of tensor: TensorRecord,
        _ body: (_ values: UnsafePointer<Float>, _ row: Int, _ column: Int, _ count: Int) -> Void
    ) {
        guard let scheme = tensor.codec as? any QuantizationScheme else { return }
        let geometry = tensor.geometry
        let extent = geometry.chunk(index)
        let floats = values.start.assumingMemoryBound(to: Float.self)
        for unit in 0..<extent.unitCount {
            var panel = lamina_quantized_panel(slot, unit: unit, of: extent, geometry)
            let firstRow = unit * PanelDequantizer.rows
            for column in stride(from: 0, to: geometry.columns, by: PanelDequantizer.chain) {
                let count = min(PanelDequantizer.chain, geometry.columns - column)
                kernels.pointee.dequantize(
                    scheme.form, &panel, column, count, floats, PanelDequantizer.rows)
                for row in 0..<panel.rows { body(floats + row, firstRow + row, column, count) }
            }
        }
    }

    /// Rounds to nearest, ties to even.
    private static func narrow(
        _ values: UnsafePointer<Float>, to dtype: DType, at target: UnsafeMutableRawPointer, count: Int
    ) {
        switch dtype {
        case .bfloat16:
            let words = target.assumingMemoryBound(to: UInt16.self)
            for k in 0..<count { words[k] = bfloat16Bits(of: values[k * rows]) }
        case .float16:
            let words = target.assumingMemoryBound(to: UInt16.self)
            for k in 0..<count { words[k] = Float16(values[k * rows]).bitPattern }
        default:
            let words = target.assumingMemoryBound(to: Float.self)
            for k in 0..<count { words[k] = values[k * rows] }
        }
    }
}

/// The bits of the nearest bfloat16, ties to even; values that are not numbers stay so.
func bfloat16Bits(of value: Float) -> UInt16 {
    let bits = value.bitPattern
    guard !value.isNaN else { return UInt16(bits >> 16) | 0x40 }
    return UInt16((bits + 0x7FFF + (bits >> 16 & 1)) >> 16)
}

extension lamina_quantized_panel {
    /// Panel `unit` of a chunk that covers `extent`; `slot` is the decoded chunk.
    public init(_ slot: UnsafeRawPointer, unit: Int, of extent: ChunkExtent, _ geometry: ChunkGeometry) {
        let row = (extent.firstUnit + unit) * geometry.unitRows
        self.init(
            bytes: slot + unit * geometry.panelBytes, columns: geometry.columns, row: row,
            rows: min(geometry.unitRows, geometry.rows - row))
    }
}

extension lamina_kernels {
    // Swift imports an array of C functions as a tuple of optionals; every table has all of them.
    /// `dequantize_panel` of a form.
    public func dequantize(
        _ form: lamina_scheme, _ panel: UnsafePointer<lamina_quantized_panel>, _ column: Int, _ count: Int,
        _ values: UnsafeMutablePointer<Float>, _ stride: Int
    ) {
        switch form {
        case LAMINA_SCHEME_ROW8: dequantize_panel.0?(panel, column, count, values, stride)
        case LAMINA_SCHEME_Q8: dequantize_panel.1?(panel, column, count, values, stride)
        case LAMINA_SCHEME_Q4: dequantize_panel.2?(panel, column, count, values, stride)
        case LAMINA_SCHEME_NF4: dequantize_panel.3?(panel, column, count, values, stride)
        case LAMINA_SCHEME_NF4_DOUBLE: dequantize_panel.4?(panel, column, count, values, stride)
        default: dequantize_panel.5?(panel, column, count, values, stride)
        }
    }
}
