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

/// Hashes a file in order while handing out pieces of it. Reads large windows that begin at page boundaries, as direct
/// I/O wants; shards and their chunks begin and end there too.
private final class SequentialHasher {
    /// Large enough that a disk without read-ahead is kept busy.
    private static let windowBytes = 8 << 20
    private static let page = ShardHeader.alignment

    private let file: OpenFile
    private let fileSize: UInt64
    private let progress: (Int) throws(LaminaError) -> Void
    private let buffer: AlignedBuffer
    private var hasher = SHA256()
    /// Everything before is hashed; a page boundary or the file's end.
    private var position: UInt64 = 0
    private var window: ByteRange = 0..<0

    init(
        file: OpenFile, fileSize: UInt64, largestPiece: Int, progress: @escaping (Int) throws(LaminaError) -> Void
    ) throws(LaminaError) {
        self.file = file
        self.fileSize = fileSize
        self.progress = progress
        let page = Int(SequentialHasher.page)
        buffer = try AlignedBuffer(count: roundedUp(max(SequentialHasher.windowBytes, largestPiece), to: page))
    }

    /// `end` is a page boundary or the file's end.
    func hash(upTo end: UInt64) throws(LaminaError) {
        while position < end {
            if !window.contains(position) { try load(from: position) }
            let next = min(window.upperBound, end)
            hasher.update(bytes(position..<next))
            position = next
        }
    }

    /// `count` bytes (at most the largest piece) from the page boundary `offset`, everything before them hashed.
    func piece(at offset: UInt64, count: Int) throws(LaminaError) -> UnsafeRawBufferPointer {
        try hash(upTo: offset)
        let wanted = offset..<(offset + UInt64(count))
        if wanted.lowerBound < window.lowerBound || wanted.upperBound > window.upperBound { try load(from: offset) }
        return bytes(wanted)
    }

    private func bytes(_ range: ByteRange) -> UnsafeRawBufferPointer {
        let start = Int(range.lowerBound - window.lowerBound)
        return UnsafeRawBufferPointer(rebasing: buffer.bytes[start..<(start + range.count)])
    }

    /// Moves the window to begin at `offset`; what it already holds from there on is kept.
    private func load(from offset: UInt64) throws(LaminaError) {
        var kept = 0
        if window.contains(offset) {
            let tail = bytes(offset..<window.upperBound)
            kept = tail.count
            // The window's end is a page boundary unless the file ends there, and then nothing is left to read.
            buffer.start.copyMemory(from: tail.baseAddress ?? UnsafeRawPointer(buffer.start), byteCount: kept)
        }
        let target = UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[kept...])
        let end = min(fileSize, offset + UInt64(buffer.bytes.count))
        let first = offset + UInt64(kept)
        if first < end {
            let found = try file.read(into: target, at: first)
            guard UInt64(found) >= end - first else {
                throw LaminaError(
                    .damaged, file.path, "the file ends too early", expected: "\(fileSize) bytes",
                    found: "\(first + UInt64(found))", bytes: first..<end)
            }
            try progress(Int(end - first))
        }
        window = offset..<end
    }

    func finish() -> SHA256Digest { hasher.finalize() }
}
