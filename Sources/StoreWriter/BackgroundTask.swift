import LayerStore
import TensorCore

/// A shard being published on a thread of its own, with an entry for the manifest to wait for.
final class BackgroundTask {
    private let outcome = Outcome()
    private let thread: JoinableThread?

    /// Starts `work`; where no thread is to be had, does it at once.
    init(_ work: @escaping @Sendable () throws(LaminaError) -> Manifest.Shard) {
        let outcome = outcome
        thread = JoinableThread { outcome.keep(work) }
        if thread == nil { outcome.keep(work) }
    }

    deinit { thread?.join() }

    /// Waits for the entry. Throws what the work threw.
    func value() throws(LaminaError) -> Manifest.Shard {
        thread?.join()
        guard let result = outcome.result else {
            throw LaminaError(.unexpected, "", "a shard was published without a result")
        }
        return try result.get()
    }

    private final class Outcome: @unchecked Sendable {
        // Sendable: written before the thread ends, read after it was joined.
        private(set) var result: Result<Manifest.Shard, LaminaError>?

        func keep(_ work: () throws(LaminaError) -> Manifest.Shard) {
            do throws(LaminaError) {
                result = .success(try work())
            } catch {
                result = .failure(error)
            }
        }
    }
}
