import CKernels
import TensorCore

/// `fp32-planes` for FP32: rotated left by one, then four byte planes, each coded where that pays. The exponent plane
/// always does (ratio 1.19); the low planes do when the numbers were 16-bit floats before (ratio 2.3).
public struct Float32Planes: Codec {
    public init() {}
    public var identifier: UInt8 { 3 }
    public var name: String { "fp32-planes" }
    public var dtype: DType? { .float32 }

    public func planes(elementSize: Int) -> [PlaneSpecification] {
        ["exponent", "mantissa_high", "mantissa_middle", "mantissa_low_sign"].map {
            PlaneSpecification(name: $0, bytesPerElement: 1, coding: .zstd)
        }
    }

    public func split(
        _ elements: UnsafeRawPointer, into planes: [UnsafeMutableRawPointer], count: Int, kernels: KernelTable
    ) {
        let targets: [UnsafeMutablePointer<UInt8>?] = planes.map { $0.assumingMemoryBound(to: UInt8.self) }
        targets.withUnsafeBufferPointer {
            kernels.pointee.split_f32(elements.assumingMemoryBound(to: UInt32.self), $0.baseAddress, count)
        }
    }

    public func merge(
        _ planes: UnsafePointer<UnsafeRawPointer>, into elements: UnsafeMutableRawPointer, count: Int,
        kernels: KernelTable
    ) {
        planes.withMemoryRebound(to: UnsafePointer<UInt8>?.self, capacity: 4) {
            kernels.pointee.merge_f32($0, elements.assumingMemoryBound(to: UInt32.self), count)
        }
    }
}
