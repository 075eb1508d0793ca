import CKernels
import LayerStore
import TensorCore

/// Quantizes chunks on one thread: source rows to f32, and panel by panel to the scheme's bytes.
final class PanelQuantizer {
    private static let rows = Int(LAMINA_QUANTIZED_ROWS)

    private let kernels: KernelTable
    /// The weights of a panel, and what else is in the blocks of the flattened tensor that it touches.
    private let weights: AlignedBuffer
    /// Of these blocks, the largest magnitudes.
    private let maxima: AlignedBuffer

    /// Room for panels of any of `jobs`. Throws `.limit`.
    init(jobs: [TensorJob], kernels: KernelTable) throws(LaminaError) {
        self.kernels = kernels
        weights = try AlignedBuffer(count: PanelQuantizer.weightBytes(jobs))
        maxima = try AlignedBuffer(count: PanelQuantizer.maximaBytes(jobs))
    }

    static func memoryBytes(for jobs: [TensorJob]) -> Int { weightBytes(jobs) + maximaBytes(jobs) }

    private static func weightBytes(_ jobs: [TensorJob]) -> Int {
        largest(jobs) { job, scheme in rows * job.geometry.columns + 2 * scheme.flatBlock }
    }

    private static func maximaBytes(_ jobs: [TensorJob]) -> Int {
        largest(jobs) { job, scheme in
            scheme.flatBlock == 1 ? 0 : rows * job.geometry.columns / scheme.flatBlock + 2
        }
    }

    private static func largest(_ jobs: [TensorJob], _ floats: (TensorJob, any QuantizationScheme) -> Int) -> Int {
        jobs.reduce(0) { most, job in
            guard let scheme = job.scheme else { return most }
            return max(most, floats(job, scheme) * MemoryLayout<Float>.stride)
        }
    }

    /// Fills `slot` with chunk `index`, zero behind its panels. `block` holds the chunk's source bytes and those of the
    /// flattened tensor's blocks around them. Throws `.malformed` for a weight that is not a number.
    func quantize(
        _ index: Int, of job: TensorJob, by scheme: any QuantizationScheme, block: Block,
        into slot: UnsafeMutableRawPointer
    ) throws(LaminaError) -> QuantizationLoss {
        let geometry = job.geometry
        let extent = geometry.chunk(index)
        let first = Int(job.readBytes(ofBlock: block.index).lowerBound) / job.dtype.size
        var loss = QuantizationLoss()
        for unit in extent.firstUnit..<(extent.firstUnit + extent.unitCount) {
            let panel = slot + (unit - extent.firstUnit) * geometry.panelBytes
            loss += try quantize(unit, of: job, by: scheme, block.readBytes, from: first, into: panel)
        }
        let used = extent.unitCount * geometry.panelBytes
        (slot + used).initializeMemory(as: UInt8.self, repeating: 0, count: geometry.slotBytes - used)
        return loss
    }

