import LayerStore
import TensorCore

/// The stored tensors that a file of weights is made of: their shards' headers, and a bounded number of open shards.
final class StoredTensors {
    /// Files take their tensors from a few layers at a time; systems allow some hundred open files.
    private static let maximumOpen = 64

    private let store: Store
    private let layout: WeightFileLayout
    /// By shard.
    private var headers: [Int: ShardHeader] = [:]
    private var open: [(shard: Int, file: OpenFile)] = []

    /// Reads the headers of all shards that `layout` takes tensors from. Throws `.damaged`, `.malformed`, `.io`.
    init(_ layout: WeightFileLayout, of store: Store) throws(LaminaError) {
        self.store = store
        self.layout = layout
        for shard in Set(layout.places.map(\.shard)).sorted() {
            headers[shard] = try store.header(of: entry(shard), file: try file(shard))
        }
    }

    private func entry(_ shard: Int) -> Manifest.Shard { store.manifest.shards[shard] }

    /// The shard's file, opened if it is not; the one not used for longest is closed for it.
    private func file(_ shard: Int) throws(LaminaError) -> OpenFile {
        if let index = open.lastIndex(where: { $0.shard == shard }) {
            let found = open.remove(at: index)
            open.append(found)
            return found.file
        }
        let file = try store.open(entry(shard))
        file.adviseSequential()
        if open.count >= StoredTensors.maximumOpen { open.removeFirst() }
        open.append((shard, file))
        return file
    }

    /// All tensors of the file, for sizing buffers.
    var records: [TensorRecord] {
        layout.places.compactMap { headers[$0.shard]?.tensors[$0.tensor] }
    }

    /// The tensor at a place of the layout. Throws `.damaged` if its shard went away, `.io`.
    func tensor(_ place: Int) throws(LaminaError) -> StoredTensor {
        let (shard, tensor) = (layout.places[place].shard, layout.places[place].tensor)
        guard let header = headers[shard] else {
            throw LaminaError(.unexpected, entry(shard).path, "the shard's header was not read")
        }
        return StoredTensor(
            record: header.tensors[tensor], entry: entry(shard).tensors[tensor], layer: entry(shard).layer,
            file: try file(shard))
    }
}

/// A tensor in an open shard.
struct StoredTensor: Sendable {
    let record: TensorRecord
    let entry: Manifest.Tensor
    let layer: String
    let file: OpenFile

    /// Decodes the block that begins at chunk `first`. Throws `.damaged` naming layer and tensor, `.io`.
    func read(
        blockFrom first: Int, with reader: SourceBlockReader, into target: UnsafeMutableRawPointer
    ) throws(LaminaError) {
        do throws(LaminaError) {
            try reader.read(record, blockFrom: first, from: file, into: target)
        } catch {
            var located = error
            located.layer = layer
            located.tensor = entry.name
            throw located
        }
    }

    /// Throws `.damaged` unless the source's bytes had this digest; what a quantized tensor gives is not the source's.
    func check(_ digest: SHA256Digest) throws(LaminaError) {
        guard digest == entry.digest || !record.codec.isLossless else {
            throw LaminaError(
                .damaged, file.path, "the decoded tensor differs from its source",
                expected: entry.digest.description, found: digest.description, layer: layer, tensor: entry.name)
        }
    }
}
