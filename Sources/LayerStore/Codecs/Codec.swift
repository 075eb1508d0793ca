import CKernels
import TensorCore

/// One of the byte streams a codec takes elements apart into.
public struct PlaneSpecification: Sendable, Equatable {
    /// Name of the plane's dataset in the shard.
    public let name: String
    public let bytesPerElement: Int
    /// How chunks are coded; one whose coding gains less than 3 % is stored raw all the same.
    public let coding: ChunkRecord.Encoding
}

/// A way to store elements: split into planes, each stored as it is or coded.
public protocol Codec: Sendable {
    /// Stable number in shard headers, never reused.
    var identifier: UInt8 { get }
    /// Stable name in manifests and on command lines.
    var name: String { get }
    /// The dtypes it takes; `nil` for all.
    var dtype: DType? { get }
    /// Whether decoding gives the source's bytes back; true unless a codec says otherwise.
    var isLossless: Bool { get }
    /// Planes for elements of `elementSize` bytes; at most four.
    func planes(elementSize: Int) -> [PlaneSpecification]
    /// Takes `count` elements apart; every plane has exactly its size.
    func split(_ elements: UnsafeRawPointer, into planes: [UnsafeMutableRawPointer], count: Int, kernels: KernelTable)
    /// Puts `count` elements together again.
    func merge(
        _ planes: UnsafePointer<UnsafeRawPointer>, into elements: UnsafeMutableRawPointer, count: Int,
        kernels: KernelTable)
}

extension Codec {
    public var isLossless: Bool { true }
}

/// The C functions for one instruction set.
public typealias KernelTable = UnsafePointer<lamina_kernels>

/// Every codec of this version. Adding one: a file here, a line below, a paragraph in formats/shard.md.
public enum Codecs {
    /// At most this many planes, so that the hot path needs no growing lists.
    public static let maximumPlanes = 4

    public static let all: [any Codec] = [
        RawCodec(), ExponentTiers(), ExponentHuffman(), Float16Huffman(), Float32Planes(),
    ]

    public static func named(_ name: String) -> (any Codec)? { all.first { $0.name == name } }
    public static func identified(_ identifier: UInt8) -> (any Codec)? { all.first { $0.identifier == identifier } }

    /// The codec `dtype` is stored with unless the user names another.
    public static func standard(for dtype: DType) -> any Codec {
        all.first { $0.dtype == dtype } ?? RawCodec()
    }
}
