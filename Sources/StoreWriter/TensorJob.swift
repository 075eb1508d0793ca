import LayerStore
import TensorCore

/// One tensor to be stored: what it is, how it is to be stored, and where its bytes come from.
public struct TensorJob: Sendable {
    /// The manifest's entry, all but the digest, which writing finds out.
    public var name: String
    public var storedName: String
    public var dtype: DType
    public var shape: Shape
    public var layout: TensorLayout
    public var codec: any Codec
    public var geometry: ChunkGeometry
    public var sourceFile: Int
    /// The tensor's first byte in its file's data part.
    public var sourceOffset: UInt64
    public var unusedBecause: String?
    /// Reads a range of the tensor's bytes into whole pages, with room for every page of its file that the range
    /// touches; returns where in them the range begins. Safe from any thread.
    public var read: @Sendable (_ pages: UnsafeMutableRawBufferPointer, _ range: ByteRange) throws(LaminaError) -> Int

    public init(
        name: String, storedName: String, dtype: DType, shape: Shape, layout: TensorLayout, codec: any Codec,
        chunkBytes: Int, sourceFile: Int, sourceOffset: UInt64, unusedBecause: String? = nil,
        read: @escaping @Sendable (UnsafeMutableRawBufferPointer, ByteRange) throws(LaminaError) -> Int
    ) {
        self.name = name
        self.storedName = storedName
        self.dtype = dtype
        self.shape = shape
        self.layout = layout
        self.codec = codec
        geometry = ChunkGeometry(shape: shape, dtype: dtype, layout: layout, targetBytes: chunkBytes)
        self.sourceFile = sourceFile
        self.sourceOffset = sourceOffset
        self.unusedBecause = unusedBecause
        self.read = read
    }

    /// Bytes in the source.
    public var byteCount: UInt64 { UInt64(shape.elementCount) * UInt64(dtype.size) }

    func manifestEntry(digest: SHA256Digest) -> Manifest.Tensor {
        Manifest.Tensor(
            name: name, storedName: storedName, dtype: dtype, shape: shape, layout: layout, codec: codec.name,
            sourceFile: sourceFile, sourceOffset: sourceOffset, digest: digest, unusedBecause: unusedBecause)
    }

    // MARK: Blocks

    /// The chunks that are made from one contiguous piece of the source: one chunk, or, where a panel is split by
    /// columns, all chunks of the panel.
    var chunksPerBlock: Int { geometry.chunksPerSourceBlock }
    var blockCount: Int { geometry.chunkCount / chunksPerBlock }

    /// The source bytes of block `index`.
    func sourceBytes(ofBlock index: Int) -> ByteRange {
        geometry.sourceBytes(ofBlockFrom: index * chunksPerBlock)
    }

    /// Source bytes of the largest block.
    var largestBlockBytes: Int { blockCount == 0 ? 0 : sourceBytes(ofBlock: 0).count }
    /// Room for the pages of a file that a block touches.
    var sourcePageBytes: Int {
        roundedUp(largestBlockBytes, to: AlignedBuffer.alignment) + AlignedBuffer.alignment
    }
    /// Room for a block's encoded chunks, however badly they compress.
    var encodedBlockBytes: Int {
        codec.planes(elementSize: dtype.size).reduce(0) { $0 + encodedBytes(of: $1) } * chunksPerBlock
    }

    /// Room for one chunk's plane, in whole pages.
    func encodedBytes(of plane: PlaneSpecification) -> Int {
        let count = geometry.slotElements * plane.bytesPerElement
        let bound =
            switch plane.coding {
            case .raw: count
            case .zstd: LiteralZstdEncoder.bound(count)
            case .expTier: max(count, TierChunk.bound(geometry))
            }
        return roundedUp(bound, to: AlignedBuffer.alignment)
    }
}
