import CKernels
import TensorCore

/// Threads that share out tasks which can fail.
final class WorkerPool: @unchecked Sendable {
    // Sendable: the C pool is; runs come from one thread at a time.
    private let pool: OpaquePointer
    let threads: Int

    /// Throws `.limit` if the system has no threads to give.
    init(threads: Int) throws(LaminaError) {
        guard let pool = lamina_pool_create(threads) else {
            throw LaminaError(.limit, "", "cannot start \(threads) threads")
        }
        self.pool = pool
        self.threads = threads
    }

    deinit { lamina_pool_destroy(pool) }

    /// Runs `task` for every index below `count`, beginning with the first, and with the number of the thread that runs
    /// it; returns when all are done. Throws the first error; the other tasks run all the same.
    func run(
        _ count: Int, _ task: @Sendable (_ index: Int, _ worker: Int) throws(LaminaError) -> Void
    ) throws(LaminaError) {
        let failure = FirstFailure()
        withoutActuallyEscaping(task) { task in
            let tasks = Tasks(task, failure)
            withExtendedLifetime(tasks) {
                lamina_pool_run(
                    pool, count,
                    { context, index, worker in
                        guard let context else { return }
                        Unmanaged<Tasks>.fromOpaque(context).takeUnretainedValue().run(index, worker)
                    }, Unmanaged.passUnretained(tasks).toOpaque())
            }
        }
        try failure.rethrow()
    }

    private final class Tasks: Sendable {
        private let task: @Sendable (Int, Int) throws(LaminaError) -> Void
        private let failure: FirstFailure

        init(_ task: @escaping @Sendable (Int, Int) throws(LaminaError) -> Void, _ failure: FirstFailure) {
            self.task = task
            self.failure = failure
        }

        func run(_ index: Int, _ worker: Int) {
            do throws(LaminaError) { try task(index, worker) } catch { failure.note(error) }
        }
    }
}
