import CKernels
import Glibc
import LayerStore
import TensorCore

/// Lays out and encodes blocks on one thread.
final class BlockEncoder: @unchecked Sendable {
    // Sendable: each worker has its own.
    private let layoutScratch: AlignedBuffer
    private let planeScratch: AlignedBuffer
    private let zstd: LiteralZstdEncoder
    private let quantizer: PanelQuantizer
    private let kernels: KernelTable

    /// Room for chunks of any of `jobs`. Throws `.limit`.
    init(jobs: [TensorJob], kernels: KernelTable) throws(LaminaError) {
        let slotBytes = BlockEncoder.slotBytes(jobs)
        layoutScratch = try AlignedBuffer(count: slotBytes)
        planeScratch = try AlignedBuffer(count: slotBytes + 64 * Codecs.maximumPlanes)
        zstd = try LiteralZstdEncoder()
        quantizer = try PanelQuantizer(jobs: jobs, kernels: kernels)
        self.kernels = kernels
    }

    private static func slotBytes(_ jobs: [TensorJob]) -> Int { jobs.map(\.geometry.slotBytes).max() ?? 0 }

    /// About what one of them takes.
    static func memoryBytes(for jobs: [TensorJob]) -> Int {
        2 * slotBytes(jobs) + PanelQuantizer.memoryBytes(for: jobs) + (1 << 20)
    }

    /// Encodes the chunks of `block`. Throws `.unexpected`.
    func encode(_ block: Block) throws(LaminaError) {
        let job = block.job
        var used = 0
        for index in 0..<job.chunksPerBlock {
            let chunk = block.index * job.chunksPerBlock + index
            try encodeChunk(chunk, of: job, block: block, used: &used)
        }
    }

    private func encodeChunk(
        _ chunk: Int, of job: TensorJob, block: Block, used: inout Int
    ) throws(LaminaError) {
        if let copied = job.copied { return try copy(chunk, of: copied, block: block) }
        let geometry = job.geometry
        let specifications = job.codec.planes(elementSize: job.dtype.size)
        let elements: UnsafeRawPointer
        if let scheme = job.scheme {
            block.loss += try quantizer.quantize(chunk, of: job, by: scheme, block: block, into: layoutScratch.start)
            elements = UnsafeRawPointer(layoutScratch.start)
        } else {
            elements = layOut(chunk, of: job, from: block.sourceBytes)
        }
        let isSplit = specifications.count > 1
        var planes: [UnsafeMutableRawPointer] = []
        if isSplit {
            let scratch = planeScratch.start
            var offset = 0
            for specification in specifications {
                planes.append(scratch + offset)
                offset += roundedUp(specification.slotBytes(geometry), to: 64)
            }
            job.codec.split(elements, into: planes, count: geometry.slotElements, kernels: kernels)
        }
        for (index, specification) in specifications.enumerated() {
            let plane = UnsafeRawBufferPointer(
                start: isSplit ? UnsafeRawPointer(planes[index]) : elements, count: specification.slotBytes(geometry))
            let room = UnsafeMutableRawBufferPointer(rebasing: block.buffers.output.bytes[used...])
            let (size, encoding) = try store(plane, specification.coding, chunk: chunk, of: geometry, into: room)
            let stored = UnsafeRawBufferPointer(rebasing: room[0..<size])
            block.planes.append(
                EncodedPlane(
                    chunk: chunk, plane: index, range: used..<(used + size), encoding: encoding, hash: xxh3(stored)))
            used += job.encodedBytes(of: specification)
        }
    }

    /// Takes the stored planes of a chunk over, if they are what their shard says. Throws `.damaged`.
    private func copy(_ chunk: Int, of copied: CopiedChunks, block: Block) throws(LaminaError) {
        let tensor = copied.record
        let planes = tensor.planes.count
        let base = tensor.extent(ofChunk: chunk).lowerBound
        try ChunkDecoder.check(tensor, chunk: chunk, stored: block.readBytes, base: base, planeCount: planes)
        var used = 0
        for plane in 0..<planes {
            let record = tensor.record(chunk: chunk, plane: plane, planeCount: planes)
            let bytes = ChunkDecoder.bytes(of: record, in: block.readBytes, base: base)
            if let start = bytes.baseAddress {
                (block.buffers.output.start + used).copyMemory(from: start, byteCount: bytes.count)
            }
            block.planes.append(
                EncodedPlane(
                    chunk: chunk, plane: plane, range: used..<(used + bytes.count), encoding: record.encoding,
                    hash: record.hash))
            used += roundedUp(bytes.count, to: AlignedBuffer.alignment)
        }
    }

    /// Coded if that gains at least 3 %, else as it is: decoding must pay for itself.
    private func store(
        _ plane: UnsafeRawBufferPointer, _ coding: ChunkRecord.Encoding, chunk: Int, of geometry: ChunkGeometry,
        into room: UnsafeMutableRawBufferPointer
    ) throws(LaminaError) -> (size: Int, encoding: ChunkRecord.Encoding) {
        guard let start = plane.baseAddress, let target = room.baseAddress else { return (0, .raw) }
        let size =
            switch coding {
            case .raw: plane.count
            case .zstd: try zstd.encode(plane, into: room)
            case .expTier: TierChunk.encode(start, chunk: chunk, of: geometry, into: target, kernels: kernels)
            case .ecqTier:
                CodeTierChunk.encode(
                    start, chunk: chunk, of: geometry, into: target, gathered: planeScratch.start, kernels: kernels)
            }
        if size <= plane.count - plane.count * 3 / 100 - 1 { return (size, coding) }
        target.copyMemory(from: start, byteCount: plane.count)
        return (plane.count, .raw)
    }

    /// The chunk's slot in the order of its layout, zero behind its elements.
    private func layOut(
        _ chunk: Int, of job: TensorJob, from source: UnsafeRawBufferPointer
    ) -> UnsafeRawPointer {
        let geometry = job.geometry
        let target = layoutScratch.start
        guard let start = source.baseAddress else { return UnsafeRawPointer(target) }
        let extent = geometry.chunk(chunk)
        let used = extent.elementCount * geometry.elementSize
        switch geometry.layout {
        case .rows:
            if source.count == geometry.slotBytes { return start }
            memcpy(target, start, source.count)
        // Quantized, never laid out.
        case .panel16: break
        case .panel64:
            let firstUnit = extent.firstUnit
            var offset = 0
            for unit in firstUnit..<(firstUnit + extent.unitCount) {
                let width = geometry.width(ofUnit: unit)
                let rows = min(64, geometry.rows - unit * 64)
                let columns = min(extent.columnCount, geometry.columns - extent.firstColumn)
                let first = (unit - firstUnit) * 64 * geometry.columns + extent.firstColumn
                kernels.pointee.pack(
                    job.dtype, start + first * geometry.elementSize, stride: geometry.columns, rows: rows, width: width,
                    columns: columns, into: target + offset)
                offset += width * extent.columnCount * geometry.elementSize
            }
        }
        if used < geometry.slotBytes { memset(target + used, 0, geometry.slotBytes - used) }
        return UnsafeRawPointer(target)
    }
}
