import CSystem
import LayerStore
import TensorCore

/// Turns token ids into columns of the residual stream, reading only the chunks that hold their rows.
final class EmbeddingLookup: @unchecked Sendable {
    // Sendable: used by one thread at a time.
    private let matrix: PlannedMatrix
    private let chunks: [PlannedChunk]
    private let file: ShardFile
    private let kernels: KernelTable
    private let stored: AlignedBuffer
    private let decoder: ChunkDecoder
    /// One row's words out of a panel.
    private let words: AlignedBuffer
    /// Chunks kept as stored, once checked; where they begin, -1 for others.
    private let kept: UntouchedMemory
    private var keptOffsets: [Int]
    private var keptBytes = 0
    private(set) var statistics = ReadStatistics()

    /// Keeps up to `keptBytes` of chunks in memory. Throws `.limit`.
    init(_ plan: StreamPlan, keptBytes: Int, kernels: KernelTable) throws(LaminaError) {
        let matrix = plan.matrices[plan.embedding]
        self.matrix = matrix
        self.kernels = kernels
        file = plan.files[matrix.file]
        chunks = EmbeddingLookup.chunks(plan)
        stored = try AlignedBuffer(count: chunks.reduce(0) { max($0, $1.byteCount) })
        decoder = try ChunkDecoder(slotBytes: matrix.tensor.geometry.slotBytes, kernels: kernels)
        words = try AlignedBuffer(count: matrix.tensor.geometry.paddedColumns * matrix.tensor.dtype.size)
        kept = try UntouchedMemory(count: keptBytes)
        keptOffsets = [Int](repeating: -1, count: chunks.count)
    }

    private static func chunks(_ plan: StreamPlan) -> [PlannedChunk] {
        let matrix = plan.matrices[plan.embedding]
        return (0..<matrix.tensor.geometry.chunkCount).map { PlannedChunk(matrix, index: plan.embedding, chunk: $0) }
    }

    /// Bytes a lookup takes, without chunks it keeps.
    static func memoryBytes(_ plan: StreamPlan) -> Int {
        let geometry = plan.matrices[plan.embedding].tensor.geometry
        return chunks(plan).reduce(0) { max($0, $1.byteCount) }
            + ChunkDecoder.memoryBytes(slotBytes: geometry.slotBytes) + geometry.paddedColumns * geometry.elementSize
    }

    /// Bytes of all chunks, 0 if the pass reads them anyway.
    static func keepableBytes(_ plan: StreamPlan) -> Int {
        plan.isEmbeddingHead ? 0 : chunks(plan).reduce(0) { $0 + $1.byteCount }
    }

    /// Writes the rows of `tokens` to columns 0... of the residual stream. Every id must be below the vocabulary.
    /// `resident` gives the bytes of a chunk that the pass keeps in memory, and whether they are decoded.
    func fill(
        _ tokens: [Int], _ activations: Activations, resident: (Int) -> ChunkBytes?
    ) throws(LaminaError) {
        let geometry = matrix.tensor.geometry
        // In the order of the file, so that tokens that share a chunk share its read.
        let order = tokens.enumerated().sorted { $0.element < $1.element }
        var next = 0
        while next < order.count {
            let group = order[next].element / geometry.unitRows / geometry.unitsPerChunk
            var end = next
            while end < order.count, order[end].element / geometry.unitRows / geometry.unitsPerChunk == group {
                end += 1
            }
            for range in 0..<geometry.columnRanges {
                let chunk = group * geometry.columnRanges + range
                let elements = try elements(ofChunk: chunk, resident(chunk))
                for (column, token) in order[next..<end] {
                    copyRow(token, chunk: chunk, elements, to: activations.column(.residual, column))
                }
            }
            next = end
        }
    }

    private func elements(ofChunk chunk: Int, _ resident: ChunkBytes?) throws(LaminaError) -> UnsafeRawPointer {
        if let resident, resident.isDecoded { return resident.start }
        let planned = chunks[chunk]
        do throws(LaminaError) {
            let start = if let resident { resident.start } else { try bytes(ofChunk: chunk) }
            return try decoder.decode(
                matrix.tensor, chunk: chunk,
                stored: UnsafeRawBufferPointer(start: start, count: planned.byteCount), base: planned.offset,
                planeCount: matrix.planeCount, planeBytes: matrix.planeBytes)
        } catch {
            throw error.located(in: file, tensor: matrix.name)
        }
    }

    /// The chunk as stored: kept from an earlier lookup, or read, and kept if there is room.
    private func bytes(ofChunk chunk: Int) throws(LaminaError) -> UnsafeRawPointer {
        if keptOffsets[chunk] >= 0 { return UnsafeRawPointer(kept.start + keptOffsets[chunk]) }
        let planned = chunks[chunk]
        let isKept = keptBytes + planned.byteCount <= kept.count
        let target = isKept ? kept.start + keptBytes : stored.start
        let started = lamina_monotonic_seconds()
        try file.read(
            into: UnsafeMutableRawBufferPointer(start: target, count: planned.byteCount), at: planned.offset,
            neededBytes: planned.neededBytes)
        statistics.seconds += lamina_monotonic_seconds() - started
        statistics.bytes += UInt64(planned.byteCount)
        if isKept {
            keptOffsets[chunk] = keptBytes
            keptBytes += planned.byteCount
        }
        return UnsafeRawPointer(target)
    }

    /// The part of one row that `chunk` holds, widened.
    private func copyRow(
        _ row: Int, chunk: Int, _ elements: UnsafeRawPointer, to target: UnsafeMutablePointer<Float>
    ) {
        let geometry = matrix.tensor.geometry
        let extent = geometry.chunk(chunk)
        let unit = row / geometry.unitRows
        let start = (unit - extent.firstUnit) * geometry.unitRows * extent.columnCount * geometry.elementSize
        // Padding of an odd last column is not part of the row.
        let count = min(extent.columnCount, geometry.columns - extent.firstColumn)
        var source = elements + start
        if geometry.layout == .panel64, let gathered = words.bytes.baseAddress {
            gather(source, row: row % 64, width: geometry.width(ofUnit: unit), count: count, into: gathered)
            source = UnsafeRawPointer(gathered)
        }
        kernels.widen(matrix.weightType, source, to: target + extent.firstColumn, count: count)
    }

    /// One row's words out of a panel: pairs of columns side by side for BF16, single ones for the other types.
    private func gather(
        _ panel: UnsafeRawPointer, row: Int, width: Int, count: Int, into target: UnsafeMutableRawPointer
    ) {
        switch matrix.weightType {
        case .bfloat16:
            let source = panel.assumingMemoryBound(to: UInt16.self)
            let words = target.assumingMemoryBound(to: UInt16.self)
            for k in 0..<count { words[k] = source[k / 2 * 2 * width + 2 * row + k % 2] }
        case .float16:
            let source = panel.assumingMemoryBound(to: UInt16.self)
            let words = target.assumingMemoryBound(to: UInt16.self)
            for k in 0..<count { words[k] = source[k * width + row] }
        case .float32:
            let source = panel.assumingMemoryBound(to: UInt32.self)
            let words = target.assumingMemoryBound(to: UInt32.self)
            for k in 0..<count { words[k] = source[k * width + row] }
        }
    }
}

/// A chunk's bytes, as stored or decoded.
struct ChunkBytes {
    var start: UnsafeRawPointer
    var isDecoded: Bool
}
