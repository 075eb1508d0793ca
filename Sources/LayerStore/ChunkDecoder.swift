import CKernels
import TensorCore

/// Checks and decodes chunks on one thread: owns the scratch that decoding needs, allocated once for the largest slot.
public final class ChunkDecoder: @unchecked Sendable {
    // Sendable: each worker has its own.
    private let zstd: ZstdDecoder
    private let planeScratch: AlignedBuffer
    private let output: AlignedBuffer
    private let tierScratch: AlignedBuffer
    private let kernels: KernelTable

    /// Scratch for slots of up to `slotBytes` decoded bytes. Throws `.limit`.
    public init(slotBytes: Int, kernels: KernelTable) throws(LaminaError) {
        zstd = try ZstdDecoder()
        // The planes of a slot add up to the slot.
        planeScratch = try AlignedBuffer(count: ChunkDecoder.capacity(slotBytes) + 64 * Codecs.maximumPlanes)
        output = try AlignedBuffer(count: ChunkDecoder.capacity(slotBytes))
        tierScratch = try AlignedBuffer(count: ChunkDecoder.tierScratchBytes)
        self.kernels = kernels
    }

    private static let tierScratchBytes = Int(LAMINA_TIER_SCRATCH)
    private static func capacity(_ slotBytes: Int) -> Int { roundedUp(max(slotBytes, 1), to: 64) }

    /// Bytes one decoder for such slots takes.
    public static func memoryBytes(slotBytes: Int) -> Int {
        2 * capacity(slotBytes) + 64 * Codecs.maximumPlanes + tierScratchBytes
    }

    /// What `decode_tier` and `multiply_tier_panel` want to write to, for callers that use them directly.
    public var scratch: UnsafeMutableRawPointer { tierScratch.start }

    /// Room for a decoded chunk, which the next one decoded overwrites.
    public var room: UnsafeMutableRawPointer { output.start }

    /// Compares every plane of a chunk with its checksum. `stored` holds the file's bytes from `base` on and must cover
    /// all planes. Throws `.damaged` naming the tensor and the byte range; the caller adds file and layer.
    public static func check(
        _ tensor: TensorRecord, chunk: Int, stored: UnsafeRawBufferPointer, base: UInt64, planeCount: Int
    ) throws(LaminaError) {
        for plane in 0..<planeCount {
            let record = tensor.chunks[chunk * planeCount + plane]
            guard xxh3(bytes(of: record, in: stored, base: base)) == record.hash else {
                throw damage("chunk \(chunk) has the wrong checksum", tensor, record)
            }
        }
    }

    /// The stored bytes of one plane.
    public static func bytes(
        of record: ChunkRecord, in stored: UnsafeRawBufferPointer, base: UInt64
    ) -> UnsafeRawBufferPointer {
        let first = Int(record.offset - base)
        return UnsafeRawBufferPointer(rebasing: stored[first..<(first + Int(record.storedSize))])
    }

    /// The segments of a chunk whose only plane is coded with `exp-tier`, `nil` for other chunks. Throws `.damaged`
    /// for a directory that contradicts the geometry.
    public static func tiers(
        _ tensor: TensorRecord, chunk: Int, stored: UnsafeRawBufferPointer, base: UInt64, planeCount: Int
    ) throws(LaminaError) -> TierChunk? {
        let record = tensor.chunks[chunk * planeCount]
        guard record.encoding == .expTier else { return nil }
        let geometry = tensor.geometry
        let tiers = TierChunk(
            bytes(of: record, in: stored, base: base), segmentCount: geometry.tierSegmentCount(ofChunk: chunk),
            slotWords: geometry.slotElements)
        guard let tiers else { throw damage("chunk \(chunk) has a wrong segment directory", tensor, record) }
        return tiers
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
        try ChunkDecoder.check(tensor, chunk: chunk, stored: stored, base: base, planeCount: planeCount)
        return try decodeChecked(
            tensor, chunk: chunk, stored: stored, base: base, planeCount: planeCount, planeBytes: planeBytes)
    }

