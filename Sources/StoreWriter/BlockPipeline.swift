import CKernels
import LayerStore
import TensorCore

/// Reads, hashes and encodes blocks in waves: while the pool encodes one wave, one of its tasks hashes the wave's
/// source bytes and another reads the next wave. Results are handed over in order, so the output does not depend on
/// the number of threads.
final class BlockPipeline {
    /// Source bytes per wave; two waves of source and output are in memory.
    private static let waveBytes = 32 << 20
    /// A panel larger than this would break the memory bound of 512 MiB: there are four slots at least, each with room
    /// for a block and its encoded form. Enough for BF16 matrices of 393,216 columns.
    static let maximumBlockBytes = 48 << 20

    private let pool: OpaquePointer
    private let encoders: [BlockEncoder]
    /// Two waves of slots.
    private let slots: [[BlockSlot]]

    /// Room for any of `jobs`. Throws `.limit`.
    init(jobs: [TensorJob], threads: Int, kernels: KernelTable) throws(LaminaError) {
        let sourceBytes = max(1, jobs.map(\.largestBlockBytes).max() ?? 1)
        guard sourceBytes <= BlockPipeline.maximumBlockBytes else {
            let job = jobs.first { $0.largestBlockBytes == sourceBytes }
            throw LaminaError(
                .limit, "", "64 rows of the matrix are too large to convert in bounded memory",
                expected: "at most \(BlockPipeline.maximumBlockBytes) bytes", found: "\(sourceBytes)", tensor: job?.name
            )
        }
        let outputBytes = max(1, jobs.map(\.encodedBlockBytes).max() ?? 1)
        let slotBytes = max(1, jobs.map(\.geometry.slotBytes).max() ?? 1)
        let perWave = min(32, max(2, BlockPipeline.waveBytes / sourceBytes))
        guard let pool = lamina_pool_create(threads) else {
            throw LaminaError(.limit, "", "cannot start \(threads) threads")
        }
        self.pool = pool
        var encoders: [BlockEncoder] = []
        for _ in 0..<threads { encoders.append(try BlockEncoder(slotBytes: slotBytes, kernels: kernels)) }
        self.encoders = encoders
        var slots: [[BlockSlot]] = [[], []]
        for wave in 0..<2 {
            for _ in 0..<perWave {
                slots[wave].append(try BlockSlot(sourceBytes: sourceBytes, outputBytes: outputBytes))
            }
        }
        self.slots = slots
    }

    deinit { lamina_pool_destroy(pool) }

    /// Sends every block of `jobs` through; `finished` gets each encoded slot in order. Returns the digests of the
    /// tensors' source bytes. Throws what reading, encoding or `finished` throws.
    func run(
        _ jobs: [TensorJob], finished: (BlockSlot) throws(LaminaError) -> Void
    ) throws(LaminaError) -> [SHA256Digest] {
        let order = jobs.indices.flatMap { job in (0..<jobs[job].blockCount).map { (job: job, block: $0) } }
        let hashes = SourceHashes(jobs: jobs)
        var next = 0
        func take(_ wave: Int) -> WaveSlots {
            let count = min(slots[wave].count, order.count - next)
            let taken = Array(slots[wave][0..<count])
            for (slot, place) in zip(taken, order[next..<(next + count)]) {
                slot.job = place.job
                slot.block = place.block
                slot.sourceCount = jobs[place.job].sourceBytes(ofBlock: place.block).count
            }
            next += count
            return WaveSlots(slots: taken)
        }
        var current = take(0)
        try current.read(jobs)
        var wave = 1
        while !current.slots.isEmpty {
            let following = take(wave)
            let work = WaveWork(jobs: jobs, current: current, following: following, hashes: hashes, encoders: encoders)
            try work.run(on: pool)
            for slot in current.slots { try finished(slot) }
            current = following
            wave = 1 - wave
        }
        return hashes.finish()
    }
}

/// The slots of one wave.
private struct WaveSlots: Sendable {
    let slots: [BlockSlot]

    func read(_ jobs: [TensorJob]) throws(LaminaError) {
        for slot in slots {
            let job = jobs[slot.job]
            do throws(LaminaError) {
                try job.read(slot.sourceBytes, job.sourceBytes(ofBlock: slot.block).lowerBound)
            } catch {
                var located = error
                located.tensor = job.name
                throw located
            }
        }
    }
}

/// SHA-256 of each tensor's source bytes, fed block by block in order.
private final class SourceHashes: @unchecked Sendable {
    // Sendable: one task per wave uses it.
    private var current = SHA256()
    private var digests: [SHA256Digest] = []
    private let jobs: [TensorJob]

    init(jobs: [TensorJob]) { self.jobs = jobs }

    func update(_ slot: BlockSlot) {
        while digests.count < slot.job { finishTensor() }
        current.update(UnsafeRawBufferPointer(slot.sourceBytes))
    }

    private func finishTensor() {
        digests.append(current.finalize())
        current = SHA256()
    }

    /// All digests; tensors without bytes have the digest of nothing.
    func finish() -> [SHA256Digest] {
        while digests.count < jobs.count { finishTensor() }
        return digests
    }
}

/// One wave's tasks: 0 hashes, 1 reads ahead, the others encode a block each.
private final class WaveWork: @unchecked Sendable {
    // Sendable: tasks share only what `lock` guards and what the pool's order makes exclusive.
    private let jobs: [TensorJob]
    private let current: WaveSlots
    private let following: WaveSlots
    private let hashes: SourceHashes
    private let encoders: [BlockEncoder]
    private let failure = FirstFailure()

    init(
        jobs: [TensorJob], current: WaveSlots, following: WaveSlots, hashes: SourceHashes, encoders: [BlockEncoder]
    ) {
        self.jobs = jobs
        self.current = current
        self.following = following
        self.hashes = hashes
        self.encoders = encoders
    }

    func run(on pool: OpaquePointer) throws(LaminaError) {
        let context = Unmanaged.passUnretained(self).toOpaque()
        lamina_pool_run(
            pool, current.slots.count + 2,
            { context, index, worker in
                guard let context else { return }
                Unmanaged<WaveWork>.fromOpaque(context).takeUnretainedValue().task(index, worker: worker)
            }, context)
        try failure.rethrow()
    }

    private func task(_ index: Int, worker: Int) {
        do throws(LaminaError) {
            switch index {
            case 0: for slot in current.slots { hashes.update(slot) }
            case 1: try following.read(jobs)
            default:
                let slot = current.slots[index - 2]
                try encoders[worker].encode(slot, job: jobs[slot.job])
            }
        } catch {
            failure.note(error)
        }
    }
}
