import CKernels
import CSystem
import LayerStore
import TensorCore

// Products of heads with their own rows of one matrix.
extension ChunkProducts {
    /// A head's rows in a panel.
    private struct Piece {
        var head: Int
        /// Rows of the panel, and the first of them counted from the head's first row that matters.
        var rows: Range<Int>
        var firstRow: Int
    }

    /// Words of a panel, coded or not.
    private enum PanelWords {
        case coded(TierChunk, segment: Int)
        case plain(UnsafeRawPointer)
    }

    /// Multiplies all chunks of one of the product's tasks.
    func multiply(_ product: PlannedHeadProduct, _ task: ChunkTask, _ worker: Worker) throws(LaminaError) {
        for chunk in task.chunks {
            let planned = plan.chunks[chunk]
            let matrix = plan.matrices[planned.matrix]
            let extent = matrix.tensor.geometry.chunk(planned.chunk)
            let fullPanel = 64 * extent.columnCount * matrix.tensor.geometry.elementSize
            var tiers: TierChunk?
            var elements = decoded?.words(chunk)
            if elements == nil {
                let stored = try checkedBytes(of: chunk, worker)
                if decoded == nil {
                    tiers = try ChunkDecoder.tiers(
                        matrix.tensor, chunk: planned.chunk, stored: stored, base: planned.offset,
                        planeCount: matrix.planeCount)
                }
                if tiers == nil {
                    let words = try worker.decoder.decodeChecked(
                        matrix.tensor, chunk: planned.chunk, stored: stored, base: planned.offset,
                        planeCount: matrix.planeCount, planeBytes: matrix.planeBytes)
                    decoded?.keep(words, of: chunk)
                    elements = words
                }
            }
            let started = lamina_monotonic_seconds()
            for unit in 0..<extent.unitCount {
                let words: PanelWords
                if let tiers {
                    words = .coded(tiers, segment: unit)
                } else if let elements {
                    words = .plain(elements + unit * fullPanel)
                } else {
                    continue
                }
                try multiply(product, words, panel: unit, of: planned, extent, worker)
            }
            worker.seconds.compute += lamina_monotonic_seconds() - started
            release(chunk)
        }
    }

    private func multiply(
        _ product: PlannedHeadProduct, _ words: PanelWords, panel unit: Int, of chunk: PlannedChunk,
        _ extent: ChunkExtent, _ worker: Worker
    ) throws(LaminaError) {
        let matrix = plan.matrices[chunk.matrix]
        let number = extent.firstUnit + unit
        let pieces = ChunkProducts.pieces(product, number * 64..<min(number * 64 + 64, matrix.rows))
        guard !pieces.isEmpty else { return }
        var panel = lamina_panel_task()
        panel.width = matrix.tensor.geometry.width(ofUnit: number)
        panel.rows = min(64, matrix.rows - number * 64)
        panel.k_begin = extent.firstColumn
        panel.k_count = extent.columnCount
        panel.columns = columns
        switch product.kind {
        case .absorb(let rotated):
            let plain =
                switch words {
                case .plain(let plain): plain
                case .coded(let tiers, let segment):
                    try worker.decoder.decode(tiers, segment: segment, of: matrix.tensor, chunk: chunk.chunk)
                }
            for piece in pieces { absorb(product, rotated, piece, plain, panel, number, matrix, worker) }
        case .expand:
            for piece in pieces {
                let input = product.input
                panel.x = UnsafePointer(activations.column(input.buffer, 0) + input.starts[piece.head])
                panel.x_stride = activations.stride(input.buffer)
                panel.y = worker.panel.start
                panel.y_stride = 64
                try expand(product, piece, words, &panel, number, chunk, matrix, worker)
            }
        }
    }

    /// The heads that have rows in `panel`.
    private static func pieces(_ product: PlannedHeadProduct, _ panel: Range<Int>) -> [Piece] {
        var pieces: [Piece] = []
        for head in (panel.lowerBound / product.rowsPerHead)...((panel.upperBound - 1) / product.rowsPerHead) {
            let first = head * product.rowsPerHead + product.rows.lowerBound
            let rows = (first..<(first + product.rows.count)).clamped(to: panel)
            guard !rows.isEmpty else { continue }
            pieces.append(
                Piece(
                    head: head, rows: (rows.lowerBound - panel.lowerBound)..<(rows.upperBound - panel.lowerBound),
                    firstRow: rows.lowerBound - first))
        }
        return pieces
    }

    /// Adds rows times the query's values to the head; rows come in order, so each sum is one chain.
    private func absorb(
        _ product: PlannedHeadProduct, _ rotated: PlannedHeads, _ piece: Piece, _ words: UnsafeRawPointer,
        _ panel: lamina_panel_task, _ number: Int, _ matrix: PlannedMatrix, _ worker: Worker
    ) {
        let count = min(panel.k_count, matrix.columns - panel.k_begin)
        let rows = worker.rows.start
        kernels.pointee.panel_rows(
            matrix.weightType.kernelType, words, panel.width, piece.rows.lowerBound, piece.rows.count, count, rows,
            count)
        scale(rows, piece.rows.count, count, from: panel.k_begin, by: scales(matrix, panel: number))
        let width = matrix.columns + rotated.dimension
        for column in 0..<columns {
            let query = activations.column(product.input.buffer, column) + product.input.starts[piece.head]
            let head = activations.column(product.output, column) + piece.head * width
            let target = head + panel.k_begin
            if piece.firstRow == 0 {
                target.update(repeating: 0, count: count)
                if panel.k_begin == 0 {
                    let source = activations.column(rotated.buffer, column) + rotated.starts[piece.head]
                    (head + matrix.columns).update(from: source, count: rotated.dimension)
                }
            }
            for row in 0..<piece.rows.count {
                kernels.pointee.add_scaled(query[piece.firstRow + row], rows + row * count, target, count)
            }
        }
    }

    /// Multiplies rows of `count` widened weights, which begin at column `first`, with their scales.
    private func scale(
        _ rows: UnsafeMutablePointer<Float>, _ rowCount: Int, _ count: Int, from first: Int, by scales: PanelScales?
    ) {
        guard let scales else { return }
        for row in 0..<rowCount { scales.apply(to: rows + row * count, from: first, count: count, kernels) }
    }

    /// The rows of the panel times the head, of which its own rows are kept.
    private func expand(
        _ product: PlannedHeadProduct, _ piece: Piece, _ words: PanelWords, _ panel: inout lamina_panel_task,
        _ number: Int, _ chunk: PlannedChunk, _ matrix: PlannedMatrix, _ worker: Worker
    ) throws(LaminaError) {
        let place = piece.head * product.rows.count + piece.firstRow
        let products = worker.panel.start + piece.rows.lowerBound
        if panel.k_begin > 0 {
            for column in 0..<columns {
                (products + column * 64)
                    .update(from: activations.column(product.output, column) + place, count: piece.rows.count)
            }
        }
        switch words {
        case .plain(let plain):
            panel.weights = plain
            kernels.multiply(
                matrix.weightType, &panel, scales: scales(matrix, panel: number), widened: worker.rows.start)
        case .coded(let tiers, let index):
            let segment = tiers.segment(index)
            panel.weights = segment.baseAddress
            guard kernels.pointee.multiply_tier_panel(&panel, segment.count, worker.decoder.scratch) else {
                throw ChunkDecoder.damage(chunk: chunk.chunk, of: matrix.tensor)
            }
        }
        for column in 0..<columns {
            (activations.column(product.output, column) + place)
                .update(from: products + column * 64, count: piece.rows.count)
        }
    }
}
