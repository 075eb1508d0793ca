import CKernels
import TensorCore

/// A lossy way to store matrices: panels of 16 rows (`panel16`), each with its scales. One per file in this folder;
/// formats/quantization.md has the bytes.
public protocol QuantizationScheme: Codec {
    /// The form of its decoded panels.
    var form: lamina_scheme { get }
    /// How a chunk of panels is stored.
    var coding: ChunkRecord.Encoding { get }
    /// Neighbours in the flattened tensor that share a scale, where blocks run on from row to row; else 1.
    var flatBlock: Int { get }
    /// Whether the step of a row is free: the rate is a choice then.
    var hasFreeStep: Bool { get }
}

extension QuantizationScheme {
    public var isLossless: Bool { false }
    public var dtype: DType? { nil }
    public var coding: ChunkRecord.Encoding { .raw }
    public var flatBlock: Int { 1 }
    public var hasFreeStep: Bool { false }

    public func planes(elementSize: Int) -> [PlaneSpecification] {
        [PlaneSpecification(name: "blocks", content: .panels, coding: coding)]
    }

    /// Nothing: panels are one plane.
    public func split(
        _ elements: UnsafeRawPointer, into planes: [UnsafeMutableRawPointer], count: Int, kernels: KernelTable
    ) {}

    /// Nothing: panels are one plane.
    public func merge(
        _ planes: UnsafePointer<UnsafeRawPointer>, into elements: UnsafeMutableRawPointer, count: Int,
        kernels: KernelTable
    ) {}

    /// Bytes of a panel of a matrix of 1 to `Schemes.mostColumns` columns.
    public func panelBytes(columns: Int) -> Int { lamina_quantized_slot_bytes(form, columns, 1) }
}

/// Every scheme of this version. Adding one: a file here, a line below, a section in formats/quantization.md.
public enum Schemes {
    public static let all: [any QuantizationScheme] = [
        RowInt8(), BlockInt8(), BlockCodebook4(), NormalFloat4(), NormalFloat4Double(), DynamicInt8(),
        EntropyCodedTiers(), EntropyCodedHuffman(),
    ]

    public static func named(_ name: String) -> (any QuantizationScheme)? { all.first { $0.name == name } }

    /// Columns are padded to a multiple of this, the length of a block of activations.
    public static let blockColumns = Int(LAMINA_QUANTIZED_BLOCK)
    /// Matrices with more columns are not quantized: a panel is never cut, and has to fit a chunk.
    public static let mostColumns = 1 << 19
}
