import LayerStore
import TensorCore

/// What one thread of the pool has to itself.
final class Worker: @unchecked Sendable {
    // Sendable: the pool gives each worker number to one thread at a time.
    let decoder: ChunkDecoder
    /// Attention scores (queries, scoreStride) of the longest sequence.
    let scores: FloatBuffer
    let scoreStride: Int
    /// Products of one panel (columns, 64), only for scoring.
    let panel: FloatBuffer
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
        decodedBytes: Int, positions: Int, queries: Int, panelColumns: Int, kernels: KernelTable
    ) throws(LaminaError) {
        decoder = try ChunkDecoder(slotBytes: decodedBytes, kernels: kernels)
        scores = try FloatBuffer(count: queries * positions)
        scoreStride = positions
        panel = try FloatBuffer(count: panelColumns * 64)
    }

    /// libzstd's decoding context.
    private static let zstdBytes = 160 << 10

    /// Bytes one worker takes, without its panel.
    static func memoryBytes(decodedBytes: Int, positions: Int, queries: Int) -> Int {
        ChunkDecoder.memoryBytes(slotBytes: decodedBytes) + queries * positions * MemoryLayout<Float>.stride + zstdBytes
    }
}
