import Glibc

/// Memory with one owner, aligned for direct I/O and for vector loads; freed with the value.
///
/// Allocated once and reused: the first touch of fresh memory costs more than a disk read on many virtual machines.
public struct AlignedBuffer: ~Copyable, @unchecked Sendable {
    /// Direct I/O needs 4096; that covers cache lines and vectors too.
    public static let alignment = 4096

    public let bytes: UnsafeMutableRawBufferPointer
    /// The first byte; there is always one, even for a count of 0.
    public let start: UnsafeMutableRawPointer

    /// `count` bytes, zeroed and so touched. Throws `.limit` if the memory is not to be had.
    public init(count: Int) throws(LaminaError) {
        var pointer: UnsafeMutableRawPointer?
        let size = max(count, 1)
        guard posix_memalign(&pointer, AlignedBuffer.alignment, size) == 0, let pointer else {
            throw LaminaError(.limit, "", "cannot allocate \(count) bytes of memory")
        }
        memset(pointer, 0, size)
        start = pointer
        bytes = UnsafeMutableRawBufferPointer(start: pointer, count: count)
    }

    deinit { free(start) }
}
