import LayerStore
import TensorCore

/// The chunks that stay in memory, compressed as stored: a fixed set, spread evenly over the pass so that disk and
/// arithmetic overlap all the time. Scans are cyclic, where every replacement policy is worse than none.
final class Residents: Sendable {
    private let memory: UntouchedMemory
    private let offsets: [Int]
    private let reads: [ChunkRead]
    /// Bytes held.
    let byteCount: Int

    /// Holds `reads` whose bytes fit `budget`. Throws `.limit`.
    init(_ reads: [ChunkRead], budget: Int) throws(LaminaError) {
        self.reads = reads
        (offsets, byteCount) = Residents.choose(reads.map(\.byteCount), budget: budget)
        memory = try UntouchedMemory(count: byteCount)
    }

    /// Offsets of the chosen reads in one block of memory, -1 for the others: an error-diffusing walk, so that after
    /// any part of the pass the resident share is that of the whole.
    static func choose(_ sizes: [Int], budget: Int) -> (offsets: [Int], byteCount: Int) {
        let total = sizes.reduce(0, +)
        var offsets = [Int](repeating: -1, count: sizes.count)
        guard total > 0, budget > 0 else { return (offsets, 0) }
        let share = min(1, Double(budget) / Double(total))
        var used = 0
        var seen = 0.0
        for (index, size) in sizes.enumerated() {
            seen += Double(size)
            guard share == 1 || Double(used + size) <= seen * share, used + size <= budget else { continue }
            offsets[index] = used
            used += size
        }
        return (offsets, used)
    }

    func offset(of read: Int) -> Int? { offsets[read] < 0 ? nil : offsets[read] }

    /// The memory of a resident read, `nil` for others.
    func bytes(of read: Int) -> UnsafeMutableRawBufferPointer? {
        guard let offset = offset(of: read) else { return nil }
        return UnsafeMutableRawBufferPointer(start: memory.start + offset, count: reads[read].byteCount)
    }
}
