import Glibc
import TensorCore

/// Memory that is not touched until it is used: for caches and resident requests, whose first touch the disk read or
/// the first token pays.
final class UntouchedMemory: @unchecked Sendable {
    // Sendable: users write disjoint parts, ordered by the pool's barriers and the prefetcher's lock.
    let start: UnsafeMutableRawPointer
    let count: Int

    /// A huge page: its first touch costs a fraction of that of its small pages.
    private static let hugePage = 2 << 20

    /// Page-aligned. Throws `.limit` if the memory is not to be had.
    init(count: Int) throws(LaminaError) {
        var pointer: UnsafeMutableRawPointer?
        let isLarge = count >= 4 * UntouchedMemory.hugePage
        let alignment = isLarge ? UntouchedMemory.hugePage : AlignedBuffer.alignment
        guard posix_memalign(&pointer, alignment, max(count, 1)) == 0, let pointer else {
            throw LaminaError(.limit, "", "cannot allocate \(count) bytes of memory", hint: "pass a smaller --memory")
        }
        // Only advice: without huge pages it works as well.
        if isLarge { madvise(pointer, count, MADV_HUGEPAGE) }
        start = pointer
        self.count = count
    }

    deinit { free(start) }

    var bytes: UnsafeMutableRawBufferPointer { UnsafeMutableRawBufferPointer(start: start, count: count) }

    /// Makes the system provide every page now rather than while a read waits.
    func touch() {
        for offset in stride(from: 0, to: count, by: AlignedBuffer.alignment) {
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
