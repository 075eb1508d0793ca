import TensorCore

/// Reads a shard once from start to end: every chunk against its checksum, and the digest of all bytes.
public struct ShardScan {
    public let header: ShardHeader

    public init(header: ShardHeader) { self.header = header }

    /// Returns the file's SHA-256. `mismatch` gets every chunk whose checksum differs, `progress` the bytes read.
    /// Throws `.io`, or `.damaged` if the file ends too early, and what the callbacks throw.
    public func run(
        _ file: OpenFile,
        progress: (Int) throws(LaminaError) -> Void = { (_) throws(LaminaError) in },
        mismatch: (_ tensor: TensorRecord, _ chunk: Int, _ record: ChunkRecord) throws(LaminaError) -> Void
    ) throws(LaminaError) -> SHA256Digest {
        let places = header.tensors.indices.flatMap { tensor in
            header.tensors[tensor].chunks.indices.map { (tensor: tensor, record: $0) }
        }
        func record(_ place: (tensor: Int, record: Int)) -> ChunkRecord { header.tensors[place.tensor].chunks[place.record] }
        let largest = header.tensors.flatMap(\.chunks).map { Int($0.storedSize) }.max() ?? 0
        let reader = try SequentialHasher(file: file, capacity: max(1 << 20, largest))
        for place in places.sorted(by: { record($0).offset < record($1).offset }) {
            let chunk = record(place)
            // Chunks of a hostile file may overlap: such bytes are hashed once, and read again for the checksum.
            let bytes = try reader.bytes(chunk.offset, count: Int(chunk.storedSize), progress: progress)
            guard xxh3(bytes) != chunk.hash else { continue }
            let tensor = header.tensors[place.tensor]
            try mismatch(tensor, place.record / max(1, tensor.planes.count), chunk)
        }
        try reader.hash(upTo: header.fileSize, progress: progress)
        return reader.finish()
    }
}

/// Hashes a file in order while handing out pieces of it.
private final class SequentialHasher {
    private let file: OpenFile
    private let buffer: AlignedBuffer
    private var hasher = SHA256()
    private var position: UInt64 = 0

    init(file: OpenFile, capacity: Int) throws(LaminaError) {
        self.file = file
        buffer = try AlignedBuffer(count: capacity)
    }

    func hash(upTo end: UInt64, progress: (Int) throws(LaminaError) -> Void) throws(LaminaError) {
        while position < end {
            let count = Int(min(UInt64(buffer.bytes.count), end - position))
            _ = try readAndHash(count, progress)
        }
    }

    private func readAndHash(
        _ count: Int, _ progress: (Int) throws(LaminaError) -> Void
    ) throws(LaminaError) -> UnsafeRawBufferPointer {
        let piece = UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[0..<count])
        try file.readExactly(into: piece, at: position)
        hasher.update(UnsafeRawBufferPointer(piece))
        position += UInt64(count)
        try progress(count)
        return UnsafeRawBufferPointer(piece)
    }

    /// `count` bytes (at most the capacity) from `offset`, everything before them hashed.
    func bytes(
        _ offset: UInt64, count: Int, progress: (Int) throws(LaminaError) -> Void
    ) throws(LaminaError) -> UnsafeRawBufferPointer {
        try hash(upTo: offset, progress: progress)
        if position == offset { return try readAndHash(count, progress) }
        let piece = UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[0..<count])
        try file.readExactly(into: piece, at: offset)
        return UnsafeRawBufferPointer(piece)
    }

    func finish() -> SHA256Digest { hasher.finalize() }
}
