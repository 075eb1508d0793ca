import LayerStore
import TensorCore

/// The chunks that stay in memory: a fixed set, spread evenly over the pass so that disk and arithmetic overlap all the
/// time. Scans are cyclic, where every replacement policy is worse than none. Kept as stored, or decoded if all fit.
final class Residents: Sendable {
    /// Residents begin at multiples of this: a cache line.
    static let alignment = 64

    /// Whether chunks are kept decoded rather than as stored.
    let areDecoded: Bool
    private let memory: UntouchedMemory
    private let offsets: [Int]
    private let sizes: [Int]
    /// Bytes held.
    let byteCount: Int

    /// Holds reads of `plan` that fit `budget`. Throws `.limit`.
    init(_ reads: [ChunkRead], budget: Int, decoded: Bool) throws(LaminaError) {
        areDecoded = decoded
        sizes = reads.map { decoded ? $0.decodedBytes : $0.byteCount }
        (offsets, byteCount) = Residents.choose(sizes, budget: budget)
        memory = try UntouchedMemory(count: byteCount)
    }

    /// Offsets of the chosen reads in one block of memory, -1 for the others: an error-diffusing walk, so that after
    /// any part of the pass the resident share is that of the whole.
    static func choose(_ sizes: [Int], budget: Int) -> (offsets: [Int], byteCount: Int) {
        let padded = sizes.map { roundedUp($0, to: alignment) }
        let total = padded.reduce(0, +)
        var offsets = [Int](repeating: -1, count: sizes.count)
        guard total > 0, budget > 0 else { return (offsets, 0) }
        let share = min(1, Double(budget) / Double(total))
        var used = 0
        var seen = 0.0
        for (index, size) in padded.enumerated() {
            seen += Double(size)
            guard share == 1 || Double(used + size) <= seen * share, used + size <= budget else { continue }
            offsets[index] = used
            used += size
        }
        return (offsets, used)
    }

    func contains(_ read: Int) -> Bool { offsets[read] >= 0 }

    /// The memory of a resident read, `nil` for others.
    func bytes(of read: Int) -> UnsafeMutableRawBufferPointer? {
        guard contains(read) else { return nil }
        return UnsafeMutableRawBufferPointer(start: memory.start + offsets[read], count: sizes[read])
    }
}
