import CKernels
import LayerStore
import TensorCore

/// What one thread of the pool has to itself.
final class Worker: @unchecked Sendable {
    // Sendable: the pool gives each worker number to one thread at a time.
    let decoder: ChunkDecoder
    /// Attention scores (queries, scoreStride) of the longest sequence; a router's scores.
    let scores: FloatBuffer
    let scoreStride: Int
    /// Products of one panel (columns, 64), only where they do not go to their place at once.
    let panel: FloatBuffer
    /// Rows of a panel as f32 (64, columns of the matrix), or a chain of it; only where weights are needed so.
    let rows: FloatBuffer
    var seconds = Seconds()

    /// Where a worker's time went.
    struct Seconds: Sendable {
        /// Waiting for the disk.
        var wait = 0.0
        /// Comparing checksums.
        var check = 0.0
        /// Decoding chunks that are not multiplied as they are stored.
        var decode = 0.0
        /// Multiplying, with the decoding that is part of it, and attention.
        var compute = 0.0
    }

    init(
        decodedBytes: Int, scores scoreRows: ScoreRows, rowFloats: Int, panelColumns: Int, kernels: KernelTable
    ) throws(LaminaError) {
        decoder = try ChunkDecoder(slotBytes: decodedBytes, kernels: kernels)
        scores = try FloatBuffer(count: scoreRows.floats)
        scoreStride = scoreRows.stride
        rows = try FloatBuffer(count: rowFloats)
        panel = try FloatBuffer(count: panelColumns * 64)
    }

    /// libzstd's decoding context.
    private static let zstdBytes = 160 << 10

    /// Bytes one worker takes, without its panel.
    static func memoryBytes(decodedBytes: Int, scores: ScoreRows, rowFloats: Int) -> Int {
        ChunkDecoder.memoryBytes(slotBytes: decodedBytes)
            + (scores.floats + rowFloats) * MemoryLayout<Float>.stride + zstdBytes
    }

    /// Bytes of `panel` per column.
    static let panelBytesPerColumn = 64 * MemoryLayout<Float>.stride
}

/// A worker's room for scores.
struct ScoreRows: Sendable {
    var floats: Int
    /// From one query's to the next.
    var stride: Int
}

extension StreamPlan {
    /// Scores of all queries that share a key over the longest sequence; where experts are chosen, two values for each.
    func scoreRows(_ workload: Workload) -> ScoreRows {
        // A window may begin inside a block.
        let stride =
            workload.sequences.reduce(0) { max($0, KeyValueCache.capacity($1.positions)) } + Int(LAMINA_KV_BLOCK)
        let routed = routings.reduce(0) { max($0, 2 * $1.experts) }
        return ScoreRows(floats: max(mostQueries * stride, routed), stride: stride)
    }

    /// Floats of a panel's rows in the widest matrix that is multiplied head by head, or whose rows are normalised; of a
    /// chain of a panel where weights are widened first.
    var rowFloats: Int {
        var columns = headForm.normalizesRows ? head.columns : 0
        for case .headProduct(let product) in body { columns = max(columns, matrices[product.matrix].columns) }
        let areWidened = matrices.contains { $0.weightType == .float8 || ($0.form != nil && !$0.takesCodes) }
        return max(64 * columns, areWidened ? PanelScales.widenedFloats : 0)
    }

    /// Bytes per column and worker for products of a panel that go to their place afterwards.
    var panelBytesPerColumn: Int {
        body.contains { if case .headProduct = $0 { true } else { false } } ? Worker.panelBytesPerColumn : 0
    }
}
