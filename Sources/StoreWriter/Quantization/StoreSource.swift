import LayerStore
import Synchronization
import TensorCore

/// A store as the source of another: its tensors decoded to the bytes of their checkpoint, or its chunks as they are.
public final class StoreSource: ConversionSource, Sendable {
    public let store: Store
    /// In the order of the manifest.
    public let headers: [ShardHeader]
    private let shards: [StoredShard]
    private let readers: ReaderPool

    /// Opens every shard. Throws `.damaged`, `.malformed`, `.io`.
    public init(_ store: Store, kernels: KernelTable) throws(LaminaError) {
        self.store = store
        var headers: [ShardHeader] = []
        var shards: [StoredShard] = []
        for shard in store.manifest.shards {
            let file = try store.open(shard)
            headers.append(try store.header(of: shard, file: file))
            shards.append(StoredShard(shard, of: store, file))
        }
        self.headers = headers
        self.shards = shards
        readers = ReaderPool(tensors: headers.flatMap(\.tensors), kernels: kernels)
    }

    /// A tensor decoded, to be stored with `codec` in `layout`.
    public func job(
        shard: Int, tensor: Int, layout: TensorLayout, codec: any Codec, chunkBytes: Int
    ) -> TensorJob {
        let entry = store.manifest.shards[shard].tensors[tensor]
        let record = headers[shard].tensors[tensor]
        let (file, readers) = (shards[shard], readers)
        var job = TensorJob(
            name: entry.name, storedName: entry.storedName, dtype: entry.dtype, shape: entry.shape, layout: layout,
            codec: codec, chunkBytes: chunkBytes, sourceFile: entry.sourceFile, sourceOffset: entry.sourceOffset,
            unusedBecause: entry.unusedBecause
        ) { (pages, range) throws(LaminaError) in
            try readers.read(range, of: record, in: file, into: pages)
            return 0
        }
        job.digest = record.codec.isLossless ? .expected(entry.digest) : .noted(entry.digest)
        job.quantization.sourceError = entry.quantization?.relativeError ?? 0
        return job
    }

    /// A tensor whose chunks are taken over.
    public func copy(shard: Int, tensor: Int) -> TensorJob {
        let chunks = CopiedChunks(
            record: headers[shard].tensors[tensor], entry: store.manifest.shards[shard].tensors[tensor])
        let file = shards[shard]
        return TensorJob(copying: chunks) { (pages, range) throws(LaminaError) in
            try file.readPages(range, into: pages)
            return 0
        }
    }

    /// Nothing: every chunk that is read is compared with its checksum.
    public func checkUnchanged(_ index: Int) throws(LaminaError) {}

    /// Nothing: a store's shards stay.
    public func release(_ index: Int) {}
}

/// An open shard.
private final class StoredShard: Sendable {
    private let layer: String
    private let file: OpenFile
    /// Past the page cache, where the file system can: a model larger than the memory would push everything else out.
    private let direct: OpenFile?

    init(_ shard: Manifest.Shard, of store: Store, _ file: OpenFile) {
        layer = shard.layer
        self.file = file
        direct = try? store.open(shard, direct: true)
        file.adviseSequential()
    }

    /// Calls `body` with the file to read pages from. Throws what it throws, with the layer's name.
    func reading(_ body: (OpenFile) throws(LaminaError) -> Void) throws(LaminaError) {
        do throws(LaminaError) {
            try body(direct ?? file)
        } catch {
            var located = error
            located.layer = layer
            throw located
        }
    }

    /// Whole pages; the file may end in the last one. Throws `.io`, `.damaged`.
    func readPages(_ range: ByteRange, into pages: UnsafeMutableRawBufferPointer) throws(LaminaError) {
        try reading { (file) throws(LaminaError) in
            let buffer = UnsafeMutableRawBufferPointer(rebasing: pages[0..<range.count])
            _ = try file.read(into: buffer, at: range.lowerBound)
        }
    }
}

/// Readers of blocks for as many threads as read at once; they stay for the next.
private final class ReaderPool: Sendable {
    private struct Reader {
        let blocks: SourceBlockReader
        let rows: Rows
    }

    /// Room for a block of which only a part is wanted.
    private final class Rows: Sendable {
        let buffer: AlignedBuffer

        init(count: Int) throws(LaminaError) { buffer = try AlignedBuffer(count: count) }
    }

    private let tensors: [TensorRecord]
    private let rowBytes: Int
    /// Constant for the life of the process.
    private nonisolated(unsafe) let kernels: KernelTable
    private let free = Mutex<[Reader]>([])

    init(tensors: [TensorRecord], kernels: KernelTable) {
        self.tensors = tensors
        self.kernels = kernels
        rowBytes = tensors.map(\.sourceBlockBytes).max() ?? 0
    }

    /// Decodes the bytes `range` of a tensor. Throws `.damaged` naming layer and tensor, `.io`, `.limit`.
    func read(
        _ range: ByteRange, of tensor: TensorRecord, in shard: StoredShard,
        into target: UnsafeMutableRawBufferPointer
    ) throws(LaminaError) {
        let reader = try take()
        defer { free.withLock { $0.append(reader) } }
        try shard.reading { (file) throws(LaminaError) in
            var position = range.lowerBound
            while position < range.upperBound {
                let first = tensor.geometry.sourceBlock(holding: position)
                let block = tensor.sourceBytes(ofBlockFrom: first)
                let part = block.clamped(to: range)
                let place = target.baseAddress.map { $0 + Int(part.lowerBound - range.lowerBound) }
                guard let place else { return }
                if part == block {
                    try reader.blocks.read(tensor, blockFrom: first, from: file, into: place)
                } else {
                    let rows = reader.rows.buffer.start
                    try reader.blocks.read(tensor, blockFrom: first, from: file, into: rows)
                    place.copyMemory(from: rows + Int(part.lowerBound - block.lowerBound), byteCount: part.count)
                }
                position = part.upperBound
            }
        }
    }

    private func take() throws(LaminaError) -> Reader {
        if let reader = free.withLock({ $0.popLast() }) { return reader }
        return Reader(
            blocks: try SourceBlockReader(tensors: tensors, kernels: kernels), rows: try Rows(count: rowBytes))
    }
}
