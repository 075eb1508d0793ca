import CKernels
import LayerStore
import TensorCore

/// Turns token ids into columns of the residual stream, reading only the chunks that hold their rows.
final class EmbeddingLookup: @unchecked Sendable {
    // Sendable: used by one thread at a time.
    private let matrix: PlannedMatrix
    private let chunks: [PlannedChunk]
    private let file: ShardFile
    private let kernels: KernelTable
    private let fetcher: ChunkFetcher
    private let decoder: ChunkDecoder
    /// One row's words out of a panel, or a chain of a quantized one.
    private let words: AlignedBuffer
    /// Chunks kept as stored, once checked; where they begin, -1 for others.
    private let kept: UntouchedMemory
    private var keptOffsets: [Int]
    private var keptBytes = 0

    /// Columns, with their tokens, that one chunk holds something of.
    private struct Use {
        var chunk: Int
        var columns: ArraySlice<(offset: Int, element: Int)>
    }

    /// Keeps up to `keptBytes` of chunks in memory, and reads `slots` at a time. Throws `.limit`.
    init(
        _ plan: StreamPlan, keptBytes: Int, slots: Int, backend: any ReadBackend, kernels: KernelTable
    ) throws(LaminaError) {
        let matrix = plan.matrices[plan.embedding]
        self.matrix = matrix
        self.kernels = kernels
        file = plan.files[matrix.file]
        chunks = EmbeddingLookup.chunks(plan)
        decoder = try ChunkDecoder(slotBytes: matrix.tensor.geometry.slotBytes, kernels: kernels)
        words = try AlignedBuffer(count: EmbeddingLookup.wordBytes(matrix))
        kept = try UntouchedMemory(count: keptBytes)
        keptOffsets = [Int](repeating: -1, count: chunks.count)
        fetcher = try ChunkFetcher(
            file, backend: backend, slots: slots, slotBytes: EmbeddingLookup.slotBytes(plan), kept: kept)
    }

    private static func chunks(_ plan: StreamPlan) -> [PlannedChunk] {
        let matrix = plan.matrices[plan.embedding]
        return (0..<matrix.tensor.geometry.chunkCount).map { PlannedChunk(matrix, index: plan.embedding, chunk: $0) }
    }

    /// Bytes of the largest chunk.
    static func slotBytes(_ plan: StreamPlan) -> Int { chunks(plan).reduce(0) { max($0, $1.byteCount) } }

    private static func wordBytes(_ matrix: PlannedMatrix) -> Int {
        guard matrix.form == nil else { return PanelDequantizer.memoryBytes }
        return matrix.tensor.geometry.paddedColumns * matrix.tensor.geometry.elementSize
    }

    /// Bytes a lookup takes that reads one chunk at a time and keeps none.
    static func memoryBytes(_ plan: StreamPlan) -> Int {
        let matrix = plan.matrices[plan.embedding]
        return slotBytes(plan) + ChunkDecoder.memoryBytes(slotBytes: matrix.tensor.geometry.slotBytes)
            + wordBytes(matrix)
    }

    /// Bytes of all chunks, 0 if the pass reads them anyway.
    static func keepableBytes(_ plan: StreamPlan) -> Int {
        plan.isEmbeddingHead ? 0 : chunks(plan).reduce(0) { $0 + $1.byteCount }
    }

    var statistics: ReadStatistics { fetcher.statistics }

    /// Writes the rows of `tokens` to columns 0... of the residual stream. Every id must be below the vocabulary.
    /// `resident` gives the bytes of a chunk that the pass keeps in memory, and whether they are decoded. Throws
    /// `.damaged` or `.io` with file, layer, tensor and bytes.
    func fill(
        _ tokens: [Int], _ activations: Activations, resident: (Int) -> ChunkBytes?
    ) throws(LaminaError) {
        var absent: [Use] = []
        var fetches: [ChunkFetcher.Fetch] = []
        do throws(LaminaError) {
            for use in uses(of: tokens) {
                if let resident = resident(use.chunk) {
                    try copyRows(use, resident, to: activations)
                } else if keptOffsets[use.chunk] >= 0 {
                    let stored = UnsafeRawPointer(kept.start + keptOffsets[use.chunk])
                    try copyRows(use, .stored(stored), to: activations)
                } else {
                    let target = placeToKeep(chunks[use.chunk].byteCount)
                    fetches.append(
                        ChunkFetcher.Fetch(item: absent.count, planned: chunks[use.chunk], target: target))
                    absent.append(use)
                }
            }
            try fetcher.fetch(fetches) { fetch, stored throws(LaminaError) in
                guard let start = stored.baseAddress else { return }
                let use = absent[fetch.item]
                try copyRows(use, .stored(start), to: activations)
                if fetch.target != nil { keptOffsets[use.chunk] = start - UnsafeRawPointer(kept.start) }
            }
        } catch {
            throw error.located(in: file, tensor: matrix.name)
        }
    }

    /// The chunks that hold rows of `tokens`, in the order of the file, each once.
    private func uses(of tokens: [Int]) -> [Use] {
        let geometry = matrix.tensor.geometry
        let order = tokens.enumerated().sorted { $0.element < $1.element }
        var uses: [Use] = []
        var next = 0
        while next < order.count {
            let group = order[next].element / geometry.unitRows / geometry.unitsPerChunk
            var end = next
            while end < order.count, order[end].element / geometry.unitRows / geometry.unitsPerChunk == group {
                end += 1
            }
            for range in 0..<geometry.columnRanges {
                uses.append(Use(chunk: group * geometry.columnRanges + range, columns: order[next..<end]))
            }
            next = end
        }
        return uses
    }

