import Glibc
import TensorCore

/// Memory that is not touched until it is used: for caches and resident requests, whose first touch the disk read or
/// the first token pays.
final class UntouchedMemory: @unchecked Sendable {
    // Sendable: users write disjoint parts, ordered by the pool's barriers and the prefetcher's lock.
    let start: UnsafeMutableRawPointer
    let count: Int

    private static let hugePage = 2 << 20

    /// Page-aligned. Huge pages are for memory that a disk writes to again and again. Elsewhere they gain nothing, and
    /// where a host takes back what its guests do not use, their first touch takes four times as long
    /// (Benchmarks/RESULTS.md, "Reader"). Throws `.limit` if the memory is not to be had.
    init(count: Int, hugePages: Bool = false) throws(LaminaError) {
        var pointer: UnsafeMutableRawPointer?
        let isHuge = hugePages && count >= UntouchedMemory.hugePage
        let alignment = isHuge ? UntouchedMemory.hugePage : AlignedBuffer.alignment
        guard posix_memalign(&pointer, alignment, max(count, 1)) == 0, let pointer else {
            throw LaminaError(.limit, "", "cannot allocate \(count) bytes of memory", hint: "pass a smaller --memory")
        }
        // Only advice: without huge pages it works as well.
        if isHuge { madvise(pointer, count, MADV_HUGEPAGE) }
        start = pointer
        self.count = count
    }

    deinit { free(start) }

    var bytes: UnsafeMutableRawBufferPointer { UnsafeMutableRawBufferPointer(start: start, count: count) }

    /// A reader's ring, its pages there already. A device takes only so many pieces per request: in small pages a read
    /// of 4 MiB becomes several, which made a disk half as fast (Benchmarks/RESULTS.md, "Reader"). Throws `.limit`.
    static func ring(count: Int) throws(LaminaError) -> UntouchedMemory {
        let memory = try UntouchedMemory(count: count, hugePages: true)
        // The system clears every page, which takes one processor longer than a disk takes to fill it.
        let half = roundedUp(count / 2, to: UntouchedMemory.hugePage)
        let other = half < count ? JoinableThread { memory.touch(half..<count) } : nil
        memory.touch(0..<(other == nil ? count : half))
        other?.join()
        return memory
    }

    private func touch(_ range: Range<Int>) {
        for offset in stride(from: range.lowerBound, to: range.upperBound, by: AlignedBuffer.alignment) {
            (start + offset).storeBytes(of: 0, as: UInt8.self)
        }
    }
}

/// An `AlignedBuffer` of floats, zeroed, that several owners may refer to.
final class FloatBuffer: @unchecked Sendable {
    // Sendable: users write disjoint parts between barriers.
    private let buffer: AlignedBuffer
    let start: UnsafeMutablePointer<Float>
    let count: Int

    init(count: Int) throws(LaminaError) {
        buffer = try AlignedBuffer(count: max(count, 1) * MemoryLayout<Float>.stride)
        guard let base = buffer.bytes.baseAddress else {
            throw LaminaError(.limit, "", "cannot allocate \(count) floats of memory")
        }
        start = base.bindMemory(to: Float.self, capacity: max(count, 1))
        self.count = count
    }
}
