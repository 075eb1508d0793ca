import CKernels
import TensorCore

/// `exp-huf` for BF16: the word is rotated so that its eight exponent bits form one byte plane, which is Huffman-coded;
/// sign and mantissa, which are noise, stay raw. Ratio 1.49–1.51 on trained weights.
public struct ExponentHuffman: Codec {
    public init() {}
    public var identifier: UInt8 { 1 }
    public var name: String { "exp-huf" }
    public var dtype: DType? { .bfloat16 }

    public func planes(elementSize: Int) -> [PlaneSpecification] {
        [
            PlaneSpecification(name: "exponent", bytesPerElement: 1, coding: .zstd),
            PlaneSpecification(name: "sign_mantissa", bytesPerElement: 1, coding: .raw),
        ]
    }

    public func split(
        _ elements: UnsafeRawPointer, into planes: [UnsafeMutableRawPointer], count: Int, kernels: KernelTable
    ) {
        kernels.pointee.split_bf16(
            elements.assumingMemoryBound(to: UInt16.self), planes[0].assumingMemoryBound(to: UInt8.self),
            planes[1].assumingMemoryBound(to: UInt8.self), count)
    }

    public func merge(
        _ planes: UnsafePointer<UnsafeRawPointer>, into elements: UnsafeMutableRawPointer, count: Int,
        kernels: KernelTable
    ) {
        kernels.pointee.merge_bf16(
            planes[0].assumingMemoryBound(to: UInt8.self), planes[1].assumingMemoryBound(to: UInt8.self),
            elements.assumingMemoryBound(to: UInt16.self), count)
    }
}
