import TensorCore

/// Where one plane of one chunk lies in its shard.
public struct ChunkRecord: Sendable, Equatable {
    /// How the stored bytes decode.
    public enum Encoding: UInt8, Sendable {
        case raw = 0
        case zstd = 1
        /// The exponents' ranks in tiers of two bits (formats/shard.md, "exp-tier").
        case expTier = 2
        /// The codes of quantized panels in tiers (formats/ecq-tier.md).
        case ecqTier = 3
    }

    /// Absolute, a multiple of 4096.
    public var offset: UInt64
    /// Bytes stored; for `.raw` the plane's slot.
    public var storedSize: UInt32
    public var encoding: Encoding
    /// XXH3-64 of the stored bytes.
    public var hash: UInt64

    public init(offset: UInt64, storedSize: UInt32, encoding: Encoding, hash: UInt64) {
        self.offset = offset
        self.storedSize = storedSize
        self.encoding = encoding
        self.hash = hash
    }
}

/// One tensor in a shard: its identity, its geometry and its chunks.
public struct TensorRecord: Sendable {
    /// The name with `*` for the layer index, so that equal layers give equal shards.
    public var name: String
    public var dtype: DType
    public var shape: Shape
    public var codec: any Codec
    public var geometry: ChunkGeometry
    /// Chunk-major: chunk 0 plane 0, chunk 0 plane 1, …
    public var chunks: [ChunkRecord]

    public init(
        name: String, dtype: DType, shape: Shape, codec: any Codec, geometry: ChunkGeometry, chunks: [ChunkRecord]
    ) {
        self.name = name
        self.dtype = dtype
        self.shape = shape
        self.codec = codec
        self.geometry = geometry
        self.chunks = chunks
    }

    public var planes: [PlaneSpecification] { codec.planes(elementSize: dtype.size) }

    /// The record of `plane` in chunk `chunk`.
    public func record(chunk: Int, plane: Int, planeCount: Int) -> ChunkRecord { chunks[chunk * planeCount + plane] }

    /// Bytes stored in the shard, without alignment.
    public var storedBytes: UInt64 { chunks.reduce(0) { $0 + UInt64($1.storedSize) } }
    /// The same in bits for each element.
    public var bitsPerWeight: Double { 8 * Double(storedBytes) / Double(max(1, shape.elementCount)) }
}

/// The flat header in a shard's HDF5 user block: everything a reader needs, without libhdf5. Layout in formats/shard.md.
public struct ShardHeader: Sendable {
    public static let magic: [UInt8] = [0x93] + Array("LAMINA\n".utf8)
    public static let version: UInt32 = 1
    /// Bytes before the tensor table.
    public static let fixedSize = 64
    /// Chunk data begins at multiples of this, for direct I/O.
    public static let alignment: UInt64 = 4096
    /// No chunk's decoded slot is larger; readers size their buffers by what a store uses, up to this.
    public static let maximumChunkBytes = 64 << 20
    /// No header is larger: 16 million chunk records.
    public static let maximumUserBlock: UInt64 = 1 << 29
    static let recordSize = 24

    public var userBlockSize: UInt64
    /// The shard's size in bytes, HDF5 structure included.
    public var fileSize: UInt64
    public var tensors: [TensorRecord]

    public init(userBlockSize: UInt64, fileSize: UInt64, tensors: [TensorRecord]) {
        self.userBlockSize = userBlockSize
        self.fileSize = fileSize
        self.tensors = tensors
    }

    /// The user block for tensors with these chunk tables: the next power of two, at least 4096.
    public static func userBlockSize(for tensors: [(name: String, rank: Int, chunkRecords: Int)]) -> UInt64 {
        var size = UInt64(fixedSize)
        for tensor in tensors {
            size += UInt64(tensorRecordSize(nameBytes: tensor.name.utf8.count, rank: tensor.rank))
            size += UInt64(tensor.chunkRecords * recordSize)
        }
        var block: UInt64 = 4096
        while block < size { block *= 2 }
        return block
    }

    /// Bytes of a tensor's record before its chunk table.
    static func tensorRecordSize(nameBytes: Int, rank: Int) -> Int { 32 + 8 * rank + roundedUp(nameBytes, to: 8) }
}