    private func placeToKeep(_ byteCount: Int) -> UnsafeMutableRawPointer? {
        guard keptBytes + byteCount <= kept.count else { return nil }
        keptBytes += byteCount
        return kept.start + (keptBytes - byteCount)
    }

    /// Copies what a chunk holds of the rows wanted, after comparing its checksum; of a chunk coded with `exp-tier`
    /// only their panels are decoded.
    private func copyRows(_ use: Use, _ bytes: ChunkBytes, to activations: Activations) throws(LaminaError) {
        let (tensor, planned, geometry) = (matrix.tensor, chunks[use.chunk], matrix.tensor.geometry)
        let extent = geometry.chunk(use.chunk)
        let unitBytes = geometry.unitBytes(of: extent)
        func copy(_ row: Int, _ column: Int, _ unit: UnsafeRawPointer) {
            let target = activations.column(StreamPlan.residual, column)
            if let form = matrix.form {
                dequantizeRow(row, form, unit, to: target)
            } else {
                copyRow(row, of: extent, unit: unit, to: target)
            }
        }
        func firstUnit(_ row: Int) -> Int { row / geometry.unitRows - extent.firstUnit }
        let start: UnsafeRawPointer
        switch bytes {
        case .stored(let stored): start = stored
        case .kept(.decoded(let elements)):
            for (column, row) in use.columns { copy(row, column, elements + firstUnit(row) * unitBytes) }
            return
        case .kept(.narrow(let chunk)):
            for (column, row) in use.columns {
                chunk.restore(firstUnit(row), of: geometry, to: decoder.room, kernels)
                copy(row, column, decoder.room)
            }
            return
        }
        let stored = UnsafeRawBufferPointer(start: start, count: planned.byteCount)
        try ChunkDecoder.check(
            tensor, chunk: use.chunk, stored: stored, base: planned.offset, planeCount: matrix.planeCount)
        if geometry.layout == .panel64,
            let tiers = try ChunkDecoder.tiers(
                tensor, chunk: use.chunk, stored: stored, base: planned.offset, planeCount: matrix.planeCount)
        {
            for (column, row) in use.columns {
                copy(row, column, try decoder.decode(tiers, segment: firstUnit(row), of: tensor, chunk: use.chunk))
            }
            return
        }
        let elements = try decoder.decodeChecked(
            tensor, chunk: use.chunk, stored: stored, base: planned.offset, planeCount: matrix.planeCount,
            planeBytes: matrix.planeBytes)
        for (column, row) in use.columns { copy(row, column, elements + firstUnit(row) * unitBytes) }
    }

    /// The part of one row that a chunk holds, widened. `unit` are the elements of the row's panel, or of the row.
    private func copyRow(
        _ row: Int, of extent: ChunkExtent, unit: UnsafeRawPointer, to target: UnsafeMutablePointer<Float>
    ) {
        let geometry = matrix.tensor.geometry
        // Padding of an odd last column is not part of the row.
        let count = min(extent.columnCount, geometry.columns - extent.firstColumn)
        var source = unit
        if geometry.layout == .panel64, let gathered = words.bytes.baseAddress {
            let width = geometry.width(ofUnit: row / geometry.unitRows)
            gather(source, row: row % 64, width: width, count: count, into: gathered)
            source = UnsafeRawPointer(gathered)
        }
        kernels.widen(matrix.weightType, source, to: target + extent.firstColumn, count: count)
    }

    /// One row out of a panel of quantized weights.
    private func dequantizeRow(
        _ row: Int, _ form: lamina_scheme, _ unit: UnsafeRawPointer, to target: UnsafeMutablePointer<Float>
    ) {
        let geometry = matrix.tensor.geometry
        let chain = words.start.assumingMemoryBound(to: Float.self)
        let lane = row % geometry.unitRows
        var panel = lamina_quantized_panel(
            bytes: unit, columns: geometry.columns, row: row - lane,
            rows: min(geometry.unitRows, geometry.rows - (row - lane)))
        for column in stride(from: 0, to: geometry.columns, by: ChunkGeometry.columnStep) {
            let count = min(ChunkGeometry.columnStep, geometry.columns - column)
            kernels.pointee.dequantize(form, &panel, column, count, chain, geometry.unitRows)
            for k in 0..<count {
                target[column + k] = chain[k * geometry.unitRows + lane]
            }
        }
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
        case .float8:
            let source = panel.assumingMemoryBound(to: UInt8.self)
            let words = target.assumingMemoryBound(to: UInt8.self)
            for k in 0..<count { words[k] = source[k * width + row] }
        case .float32:
            let source = panel.assumingMemoryBound(to: UInt32.self)
            let words = target.assumingMemoryBound(to: UInt32.self)
            for k in 0..<count { words[k] = source[k * width + row] }
        }
    }
}

/// A chunk in memory, as stored or decoded.
enum ChunkBytes {
    case stored(UnsafeRawPointer)
    case kept(DecodedChunks.Elements)
}