    /// Quantizes panel `unit`; `source` begins with element `first` of the flattened tensor.
    private func quantize(
        _ unit: Int, of job: TensorJob, by scheme: any QuantizationScheme, _ source: UnsafeRawBufferPointer,
        from first: Int, into panel: UnsafeMutableRawPointer
    ) throws(LaminaError) -> QuantizationLoss {
        let geometry = job.geometry
        let row = unit * PanelQuantizer.rows
        let rows = min(PanelQuantizer.rows, geometry.rows - row)
        let own = row * geometry.columns..<(row + rows) * geometry.columns
        let block = scheme.flatBlock
        let start = own.lowerBound / block * block
        let end = min(geometry.rows * geometry.columns, roundedUp(own.upperBound, to: block))
        let floats = weights.start.assumingMemoryBound(to: Float.self)
        guard let base = source.baseAddress else { return QuantizationLoss() }
        kernels.pointee.widen(job.dtype, base + (start - first) * job.dtype.size, into: floats, count: end - start)
        var quantized = lamina_quantize_source()
        quantized.weights = UnsafePointer(floats + (own.lowerBound - start))
        quantized.stride = geometry.columns
        quantized.rows = rows
        quantized.columns = geometry.columns
        quantized.row = row
        quantized.matrix_rows = geometry.rows
        var steps = [16 of UInt16](repeating: 0)
        for row in 0..<rows {
            steps[row] = try step(ofRow: row, quantized, job)
        }
        if block > 1 {
            let largest = maxima.start.assumingMemoryBound(to: Float.self)
            largest.update(repeating: 0, count: dividedUp(end - start, by: block))
            kernels.pointee.flat_maxima(floats, end - start, start, block, largest)
            quantized.maxima = UnsafePointer(largest)
        }
        var errors = lamina_panel_errors()
        withUnsafePointer(to: &steps) { pointer in
            quantized.steps = UnsafeRawPointer(pointer).assumingMemoryBound(to: UInt16.self)
            quantized.escapes = scheme.hasFreeStep ? Int(LAMINA_ESCAPES) : 0
            kernels.pointee.quantize(scheme.form, &quantized, panel)
            lamina_measure_panel(kernels, scheme.form, &quantized, panel, &errors)
        }
        return QuantizationLoss(errors, rows: rows)
    }

    /// The step of a row for schemes with one, and the check of its values. Throws `.malformed`.
    private func step(
        ofRow row: Int, _ source: lamina_quantize_source, _ job: TensorJob
    ) throws(LaminaError) -> UInt16 {
        var statistics = lamina_row_statistics()
        kernels.pointee.row_statistics(source.weights + row * source.stride, source.columns, &statistics)
        guard statistics.finite == source.columns else {
            let value = source.weights[row * source.stride + statistics.finite]
            throw LaminaError(
                .malformed, "", "the weight in row \(source.row + row), column \(statistics.finite) is \(value)",
                hint: "keep the tensor exact: --keep '\(job.name)=exact'", tensor: job.name)
        }
        guard let delta = job.quantization.step else { return lamina_step_for_largest(statistics.largest) }
        return lamina_step_for_rms(delta, statistics.squares, statistics.largest, source.columns)
    }
}

extension QuantizationLoss {
    /// Rows added in order.
    fileprivate init(_ sums: lamina_panel_errors, rows: Int) {
        withUnsafeBytes(of: sums) { bytes in
            let values = bytes.bindMemory(to: Double.self)
            let stride = Int(LAMINA_QUANTIZED_ROWS)
            for row in 0..<rows {
                squaredError += values[row]
                energy += values[stride + row]
            }
        }
    }
}

extension lamina_kernels {
    // Swift imports an array of C functions as a tuple of optionals; every table has all of them.
    /// `widen` of a dtype that can be quantized.
    fileprivate func widen(
        _ dtype: DType, _ source: UnsafeRawPointer, into target: UnsafeMutablePointer<Float>, count: Int
    ) {
        switch dtype {
        case .bfloat16: widen.0?(source, target, count)
        case .float16: widen.1?(source, target, count)
        default: widen.2?(source, target, count)
        }
    }

    /// `quantize_panel` of a form.
    fileprivate func quantize(
        _ form: lamina_scheme, _ source: UnsafePointer<lamina_quantize_source>, _ panel: UnsafeMutableRawPointer
    ) {
        switch form {
        case LAMINA_SCHEME_ROW8: quantize_panel.0?(source, panel)
        case LAMINA_SCHEME_Q8: quantize_panel.1?(source, panel)
        case LAMINA_SCHEME_Q4: quantize_panel.2?(source, panel)
        case LAMINA_SCHEME_NF4: quantize_panel.3?(source, panel)
        case LAMINA_SCHEME_NF4_DOUBLE: quantize_panel.4?(source, panel)
        default: quantize_panel.5?(source, panel)
        }
    }
}
