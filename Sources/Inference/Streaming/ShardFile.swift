import LayerStore
import TensorCore

/// How shards are read.
public enum ReadMode: String, Sendable {
    /// Past the page cache (O_DIRECT): no copy, no eviction of what others cache.
    case direct
    /// Through the page cache, where direct reads are not to be had.
    case buffered
}

/// An open shard and its header.
final class ShardFile: Sendable {
    let path: String
    let layer: String
    let mode: ReadMode
    let tensors: [TensorRecord]
    private let size: UInt64
    private let file: OpenFile
    /// For the end of a file whose size is not a multiple of the page, which direct reads cannot stop at.
    private let bufferedFile: OpenFile

    /// Opens a shard and reads its header; falls back to buffered reads where direct ones fail. Throws `.damaged`,
    /// `.malformed`, `.io`.
    init(_ store: Store, _ shard: Manifest.Shard, mode wanted: ReadMode) throws(LaminaError) {
        let buffered = try store.open(shard)
        buffered.adviseSequential()
        let header = try store.header(of: shard, file: buffered)
        bufferedFile = buffered
        path = buffered.path
        layer = shard.layer
        size = header.fileSize
        tensors = header.tensors
        let direct = wanted == .direct ? ShardFile.directFile(store, shard) : nil
        file = direct ?? buffered
        mode = direct == nil ? .buffered : .direct
    }

    /// The shard opened for direct reads, if one page can be read that way: some file systems accept the flag and
    /// refuse the read.
    private static func directFile(_ store: Store, _ shard: Manifest.Shard) -> OpenFile? {
        guard let file = try? store.open(shard, direct: true),
            let page = try? AlignedBuffer(count: AlignedBuffer.alignment),
            (try? file.readExactly(into: page.bytes, at: 0)) != nil
        else { return nil }
        return file
    }

    /// Reads `byteCount` bytes at `offset`, both multiples of a page, of which the first `neededBytes` must be there.
    /// Throws `.io`; `.damaged` if the file has become shorter.
    func read(
        into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64, neededBytes: Int
    ) throws(LaminaError) {
        let reachesPastEnd = offset + UInt64(buffer.count) > size
        if reachesPastEnd {
            try bufferedFile.readExactly(
                into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<neededBytes]), at: offset)
        } else {
            try file.readExactly(into: buffer, at: offset)
        }
    }
}
