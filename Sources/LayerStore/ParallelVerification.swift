import CKernels
import Synchronization
import TensorCore

/// Checks a store's shards side by side: SHA-256 is serial within a file, so files are what threads share.
public final class ParallelVerification: Sendable {
    private let verification: Verification
    private let progress: @Sendable (Int) throws(LaminaError) -> Void
    private let finished: @Sendable (Manifest.Shard, _ isIntact: Bool) -> Void
    private let results: Mutex<[Int: [LaminaError]]> = Mutex([:])
    private let failure = FirstFailure()

    /// `progress` gets the bytes read, from any thread; what it throws stops the run.
    public init(
        _ verification: Verification, progress: @escaping @Sendable (Int) throws(LaminaError) -> Void,
        finished: @escaping @Sendable (Manifest.Shard, _ isIntact: Bool) -> Void = { _, _ in }
    ) {
        self.verification = verification
        self.progress = progress
        self.finished = finished
    }

    /// All damage of the shards, in their order. Throws `.io`, `.limit`, and what `progress` throws.
    public func shards(threads: Int) throws(LaminaError) -> [LaminaError] {
        let shards = verification.store.manifest.shards
        guard let pool = lamina_pool_create(max(1, min(threads, shards.count))) else {
            throw LaminaError(.limit, "", "cannot start \(threads) threads")
        }
        defer { lamina_pool_destroy(pool) }
        lamina_pool_run(
            pool, shards.count,
            { context, index, _ in
                guard let context else { return }
                Unmanaged<ParallelVerification>.fromOpaque(context).takeUnretainedValue().check(index)
            }, Unmanaged.passUnretained(self).toOpaque())
        try failure.rethrow()
        return results.withLock { found in shards.indices.flatMap { found[$0] ?? [] } }
    }

    private func check(_ index: Int) {
        let shard = verification.store.manifest.shards[index]
        do throws(LaminaError) {
            let damage = try verification.check(shard, progress: progress)
            results.withLock { $0[index] = damage }
            finished(shard, damage.isEmpty)
        } catch {
            failure.note(error)
        }
    }
}
