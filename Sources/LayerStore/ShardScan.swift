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
        func record(_ place: (tensor: Int, record: Int)) -> ChunkRecord {
            header.tensors[place.tensor].chunks[place.record]
        }
        let largest = header.tensors.flatMap(\.chunks).map { Int($0.storedSize) }.max() ?? 0
        return try withoutActuallyEscaping(progress) { (progress) throws(LaminaError) in
            let reader = try SequentialHasher(
                file: file, fileSize: header.fileSize, largestPiece: largest, progress: progress)
            for place in places.sorted(by: { record($0).offset < record($1).offset }) {
                let chunk = record(place)
                // Chunks of a hostile file may overlap: such bytes are hashed once, and read again for their checksum.
                guard xxh3(try reader.piece(at: chunk.offset, count: Int(chunk.storedSize))) != chunk.hash else {
                    continue
                }
                let tensor = header.tensors[place.tensor]
                try mismatch(tensor, place.record / max(1, tensor.planes.count), chunk)
            }
            try reader.hash(upTo: header.fileSize)
            return reader.finish()
        }
    }
}

/// Hashes a file in order while handing out pieces of it.
private final class SequentialHasher {
    private let source: ReadAheadFile
    private let progress: (Int) throws(LaminaError) -> Void
    private var hasher = SHA256()
    /// Everything before is hashed; a page boundary or the file's end.
    private var position: UInt64 = 0

    init(
        file: OpenFile, fileSize: UInt64, largestPiece: Int, progress: @escaping (Int) throws(LaminaError) -> Void
    ) throws(LaminaError) {
        source = try ReadAheadFile(file, size: fileSize, largestPiece: largestPiece)
        self.progress = progress
    }

    /// `end` is a page boundary or the file's end.
    func hash(upTo end: UInt64) throws(LaminaError) {
        while position < end {
            if position == source.window.upperBound { try advance(keepingFrom: position) }
            let next = min(source.window.upperBound, end)
            hasher.update(source.bytes(position..<next))
            position = next
        }
    }

    /// `count` bytes (at most the largest piece) from the page boundary `offset`, everything before them hashed. No
    /// piece may begin before an earlier one.
    func piece(at offset: UInt64, count: Int) throws(LaminaError) -> UnsafeRawBufferPointer {
        try hash(upTo: offset)
        let wanted = offset..<(offset + UInt64(count))
        if wanted.upperBound > source.window.upperBound { try advance(keepingFrom: offset) }
        return source.bytes(wanted)
    }

    private func advance(keepingFrom offset: UInt64) throws(LaminaError) {
        try progress(try source.advance(keepingFrom: offset))
    }

    func finish() -> SHA256Digest { hasher.finalize() }
}
