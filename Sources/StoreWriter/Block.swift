import Glibc
import LayerStore
import TensorCore

/// Memory for one block under way: reused, never freed in between.
final class BlockBuffers: Sendable {
    /// Every page of the source's file that the block touches.
    let source: AlignedBuffer
    let output: AlignedBuffer

    /// Room for any block of `jobs`. Throws `.limit`.
    init(jobs: [TensorJob]) throws(LaminaError) {
        source = try AlignedBuffer(count: BlockBuffers.sourceBytes(jobs))
        output = try AlignedBuffer(count: BlockBuffers.outputBytes(jobs))
    }

    /// What one of them takes.
    static func bytes(for jobs: [TensorJob]) -> Int { sourceBytes(jobs) + outputBytes(jobs) }

    private static func sourceBytes(_ jobs: [TensorJob]) -> Int { jobs.map(\.sourcePageBytes).max() ?? 0 }
    private static func outputBytes(_ jobs: [TensorJob]) -> Int { jobs.map(\.encodedBlockBytes).max() ?? 0 }
}

/// One plane of one chunk, encoded: a range of its block's output.
struct EncodedPlane {
    var chunk: Int
    var plane: Int
    var range: Range<Int>
    var encoding: ChunkRecord.Encoding
    var hash: UInt64

    /// What it takes in the file: chunks begin at pages.
    var fileBytes: Int { roundedUp(range.count, to: AlignedBuffer.alignment) }
}

/// A block on its way through the converter: source bytes in, encoded planes out.
final class Block: @unchecked Sendable {
    // Sendable: `BlockQueue` gives it to a reader, then to one task that hashes and one that encodes, which only read
    // the source and share nothing else, then to the writer.

    /// How far one kind of work is.
    enum Step { case waiting, running, done }

    /// What `BlockQueue` notes, under its lock.
    struct Progress {
        var reading = Step.running
        var hashing = Step.waiting
        var encoding = Step.waiting
        var failure: LaminaError?

        var isRunning: Bool { reading == .running || hashing == .running || encoding == .running }
        var isFinished: Bool { !isRunning && (failure != nil || (hashing == .done && encoding == .done)) }
    }

    let sequence: BlockSequence
    let jobIndex: Int
    /// As the sequence has it, but for the step that a sample is coded with.
    private(set) var job: TensorJob
    /// Among the blocks of its tensor.
    let index: Int
    let buffers: BlockBuffers
    var progress = Progress()
    /// What was read for the block, and of that what it stores.
    private(set) var readBytes = UnsafeRawBufferPointer(start: nil, count: 0)
    private(set) var sourceBytes = UnsafeRawBufferPointer(start: nil, count: 0)
    var planes: [EncodedPlane] = []
    /// What quantizing it cost.
    var loss = QuantizationLoss()

    init(of sequence: BlockSequence, job jobIndex: Int, index: Int, in buffers: BlockBuffers) {
        self.sequence = sequence
        self.jobIndex = jobIndex
        job = sequence.jobs[jobIndex]
        self.index = index
        self.buffers = buffers
    }

    /// Throws what reading the source throws, with the tensor's name.
    func read() throws(LaminaError) {
        let job = job
        let range = job.readBytes(ofBlock: index)
        let pages = buffers.source.bytes
        let base = buffers.source.start
        var start = 0
        do throws(LaminaError) {
            start = try job.read(pages, range)
        } catch {
            var located = error
            located.tensor = job.name
            throw located
        }
        // A safetensors file may begin a tensor at any byte, and the kernels load whole elements.
        if start % job.dtype.size != 0 {
            memmove(base, base + start, range.count)
            start = 0
        }
        readBytes = UnsafeRawBufferPointer(start: base + start, count: range.count)
        if job.copied == nil {
            let own = job.sourceBytes(ofBlock: index)
            let first = Int(own.lowerBound - range.lowerBound)
            sourceBytes = UnsafeRawBufferPointer(rebasing: readBytes[first..<(first + own.count)])
        }
    }

    /// Encodes a sample again, with another step. Throws what encoding throws.
    func encode(with encoder: BlockEncoder, step: Double) throws(LaminaError) {
        job.quantization.step = step
        planes = []
        loss = QuantizationLoss()
        try encoder.encode(self)
    }

    /// Bytes of the tensor that the block stands for, for progress.
    var progressBytes: UInt64 { UInt64(job.sourceBytes(ofBlock: index).count) }
}

/// The blocks of one shard's tensors, in order, and the digests of the tensors' source bytes.
final class BlockSequence: @unchecked Sendable {
    // Sendable: `BlockQueue` takes blocks from it under its lock, and lets one task at a time hash a tensor.
    let jobs: [TensorJob]
    private let hashes: [TensorHash]
    private var nextJob = 0
    private var nextIndex = 0

    init(jobs: [TensorJob]) {
        self.jobs = jobs
        hashes = jobs.map { _ in TensorHash() }
        skipEmptyJobs()
    }

    var blockCount: Int { jobs.reduce(0) { $0 + $1.blockCount } }
    var isTaken: Bool { nextJob == jobs.count }

    /// The next block; there must be one.
    func take(in buffers: BlockBuffers) -> Block {
        let block = Block(of: self, job: nextJob, index: nextIndex, in: buffers)
        nextIndex += 1
        skipEmptyJobs()
        return block
    }

    private func skipEmptyJobs() {
        while nextJob < jobs.count, nextIndex == jobs[nextJob].blockCount {
            nextJob += 1
            nextIndex = 0
        }
    }

    /// Whether all blocks of the same tensor before this one are hashed.
    func isNext(toHash block: Block) -> Bool { hashes[block.jobIndex].nextIndex == block.index }

    func hash(_ block: Block) {
        if case .noted = block.job.digest { return }
        hashes[block.jobIndex].hasher.update(block.sourceBytes)
    }

    func didHash(_ block: Block) { hashes[block.jobIndex].nextIndex += 1 }

    /// All digests, when all blocks are hashed; tensors without bytes have the digest of nothing.
    func digests() -> [SHA256Digest] { hashes.map { $0.hasher.finalize() } }

    private final class TensorHash {
        var hasher = SHA256()
        var nextIndex = 0
    }
}
