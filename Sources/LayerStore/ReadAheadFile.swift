import TensorCore

/// The bytes of a file in order, as a window that moves on: while one part of the file is worked on, a thread reads the
/// next. Reads begin at page boundaries, as direct I/O wants.
final class ReadAheadFile {
    /// Large enough that a disk without read-ahead of its own is kept busy.
    private static let leastReadBytes = 8 << 20
    private static let page = AlignedBuffer.alignment

    let file: OpenFile
    private let size: UInt64
    /// The most that a window may keep of the one before.
    private let keptBytes: Int
    private let readBytes: Int
    /// Each has room for what is kept, and behind that for what is read.
    private var current: Buffer
    private var next: Buffer
    /// Into `next`.
    private var reading: (work: BackgroundWork, extent: ByteRange)?
    /// Begins at a page boundary, and ends at one or at the file's end.
    private(set) var window: ByteRange = 0..<0

    /// `largestPiece` is the most bytes that are wanted in one window. Throws `.limit`.
    init(_ file: OpenFile, size: UInt64, largestPiece: Int) throws(LaminaError) {
        self.file = file
        self.size = size
        keptBytes = roundedUp(largestPiece, to: ReadAheadFile.page)
        readBytes = max(ReadAheadFile.leastReadBytes, keptBytes)
        current = try Buffer(count: keptBytes + readBytes)
        next = try Buffer(count: keptBytes + readBytes)
    }

    /// Bytes of the window, until it moves on.
    func bytes(_ range: ByteRange) -> UnsafeRawBufferPointer {
        let start = current.windowStart + Int(range.lowerBound - window.lowerBound)
        return UnsafeRawBufferPointer(rebasing: current.memory.bytes[start..<(start + range.count)])
    }

    /// Moves the window on: it keeps what it has from the page boundary `offset`, at most a piece, and gets what
    /// follows. Returns how many bytes were read. Throws `.io`, or `.damaged` if the file ends too early.
    func advance(keepingFrom offset: UInt64) throws(LaminaError) -> Int {
        let kept = bytes(offset..<window.upperBound)
        let (work, extent) = reading ?? startReading(from: window.upperBound)
        reading = nil
        try work.wait()
        next.windowStart = keptBytes - kept.count
        if let source = kept.baseAddress {
            (next.memory.start + next.windowStart).copyMemory(from: source, byteCount: kept.count)
        }
        swap(&current, &next)
        window = offset..<extent.upperBound
        if extent.upperBound < size { reading = startReading(from: extent.upperBound) }
        return extent.count
    }

    private func startReading(from offset: UInt64) -> (work: BackgroundWork, extent: ByteRange) {
        let extent = offset..<min(size, offset + UInt64(readBytes))
        let (file, size, buffer, start) = (file, size, next, keptBytes)
        let work = BackgroundWork { () throws(LaminaError) in
            // Whole pages, though the file may end within the last one.
            let room = start..<(start + roundedUp(extent.count, to: ReadAheadFile.page))
            let found = try file.read(
                into: UnsafeMutableRawBufferPointer(rebasing: buffer.memory.bytes[room]), at: offset)
            guard found >= extent.count else {
                throw LaminaError(
                    .damaged, file.path, "the file ends too early", expected: "\(size) bytes",
                    found: "\(offset + UInt64(found))", bytes: extent)
            }
        }
        return (work, extent)
    }

    private final class Buffer: @unchecked Sendable {
        // Sendable: a thread fills the memory, its owner waits for it before using either.
        let memory: AlignedBuffer
        /// Where the window begins.
        var windowStart = 0

        init(count: Int) throws(LaminaError) { memory = try AlignedBuffer(count: count) }
    }
}
