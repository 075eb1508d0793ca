import CKernels
import TensorCore

/// One of the byte streams a codec takes elements apart into.
public struct PlaneSpecification: Sendable, Equatable {
    /// What a slot of it holds.
    public enum Content: Sendable, Equatable {
        /// So many bytes of every element.
        case elements(bytes: Int)
        /// Panels of quantized weights, whose size the scheme says.
        case panels
    }

    /// Name of the plane's dataset in the shard.
    public let name: String
    public let content: Content
    /// How chunks are coded; one whose coding gains less than 3 % is stored raw all the same.
    public let coding: ChunkRecord.Encoding

    public init(name: String, content: Content, coding: ChunkRecord.Encoding) {
        self.name = name
        self.content = content
        self.coding = coding
    }

    init(name: String, bytesPerElement: Int, coding: ChunkRecord.Encoding) {
        self.init(name: name, content: .elements(bytes: bytesPerElement), coding: coding)
    }

    /// Bytes of a slot of this plane.
    public func slotBytes(_ geometry: ChunkGeometry) -> Int {
        switch content {
        case .elements(let bytes): geometry.slotElements * bytes
        case .panels: geometry.slotBytes
        }
    }
}

/// A way to store elements: split into planes, each stored as it is or coded. Lossless, unless it is a
/// `QuantizationScheme`.
public protocol Codec: Sendable {
    /// Stable number in shard headers, never reused.
    var identifier: UInt8 { get }
    /// Stable name in manifests and on command lines.
    var name: String { get }
    /// The dtypes it takes; `nil` for all.
    var dtype: DType? { get }
    /// Whether merging gives back every bit.
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

    public static let lossless: [any Codec] = [
        RawCodec(), ExponentTiers(), ExponentHuffman(), Float16Huffman(), Float32Planes(),
    ]

    public static let all: [any Codec] = lossless + Schemes.all

    public static func named(_ name: String) -> (any Codec)? { all.first { $0.name == name } }
    public static func identified(_ identifier: UInt8) -> (any Codec)? { all.first { $0.identifier == identifier } }

    /// The codec `dtype` is stored with unless the user names another.
    public static func standard(for dtype: DType) -> any Codec {
        lossless.first { $0.dtype == dtype } ?? RawCodec()
    }
}
