import LayerStore
import TensorCore

/// One tensor to be stored: what it is, how it is to be stored, and where its bytes come from.
public struct TensorJob: Sendable {
    /// Reads a range of bytes into whole pages, with room for every page of its file that the range touches; returns where
    /// in them the range begins. Safe from any thread.
    public typealias Read =
        @Sendable (
            _ pages: UnsafeMutableRawBufferPointer, _ range: ByteRange
        ) throws(LaminaError) -> Int

    /// What the manifest says the SHA-256 of the source's bytes is.
    public enum Digest: Sendable {
        /// What the bytes that are read turn out to have.
        case found
        /// This; bytes that have another are damage.
        case expected(SHA256Digest)
        /// This, of bytes that nobody has any more.
        case noted(SHA256Digest)
    }

    /// The manifest's entry, all but what writing finds out.
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
    public var digest = Digest.found
    /// How it is quantized, where the codec is a scheme.
    public var quantization = QuantizationParameters()
    /// Chunks of another store that are taken over as they are.
    public var copied: CopiedChunks?
    /// Reads the tensor's bytes; of copied chunks the bytes of their shard.
    public var read: Read

    public init(
        name: String, storedName: String, dtype: DType, shape: Shape, layout: TensorLayout, codec: any Codec,
        chunkBytes: Int, sourceFile: Int, sourceOffset: UInt64, unusedBecause: String? = nil, read: @escaping Read
    ) {
        self.name = name
        self.storedName = storedName
        self.dtype = dtype
        self.shape = shape
        self.layout = layout
        self.codec = codec
        geometry = ChunkGeometry(
            shape: shape, dtype: dtype, layout: layout, scheme: codec as? any QuantizationScheme,
            targetBytes: chunkBytes)
        self.sourceFile = sourceFile
        self.sourceOffset = sourceOffset
        self.unusedBecause = unusedBecause
        self.read = read
    }

    /// A tensor of another store, to be stored with the chunks it has there; `read` reads its shard.
    public init(copying chunks: CopiedChunks, read: @escaping Read) {
        let entry = chunks.entry
        name = entry.name
        storedName = entry.storedName
        dtype = entry.dtype
        shape = entry.shape
        layout = entry.layout
        codec = chunks.record.codec
        geometry = chunks.record.geometry
        sourceFile = entry.sourceFile
        sourceOffset = entry.sourceOffset
        unusedBecause = entry.unusedBecause
        digest = .noted(entry.digest)
        copied = chunks
        self.read = read
    }

    /// Bytes in the source.
    public var byteCount: UInt64 { UInt64(shape.elementCount) * UInt64(dtype.size) }

    /// The scheme the tensor is quantized with; `nil` for lossless codecs and for copies.
    public var scheme: (any QuantizationScheme)? { copied == nil ? codec as? any QuantizationScheme : nil }

    /// `found` is the digest of the bytes that were read, `loss` what quantizing them cost. Throws `.damaged` if they are
    /// not the source's.
    func manifestEntry(found: SHA256Digest, loss: QuantizationLoss) throws(LaminaError) -> Manifest.Tensor {
        if let copied { return copied.entry }
        var entry = Manifest.Tensor(
            name: name, storedName: storedName, dtype: dtype, shape: shape, layout: layout, codec: codec.name,
            sourceFile: sourceFile, sourceOffset: sourceOffset, digest: found, unusedBecause: unusedBecause)
        switch digest {
        case .found: break
        case .noted(let digest): entry.digest = digest
        case .expected(let digest):
            guard digest == found else {
                throw LaminaError(
                    .damaged, "", "the decoded tensor differs from its source", expected: digest.description,
                    found: found.description, tensor: name)
            }
        }
        if scheme != nil {
            entry.quantization = Manifest.Quantization(
                relativeError: loss.relativeError(after: quantization.sourceError), step: quantization.step)
        }
        return entry
    }

    // MARK: Blocks

    /// The chunks that are made from one contiguous piece of the source: one chunk, or, where a panel is split by
    /// columns, all chunks of the panel.
    var chunksPerBlock: Int { copied == nil ? geometry.chunksPerSourceBlock : 1 }
    var blockCount: Int { geometry.chunkCount / chunksPerBlock }

    /// The bytes of the tensor that are stored with block `index`.
    func sourceBytes(ofBlock index: Int) -> ByteRange {
        geometry.sourceBytes(ofBlockFrom: index * chunksPerBlock)
    }

    /// The bytes that have to be read for block `index`: those that it stores, and what else is in the blocks of the
    /// flattened tensor that share a scale with them; of copies, bytes of the shard.
    func readBytes(ofBlock index: Int) -> ByteRange {
        if let copied { return copied.record.extent(ofChunk: index) }
        let bytes = sourceBytes(ofBlock: index)
        guard let scheme, scheme.flatBlock > 1 else { return bytes }
        let step = UInt64(scheme.flatBlock * dtype.size)
        return bytes.lowerBound / step * step..<min(byteCount, (bytes.upperBound + step - 1) / step * step)
    }

    /// The most bytes that are read for a block.
    var largestBlockBytes: Int {
        guard blockCount > 0 else { return 0 }
        if let copied {
            return (0..<blockCount).reduce(0) { max($0, copied.record.extent(ofChunk: $1).count) }
        }
        return sourceBytes(ofBlock: 0).count + 2 * ((scheme?.flatBlock ?? 1) - 1) * dtype.size
    }
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
        let count = plane.slotBytes(geometry)
        let bound =
            switch plane.coding {
            case .raw: count
            case .zstd: LiteralZstdEncoder.bound(count)
            case .expTier: max(count, TierChunk.bound(geometry))
            case .ecqTier: max(count, CodeTierChunk.bound(geometry))
            }
        return roundedUp(bound, to: AlignedBuffer.alignment)
    }
}

/// Chunks of another store that are taken over as they are, and what its manifest says of their tensor.
public struct CopiedChunks: Sendable {
    public var record: TensorRecord
    public var entry: Manifest.Tensor

    public init(record: TensorRecord, entry: Manifest.Tensor) {
        self.record = record
        self.entry = entry
    }
}
