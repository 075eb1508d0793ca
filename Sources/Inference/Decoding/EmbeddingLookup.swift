import CSystem
import LayerStore
import TensorCore

/// Turns token ids into columns of the residual stream, reading only the chunks that hold their rows.
final class EmbeddingLookup: @unchecked Sendable {
    // Sendable: used by one thread at a time.
    private let matrix: PlannedMatrix
    private let reads: [ChunkRead]
    /// The plan's first read of the same matrix, if it is the head too.
    private let firstHeadRead: Int?
    private let file: ShardFile
    private let kernels: KernelTable
    private let stored: AlignedBuffer
    private let decoder: ChunkDecoder
    /// One row's words out of a panel.
    private let words: AlignedBuffer
    private(set) var statistics = ReadStatistics()

    init(_ plan: StreamPlan, kernels: KernelTable) throws(LaminaError) {
        let matrix = plan.matrices[plan.embedding]
        self.matrix = matrix
        self.kernels = kernels
        file = plan.files[matrix.file]
        reads = EmbeddingLookup.reads(plan)
        firstHeadRead = plan.isEmbeddingHead ? plan.bodyReadCount : nil
        stored = try AlignedBuffer(count: reads.reduce(0) { max($0, $1.byteCount) })
        decoder = try ChunkDecoder(slotBytes: matrix.tensor.geometry.slotBytes, kernels: kernels)
        words = try AlignedBuffer(count: matrix.tensor.geometry.paddedColumns * matrix.tensor.dtype.size)
    }

    private static func reads(_ plan: StreamPlan) -> [ChunkRead] {
        let matrix = plan.matrices[plan.embedding]
        return (0..<matrix.tensor.geometry.chunkCount).map { ChunkRead(matrix, index: plan.embedding, chunk: $0) }
    }

    /// Bytes a lookup takes.
    static func memoryBytes(_ plan: StreamPlan) -> Int {
        let geometry = plan.matrices[plan.embedding].tensor.geometry
        return reads(plan).reduce(0) { max($0, $1.byteCount) }
            + ChunkDecoder.memoryBytes(slotBytes: geometry.slotBytes) + geometry.paddedColumns * geometry.elementSize
    }

    /// Writes the rows of `tokens` to columns 0... of the residual stream. Every id must be below the vocabulary.
    func fill(
        _ tokens: ArraySlice<Int>, _ activations: Activations, prefetcher: Prefetcher
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
                let elements = try elements(ofChunk: chunk, prefetcher)
                for (column, token) in order[next..<end] {
                    copyRow(token, chunk: chunk, elements, to: activations.column(.residual, column))
                }
            }
            next = end
        }
    }

    private func elements(ofChunk chunk: Int, _ prefetcher: Prefetcher) throws(LaminaError) -> UnsafeRawPointer {
        let read = reads[chunk]
        do throws(LaminaError) {
            let resident = firstHeadRead.flatMap { prefetcher.residentChunk($0 + chunk) }
            if let resident, resident.isDecoded, let start = resident.bytes.baseAddress { return start }
            let bytes = if let resident { resident.bytes } else { try bytes(of: read) }
            return try decoder.decode(
                matrix.tensor, chunk: chunk, stored: bytes, base: read.offset, planeCount: matrix.planeCount,
                planeBytes: matrix.planeBytes)
        } catch {
            throw error.located(in: file, tensor: matrix.name)
        }
    }

    private func bytes(of read: ChunkRead) throws(LaminaError) -> UnsafeRawBufferPointer {
        let started = lamina_monotonic_seconds()
        let target = UnsafeMutableRawBufferPointer(rebasing: stored.bytes[..<read.byteCount])
        try file.read(into: target, at: read.offset, neededBytes: read.neededBytes)
        statistics.seconds += lamina_monotonic_seconds() - started
        statistics.bytes += UInt64(read.byteCount)
        return UnsafeRawBufferPointer(target)
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
