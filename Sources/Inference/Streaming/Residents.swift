import LayerStore
import TensorCore

/// The requests that stay in memory, as stored: a fixed set, spread evenly over the pass so that disk and arithmetic
/// overlap all the time. Scans are cyclic, where every replacement policy is worse than none.
final class Residents: Sendable {
    private let memory: UntouchedMemory
    private let offsets: [Int]
    private let sizes: [Int]
    /// Bytes held.
    let byteCount: Int

    /// Holds requests of these `sizes`, in plan order, as far as `budget` goes, but none of size 0. Throws `.limit`.
    init(sizes: [Int], budget: Int) throws(LaminaError) {
        self.sizes = sizes
        (offsets, byteCount) = Residents.choose(sizes, budget: budget)
        memory = try UntouchedMemory(count: byteCount)
    }

    /// Offsets of the chosen requests in one block of memory, on pages, -1 for the others: an error-diffusing walk, so
    /// that after any part of the pass the resident share is that of the whole.
    static func choose(_ sizes: [Int], budget: Int) -> (offsets: [Int], byteCount: Int) {
        let padded = sizes.map { roundedUp($0, to: AlignedBuffer.alignment) }
        let total = padded.reduce(0, +)
        var offsets = [Int](repeating: -1, count: sizes.count)
        guard total > 0, budget > 0 else { return (offsets, 0) }
        let share = min(1, Double(budget) / Double(total))
        var used = 0
        var seen = 0.0
        for (index, size) in padded.enumerated() {
            seen += Double(size)
            guard size > 0, share == 1 || Double(used + size) <= seen * share, used + size <= budget else { continue }
            offsets[index] = used
            used += size
        }
        return (offsets, used)
    }

    func contains(_ request: Int) -> Bool { offsets[request] >= 0 }

    /// The memory of a resident request, `nil` for others.
    func bytes(of request: Int) -> UnsafeMutableRawBufferPointer? {
        guard contains(request) else { return nil }
        return UnsafeMutableRawBufferPointer(start: memory.start + offsets[request], count: sizes[request])
    }
}
