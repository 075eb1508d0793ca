import Glibc
import LayerStore
import TensorCore

/// How far a positioned read has come: short counts and interruptions, the same for every way of reading.
struct ReadProgress: @unchecked Sendable {
    // Sendable: the buffer belongs to one read at a time.
    private let buffer: UnsafeMutableRawBufferPointer
    private let offset: UInt64
    private let neededBytes: Int
    /// Bytes that need not be read again.
    private var done = 0
    /// Bytes read; more than `done` where a direct read stopped inside a page.
    private var reached = 0

    /// `neededBytes` of `buffer` must be in the file.
    init(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64, neededBytes: Int) {
        self.buffer = buffer
        self.offset = offset
        self.neededBytes = neededBytes
    }

    /// What is to be read next, and where it lies in the file.
    var rest: UnsafeMutableRawBufferPointer { UnsafeMutableRawBufferPointer(rebasing: buffer[done...]) }
    var position: UInt64 { offset + UInt64(done) }
    private var range: ByteRange { offset..<(offset + UInt64(buffer.count)) }

    /// Takes the outcome of reading `rest` of `file`, a count or a negated `errno`; true when all that is needed is
    /// there. Throws `.io` for a failed call, `.damaged` if the file ends too early.
    mutating func advance(by outcome: Int64, in file: ShardFile) throws(LaminaError) -> Bool {
        if outcome == -Int64(EINTR) || outcome == -Int64(EAGAIN) || outcome == -Int64(ECANCELED) { return false }
        guard outcome >= 0 else {
            throw LaminaError(
                .io, file.path, "read failed: \(SystemError(code: Int32(clamping: -outcome)).text)", bytes: range)
        }
        let total = done + Int(outcome)
        if total >= neededBytes { return true }
        guard total > reached else {
            throw LaminaError(
                .damaged, file.path, "the file ends too early", expected: "\(neededBytes) bytes at \(offset)",
                found: "\(reached)", bytes: range)
        }
        reached = total
        // A direct read can only go on from a page's start.
        done = file.isDirect ? total / AlignedBuffer.alignment * AlignedBuffer.alignment : total
        return false
    }
}

/// Whoever asked for a read.
protocol ReadOwner: AnyObject, Sendable {
    /// `operation` has ended, well or with `problem`. Comes from any thread, the one that submitted it included.
    func readEnded(_ operation: ReadOperation, _ problem: LaminaError?)
}

/// One read to be carried out by a `ReadBackend`. Keeps its owner, and so the memory it writes to, until it has ended.
struct ReadOperation: Sendable {
    let file: ShardFile
    var progress: ReadProgress
    /// The slot of the backend's memory that the bytes go to; `nil` for other memory, which nobody may have touched yet.
    let slot: Int?
    /// For the owner.
    let request: Int
    let owner: any ReadOwner

    func end(_ problem: LaminaError? = nil) { owner.readEnded(self, problem) }
}
