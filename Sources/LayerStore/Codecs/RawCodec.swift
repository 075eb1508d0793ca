import TensorCore

/// `raw`: the elements as they are, in one plane.
public struct RawCodec: Codec {
    public init() {}
    public var identifier: UInt8 { 0 }
    public var name: String { "raw" }
    public var dtype: DType? { nil }

    public func planes(elementSize: Int) -> [PlaneSpecification] {
        [PlaneSpecification(name: "data", bytesPerElement: elementSize, coding: .raw)]
    }

    public func split(
        _ elements: UnsafeRawPointer, into planes: [UnsafeMutableRawPointer], count: Int, kernels: KernelTable
    ) {
        // One plane, whose elements the caller has already in place: readers and writers skip the copy.
    }

    public func merge(
        _ planes: UnsafePointer<UnsafeRawPointer>, into elements: UnsafeMutableRawPointer, count: Int,
        kernels: KernelTable
    ) {}
}
