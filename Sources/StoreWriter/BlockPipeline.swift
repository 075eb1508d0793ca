import CKernels
import LayerStore
import TensorCore

/// Reads, hashes and encodes blocks side by side, and hands them over in order, so that the output does not depend on
/// the number of threads.
///
/// Readers go ahead of everything else as far as there are buffers, into the next shard too: the disk never waits for a
/// shard to be finished. Workers hash and encode whatever is read.
final class BlockPipeline {
    /// Bytes of all buffers together, unless the blocks are so large that fewer than four fit.
    private static let bufferBytes = 160 << 20
    private static let maximumBuffers = 64
    /// A panel larger than this would break the memory bound of 512 MiB: there are four buffers at least, each with
    /// room for a block and its encoded form. Enough for BF16 matrices of 393,216 columns.
    static let maximumBlockBytes = 48 << 20
    /// Reads under way at once: blocks are about a megabyte, and one such request after another leaves a fast disk idle
    /// half of the time.
    private static let readerCount = 4

    private let queue: BlockQueue
    private var threads: [JoinableThread] = []
    private var ahead: BlockSequence?

    /// Room for any of `jobs`, encoded by `threads` threads. Throws `.limit`.
    init(jobs: [TensorJob], threads count: Int, kernels: KernelTable) throws(LaminaError) {
        let largest = jobs.map(\.largestBlockBytes).max() ?? 0
        guard largest <= BlockPipeline.maximumBlockBytes else {
            throw LaminaError(
                .limit, "", "64 rows of the matrix are too large to convert in bounded memory",
                expected: "at most \(BlockPipeline.maximumBlockBytes) bytes", found: "\(largest)",
                tensor: jobs.first { $0.largestBlockBytes == largest }?.name)
        }
        var buffers: [BlockBuffers] = []
        for _ in 0..<BlockPipeline.bufferCount(for: jobs) { buffers.append(try BlockBuffers(jobs: jobs)) }
        let queue = BlockQueue(buffers: buffers)
        self.queue = queue
        for _ in 0..<count {
            let encoder = try BlockEncoder(jobs: jobs, kernels: kernels)
            try start { BlockPipeline.work(queue, encoder) }
        }
        for _ in 0..<BlockPipeline.readerCount { try start { BlockPipeline.read(queue) } }
    }

    private static func bufferCount(for jobs: [TensorJob]) -> Int {
        min(maximumBuffers, max(4, bufferBytes / max(1, BlockBuffers.bytes(for: jobs))))
    }

    /// About the most memory that a conversion of `jobs` takes, in bytes: the buffers here, each thread's scratch, and what
    /// the program, its libraries and the reading back of a shard need.
    static func memoryBytes(for jobs: [TensorJob], threads: Int) -> Int {
        bufferCount(for: jobs) * BlockBuffers.bytes(for: jobs) + threads * BlockEncoder.memoryBytes(for: jobs)
            + (112 << 20)
    }

    deinit {
        queue.close()
        for thread in threads { thread.join() }
    }

    private func start(_ body: @escaping @Sendable () -> Void) throws(LaminaError) {
        guard let thread = JoinableThread(body) else {
            throw LaminaError(.limit, "", "cannot start a thread after \(threads.count)")
        }
        threads.append(thread)
    }

    /// Sends every block of `jobs` through; `finished` gets each encoded block in order. Returns the digests of the
    /// tensors' source bytes. `following` are the jobs of the next call, if that is known: they are read ahead. Throws
    /// what reading, encoding or `finished` throws; other jobs can be run then.
    func run(
        _ jobs: [TensorJob], following: [TensorJob]?, finished: (Block) throws(LaminaError) -> Void
    ) throws(LaminaError) -> [SHA256Digest] {
        if let ahead, ahead.jobs.map(\.name) != jobs.map(\.name) { discardAll() }
        let sequence = ahead ?? append(jobs)
        ahead = following.map { append($0) }
        do throws(LaminaError) {
            for _ in 0..<sequence.blockCount {
                try finished(try queue.first())
                queue.releaseFirst()
            }
        } catch {
            discardAll()
            throw error
        }
        return sequence.digests()
    }

    private func discardAll() {
        queue.discardAll()
        ahead = nil
    }

    private func append(_ jobs: [TensorJob]) -> BlockSequence {
        let sequence = BlockSequence(jobs: jobs)
        queue.append(sequence)
        return sequence
    }

    private static func read(_ queue: BlockQueue) {
        while let block = queue.nextToRead() {
            queue.didRead(block, failure: failure { () throws(LaminaError) in try block.read() })
        }
    }

    private static func work(_ queue: BlockQueue, _ encoder: BlockEncoder) {
        while let task = queue.nextTask() {
            switch task {
            case .hash(let block):
                block.sequence.hash(block)
                queue.didHash(block)
            case .encode(let block):
                queue.didEncode(block, failure: failure { () throws(LaminaError) in try encoder.encode(block) })
            }
        }
    }

    /// What `body` threw.
    private static func failure(_ body: () throws(LaminaError) -> Void) -> LaminaError? {
        do throws(LaminaError) {
            try body()
            return nil
        } catch {
            return error
        }
    }
}
