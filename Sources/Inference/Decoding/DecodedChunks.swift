import LayerStore
import TensorCore

/// All chunks of a pass kept decoded, where everything fits that way and multiplying decoded weights is faster.
final class DecodedChunks: @unchecked Sendable {
    // Sendable: each chunk is kept by the one worker that handles it, between two barriers of the pool.
    private let memory: UntouchedMemory
    private let offsets: [Int]
    private let sizes: [Int]
    private let kept: UnsafeMutablePointer<Bool>

    /// Room for every chunk of `plan`. Throws `.limit`.
    init(_ plan: StreamPlan) throws(LaminaError) {
        var next = 0
        offsets = plan.chunks.map { chunk in
            defer { next += DecodedChunks.room(for: chunk) }
            return next
        }
        sizes = plan.chunks.map(\.decodedBytes)
        memory = try UntouchedMemory(count: next)
        kept = .allocate(capacity: max(1, sizes.count))
        kept.initialize(repeating: false, count: sizes.count)
    }

    deinit { kept.deallocate() }

    /// Bytes a chunk takes: whole cache lines, so that kernels load aligned vectors.
    static func room(for chunk: PlannedChunk) -> Int { roundedUp(chunk.decodedBytes, to: 64) }

    var byteCount: Int { memory.count }

    /// The elements of a chunk that is kept.
    func elements(_ chunk: Int) -> UnsafeRawPointer? {
        kept[chunk] ? UnsafeRawPointer(memory.start + offsets[chunk]) : nil
    }

    /// Keeps a copy of a chunk's elements.
    func keep(_ elements: UnsafeRawPointer, of chunk: Int) {
        (memory.start + offsets[chunk]).copyMemory(from: elements, byteCount: sizes[chunk])
        kept[chunk] = true
    }
}