    /// The words of one segment of a chunk that `check` has passed, until the next call. Throws `.damaged`.
    public func decode(
        _ tiers: TierChunk, segment: Int, of tensor: TensorRecord, chunk: Int
    ) throws(LaminaError) -> UnsafeRawPointer {
        let bytes = tiers.segment(segment)
        let count = tensor.geometry.tierSegmentWords(segment, of: tensor.geometry.chunk(chunk))
        let words = output.start.assumingMemoryBound(to: UInt16.self)
        guard kernels.pointee.decode_tier(bytes.baseAddress, bytes.count, words, count, tierScratch.start) else {
            throw ChunkDecoder.damage(chunk: chunk, of: tensor)
        }
        return UnsafeRawPointer(output.start)
    }

    /// `decode` for a chunk that `check` has passed.
    public func decodeChecked(
        _ tensor: TensorRecord, chunk: Int, stored: UnsafeRawBufferPointer, base: UInt64, planeCount: Int,
        planeBytes: [Int]
    ) throws(LaminaError) -> UnsafeRawPointer {
        if let tiers = try ChunkDecoder.tiers(
            tensor, chunk: chunk, stored: stored, base: base, planeCount: planeCount)
        {
            guard
                tiers.decode(
                    chunk: chunk, of: tensor.geometry, into: output.start, scratch: tierScratch.start, kernels: kernels)
            else { throw ChunkDecoder.damage(chunk: chunk, of: tensor) }
            return UnsafeRawPointer(output.start)
        }
        let record = tensor.chunks[chunk * planeCount]
        if record.encoding == .ecqTier {
            let bytes = ChunkDecoder.bytes(of: record, in: stored, base: base)
            guard
                CodeTierChunk(bytes, chunk: chunk, of: tensor.geometry)?.decode(
                    into: output.start, gathered: planeScratch.start, scratch: tierScratch.start, kernels: kernels)
                    == true
            else { throw ChunkDecoder.damage(chunk: chunk, of: tensor) }
            return UnsafeRawPointer(output.start)
        }
        var planes = [4 of UnsafeRawPointer](repeating: UnsafeRawPointer(output.start))
        var scratchOffset = 0
        for plane in 0..<planeCount {
            let record = tensor.chunks[chunk * planeCount + plane]
            let bytes = ChunkDecoder.bytes(of: record, in: stored, base: base)
            guard record.encoding == .zstd else {
                planes[plane] = bytes.baseAddress ?? UnsafeRawPointer(output.start)
                continue
            }
            let target = UnsafeMutableRawBufferPointer(
                start: planeScratch.start + scratchOffset, count: planeBytes[plane])
            if let problem = zstd.decode(bytes, into: target) {
                throw ChunkDecoder.damage("chunk \(chunk): \(problem)", tensor, record)
            }
            planes[plane] = UnsafeRawPointer(planeScratch.start + scratchOffset)
            scratchOffset += roundedUp(planeBytes[plane], to: 64)
        }
        if planeCount == 1 { return planes[0] }
        withUnsafePointer(to: &planes) {
            tensor.codec.merge(
                UnsafeRawPointer($0).assumingMemoryBound(to: UnsafeRawPointer.self), into: output.start,
                count: planeBytes[0], kernels: kernels)
        }
        return UnsafeRawPointer(output.start)
    }

    /// For a chunk whose checksum is right and whose segments are not what its geometry says.
    public static func damage(chunk: Int, of tensor: TensorRecord) -> LaminaError {
        damage(
            "chunk \(chunk) is not coded as \(tensor.codec.name) says", tensor,
            tensor.chunks[chunk * tensor.planes.count])
    }

    private static func damage(_ problem: String, _ tensor: TensorRecord, _ record: ChunkRecord) -> LaminaError {
        LaminaError(
            .damaged, "", problem, tensor: tensor.name,
            bytes: record.offset..<(record.offset + UInt64(record.storedSize)))
    }
}

extension TensorRecord {
    /// Bytes per plane in a slot.
    public var planeBytes: [Int] { planes.map { $0.slotBytes(geometry) } }

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
