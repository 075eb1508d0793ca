import CKernels
import LayerStore
import TensorCore

// Swift imports an array of C functions as a tuple of optionals; every table has all of them.
extension UnsafePointer where Pointee == lamina_kernels {
    /// `count` weights to f32, without scales.
    func widen(
        _ type: WeightType, _ source: UnsafeRawPointer, to target: UnsafeMutablePointer<Float>, count: Int
    ) {
        switch type {
        case .bfloat16: pointee.widen.0?(source, target, count)
        case .float16: pointee.widen.1?(source, target, count)
        case .float32: pointee.widen.2?(source, target, count)
        case .float8:
            pointee.widen_f8(LAMINA_WEIGHT_E4M3, source.assumingMemoryBound(to: UInt8.self), 1, target, count)
        }
    }

    /// `multiply_dequantized` of a form: panels of f32 weights times one column, unless that has to go through memory.
    func multiplyDequantized(
        _ form: lamina_scheme, _ panels: UnsafePointer<lamina_quantized_panel>, count: Int, _ x: UnsafePointer<Float>,
        to y: UnsafeMutablePointer<Float>
    ) -> Bool {
        let functions = pointee.multiply_dequantized
        return switch form {
        case LAMINA_SCHEME_ROW8: functions.0?(panels, count, x, y) ?? false
        case LAMINA_SCHEME_Q8: functions.1?(panels, count, x, y) ?? false
        case LAMINA_SCHEME_Q4: functions.2?(panels, count, x, y) ?? false
        case LAMINA_SCHEME_NF4: functions.3?(panels, count, x, y) ?? false
        case LAMINA_SCHEME_NF4_DOUBLE: functions.4?(panels, count, x, y) ?? false
        default: functions.5?(panels, count, x, y) ?? false
        }
    }

    /// One panel times all columns. `widened` is room for a chain of a panel of 8-bit floats, whose scales `scales` are.
    func multiply(
        _ type: WeightType, _ task: inout lamina_panel_task, scales: PanelScales? = nil,
        widened: UnsafeMutablePointer<Float>
    ) {
        switch type {
        case .bfloat16: pointee.multiply_panel.0?(&task)
        case .float16: pointee.multiply_panel.1?(&task)
        case .float32: pointee.multiply_panel.2?(&task)
        case .float8: multiplyFloat8(task, scales: scales, widened: widened)
        }
    }

    /// Widened a chain at a time, so that the weights stay in the cache.
    private func multiplyFloat8(
        _ task: lamina_panel_task, scales: PanelScales?, widened: UnsafeMutablePointer<Float>
    ) {
        guard let weights = task.weights else { return }
        var chain = task
        chain.weights = UnsafeRawPointer(widened)
        for start in stride(from: 0, to: task.k_count, by: Int(LAMINA_CHAIN_LENGTH)) {
            chain.k_begin = task.k_begin + start
            chain.k_count = Swift.min(Int(LAMINA_CHAIN_LENGTH), task.k_count - start)
            var k = 0
            while k < chain.k_count {
                let (scale, count) = scales?.scale(at: chain.k_begin + k) ?? (1, chain.k_count)
                let few = Swift.min(count, chain.k_count - k)
                let bytes = (weights + (start + k) * task.width).assumingMemoryBound(to: UInt8.self)
                pointee.widen_f8(LAMINA_WEIGHT_E4M3, bytes, scale, widened + k * task.width, few * task.width)
                k += few
            }
            pointee.multiply_panel.2?(&chain)
        }
    }
}

/// The scales of one panel of 8-bit floats.
struct PanelScales {
    /// Those of the panel's rows, one per block of columns.
    let start: UnsafePointer<Float>
    let columnsPerBlock: Int

    /// Bytes of a chain of a full panel, widened.
    static let widenedFloats = Int(LAMINA_CHAIN_LENGTH) * 64

    /// `nil` for matrices without scales. A panel lies in one block of rows.
    init?(_ matrix: PlannedMatrix, panel: Int, _ blocks: Float8Blocks?, _ vectors: ResidentVectors) {
        guard let offset = matrix.scales, let blocks else { return nil }
        let perRow = dividedUp(matrix.columns, by: blocks.columns)
        start = vectors.vector(offset) + panel * 64 / blocks.rows * perRow
        columnsPerBlock = blocks.columns
    }

    /// Multiplies `count` widened weights of a row, which begin at column `first`, with their scales.
    func apply(to row: UnsafeMutablePointer<Float>, from first: Int, count: Int, _ kernels: KernelTable) {
        var k = 0
        while k < count {
            let (scale, most) = scale(at: first + k)
            let few = min(most, count - k)
            kernels.pointee.scale(row + k, scale, few)
            k += few
        }
    }

    /// The scale of column `k`, and how many columns from there on share it.
    func scale(at k: Int) -> (scale: Float, count: Int) {
        (start[k / columnsPerBlock], columnsPerBlock - k % columnsPerBlock)
    }
}

extension WeightType {
    /// As the kernels number it.
    var kernelType: lamina_weight_type {
        switch self {
        case .bfloat16: LAMINA_WEIGHT_BF16
        case .float16: LAMINA_WEIGHT_F16
        case .float32: LAMINA_WEIGHT_F32
        case .float8: LAMINA_WEIGHT_E4M3
        }
    }
}
