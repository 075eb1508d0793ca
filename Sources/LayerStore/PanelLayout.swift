import CKernels
import TensorCore

extension lamina_kernels {
    /// Lays `rows` source rows out as one panel `width` rows wide. `dtype` is one of those that
    /// fit panels: the plan and the header reader let no other into them.
    public func pack(
        _ dtype: DType, _ source: UnsafeRawPointer, stride: Int, rows: Int, width: Int, columns: Int,
        into panel: UnsafeMutableRawPointer
    ) {
        switch dtype {
        case .bfloat16: pack_panel.0?(source, stride, rows, width, columns, panel)
        case .float16: pack_panel.1?(source, stride, rows, width, columns, panel)
        case .float8E4M3, .float8E5M2: pack_panel.3?(source, stride, rows, width, columns, panel)
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
        case .float8E4M3, .float8E5M2: unpack_panel.3?(panel, width, rows, columns, target, stride)
        default: unpack_panel.2?(panel, width, rows, columns, target, stride)
        }
    }
}

extension DType {
    /// Whether matrices of this type can be laid out as panels.
    public var fitsPanels: Bool {
        switch self {
        case .bfloat16, .float16, .float32, .float8E4M3, .float8E5M2: true
        default: false
        }
    }

    /// Whether matrices of this type can be laid out so.
    func fits(_ layout: TensorLayout) -> Bool {
        switch layout {
        case .rows: true
        case .panel64: fitsPanels
        case .panel16: isQuantizable
        }
    }

    /// Whether matrices of this type can be quantized.
    public var isQuantizable: Bool {
        switch self {
        case .bfloat16, .float16, .float32: true
        default: false
        }
    }
}
