import CKernels
import LayerStore

// Swift imports an array of C functions as a tuple of optionals; every table has all of them.
extension UnsafePointer where Pointee == lamina_kernels {
    /// `count` weights to f32.
    func widen(
        _ type: WeightType, _ source: UnsafeRawPointer, to target: UnsafeMutablePointer<Float>, count: Int
    ) {
        switch type {
        case .bfloat16: pointee.widen.0?(source, target, count)
        case .float16: pointee.widen.1?(source, target, count)
        case .float32: pointee.widen.2?(source, target, count)
        }
    }

    /// One panel times all columns.
    func multiply(_ type: WeightType, _ task: inout lamina_panel_task) {
        switch type {
        case .bfloat16: pointee.multiply_panel.0?(&task)
        case .float16: pointee.multiply_panel.1?(&task)
        case .float32: pointee.multiply_panel.2?(&task)
        }
    }
}
