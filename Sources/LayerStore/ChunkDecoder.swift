import TensorCore

/// Checks and decodes chunks on one thread: owns the scratch that decoding needs, allocated once for the largest slot.
public final class ChunkDecoder: @unchecked Sendable {
    // Sendable: each worker has its own.
    private let zstd: ZstdDecoder
    private let planeScratch: AlignedBuffer
    private let output: AlignedBuffer
    private let planeCapacity: Int
    private let kernels: KernelTable

    /// Scratch for slots of up to `slotBytes` decoded bytes. Throws `.limit`.
    public init(slotBytes: Int, kernels: KernelTable) throws(LaminaError) {
        zstd = try ZstdDecoder()
        planeCapacity = roundedUp(max(slotBytes, 1), to: 64)
        // The planes of a slot add up to the slot.
        planeScratch = try AlignedBuffer(count: planeCapacity + 64 * Codecs.maximumPlanes)
        output = try AlignedBuffer(count: planeCapacity)
        self.kernels = kernels
    }

    /// Bytes one decoder for such slots takes.
    public static func memoryBytes(slotBytes: Int) -> Int {
        2 * roundedUp(max(slotBytes, 1), to: 64) + 64 * Codecs.maximumPlanes
    }

    /// A chunk's elements in the order of the layout, slot padding included. `stored` holds the file's bytes from
    /// `base` on and must cover every plane of the chunk. The result lives in `stored` or in this decoder's scratch,
    /// until the next call. Every plane's checksum is compared before anything else touches its bytes.
    ///
    /// Throws `.damaged` naming the tensor and the byte range; the caller adds file and layer.
    public func decode(
        _ tensor: TensorRecord, chunk: Int, stored: UnsafeRawBufferPointer, base: UInt64, planeCount: Int,
        planeBytes: [Int]
    ) throws(LaminaError) -> UnsafeRawPointer {
        guard let start = stored.baseAddress, let scratch = planeScratch.bytes.baseAddress,
            let merged = output.bytes.baseAddress
        else { throw LaminaError(.unexpected, "", "a chunk has no bytes", tensor: tensor.name) }
        var planes: (UnsafeRawPointer, UnsafeRawPointer, UnsafeRawPointer, UnsafeRawPointer) = (
            start, start, start, start
        )
        var scratchOffset = 0
        return try withUnsafeMutablePointer(to: &planes) { (tuple) throws(LaminaError) -> UnsafeRawPointer in
            let list = UnsafeMutableRawPointer(tuple).assumingMemoryBound(to: UnsafeRawPointer.self)
            for plane in 0..<planeCount {
                let record = tensor.chunks[chunk * planeCount + plane]
                let first = Int(record.offset - base)
                let bytes = UnsafeRawBufferPointer(rebasing: stored[first..<(first + Int(record.storedSize))])
                guard xxh3(bytes) == record.hash else {
                    throw ChunkDecoder.damage("chunk \(chunk) has the wrong checksum", tensor, record)
                }
                guard record.encoding == .zstd else {
                    list[plane] = start + first
                    continue
                }
                let target = UnsafeMutableRawBufferPointer(start: scratch + scratchOffset, count: planeBytes[plane])
                if let problem = zstd.decode(bytes, into: target) {
                    throw ChunkDecoder.damage("chunk \(chunk): \(problem)", tensor, record)
                }
                list[plane] = UnsafeRawPointer(scratch + scratchOffset)
                scratchOffset += roundedUp(planeBytes[plane], to: 64)
            }
            if planeCount == 1 { return list[0] }
            tensor.codec.merge(UnsafePointer(list), into: merged, count: planeBytes[0], kernels: kernels)
            return UnsafeRawPointer(merged)
        }
    }

    private static func damage(_ problem: String, _ tensor: TensorRecord, _ record: ChunkRecord) -> LaminaError {
        LaminaError(
            .damaged, "", problem, tensor: tensor.name,
            bytes: record.offset..<(record.offset + UInt64(record.storedSize)))
    }
}

extension TensorRecord {
    /// Bytes per plane in a slot.
    public var planeBytes: [Int] { planes.map { geometry.slotElements * $0.bytesPerElement } }

    /// The bytes of the shard that hold all planes of `chunk`, page-aligned at both ends.
    public func extent(ofChunk chunk: Int) -> ByteRange {
        let count = planes.count
        let records = chunks[(chunk * count)..<((chunk + 1) * count)]
        let start = records.map(\.offset).min() ?? 0
        let end = records.map { $0.offset + UInt64($0.storedSize) }.max() ?? 0
        let page = ShardHeader.alignment
        return start..<((end + page - 1) / page * page)
    }
}
