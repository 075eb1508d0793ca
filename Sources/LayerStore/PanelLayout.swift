import CKernels
import TensorCore

extension lamina_kernels {
    /// Lays `rows` source rows out as one panel `width` rows wide. `dtype` is BF16, FP16 or FP32: the plan and the
    /// header reader let no other into panels.
    public func pack(
        _ dtype: DType, _ source: UnsafeRawPointer, stride: Int, rows: Int, width: Int, columns: Int,
        into panel: UnsafeMutableRawPointer
    ) {
        switch dtype {
        case .bfloat16: pack_panel.0?(source, stride, rows, width, columns, panel)
        case .float16: pack_panel.1?(source, stride, rows, width, columns, panel)
        default: pack_panel.2?(source, stride, rows, width, columns, panel)
        }
    }

    /// The inverse of `pack`; padding is dropped.
    public func unpack(
        _ dtype: DType, _ panel: UnsafeRawPointer, width: Int, rows: Int, columns: Int,
        into target: UnsafeMutableRawPointer, stride: Int
    ) {
        switch dtype {
        case .bfloat16: unpack_panel.0?(panel, width, rows, columns, target, stride)
        case .float16: unpack_panel.1?(panel, width, rows, columns, target, stride)
        default: unpack_panel.2?(panel, width, rows, columns, target, stride)
        }
    }
}

extension DType {
    /// Whether matrices of this type can be laid out as panels.
    public var fitsPanels: Bool { self == .bfloat16 || self == .float16 || self == .float32 }
}
