import TensorCore

/// Looks at a file window by window, in order; one thread at a time calls it.
protocol WindowConsumer: Sendable {
    /// `window` begins at `offset` of the file.
    func take(_ window: UnsafeRawBufferPointer, at offset: UInt64)
}

/// Reads a file from start to end in windows: while some tasks look at one window, another reads the next.
struct FileScan {
    private static let windowBytes = 8 << 20

    let file: OpenFile
    /// The same file past the page cache, where that works: saves a copy, and what is read comes from the disk.
    var direct: OpenFile?
    /// Bytes in all; the file must have them.
    let size: UInt64
    let pool: WorkerPool

    /// Hands every window to all of `consumers`, each on a thread of its own, until `isDone`. `progress` gets the bytes
    /// that were looked at. Throws `.io`, and what `progress` throws.
    func run(
        _ consumers: [any WindowConsumer], until isDone: () -> Bool = { false },
        progress: (UInt64) throws(LaminaError) -> Void
    ) throws(LaminaError) {
        var current = try Window(capacity: min(FileScan.windowBytes, Int(size)))
        var following = try Window(capacity: min(FileScan.windowBytes, Int(size)))
        try load(current, from: 0)
        while current.count > 0, !isDone() {
            let (now, next) = (current, following)
            let end = now.offset + UInt64(now.count)
            try pool.run(consumers.count + 1) { (index, _) throws(LaminaError) in
                if index == 0 { return try load(next, from: end) }
                consumers[index - 1].take(now.bytes, at: now.offset)
            }
            try progress(UInt64(now.count))
            swap(&current, &following)
        }
    }

    private func load(_ window: Window, from offset: UInt64) throws(LaminaError) {
        let buffer = window.room(from: offset, size: size)
        let pages = buffer.count / AlignedBuffer.alignment * AlignedBuffer.alignment
        var found = 0
        // What the file system refuses to read this way is read the other way; it then tells what is wrong, too.
        if let direct, pages > 0 {
            let whole = UnsafeMutableRawBufferPointer(rebasing: buffer[0..<pages])
            found = (try? direct.read(into: whole, at: offset)) == pages ? pages : 0
        }
        let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[found...])
        found += try file.read(into: rest, at: offset + UInt64(found))
        guard found == buffer.count else {
            throw LaminaError(.io, file.path, "the file became shorter while being read")
        }
    }

    private final class Window: @unchecked Sendable {
        // Sendable: one task loads it, later ones read it.
        private let buffer: AlignedBuffer
        private(set) var offset: UInt64 = 0
        private(set) var count = 0

        init(capacity: Int) throws(LaminaError) { buffer = try AlignedBuffer(count: capacity) }

        var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: buffer.bytes[0..<count]) }

        /// Room for the part of a file of `size` bytes that begins at `start`.
        func room(from start: UInt64, size: UInt64) -> UnsafeMutableRawBufferPointer {
            offset = start
            count = Int(min(UInt64(buffer.bytes.count), size - start))
            return UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[0..<count])
        }
    }
}

/// A SHA-256 that tasks feed one after the other.
final class RunningDigest: WindowConsumer, @unchecked Sendable {
    // Sendable: one task at a time uses it.
    private var hasher = SHA256()

    func update(_ bytes: UnsafeRawBufferPointer) { hasher.update(bytes) }

    func take(_ window: UnsafeRawBufferPointer, at offset: UInt64) { update(window) }

    /// The digest of everything since the last call.
    func finish() -> SHA256Digest {
        let digest = hasher.finalize()
        hasher = SHA256()
        return digest
    }
}
