import Glibc
import LayerStore
import TensorCore

/// A shard being published on a thread of its own, with an entry for the manifest to wait for. A plain thread, since the work blocks on the disk.
final class BackgroundTask: @unchecked Sendable {
    // Sendable: `result` is written before the thread ends and read after it was joined.
    private let work: @Sendable () throws(LaminaError) -> Manifest.Shard
    private var result: Result<Manifest.Shard, LaminaError>?
    private var thread: pthread_t?

    /// Starts `work`; where no thread is to be had, does it at once.
    init(_ work: @escaping @Sendable () throws(LaminaError) -> Manifest.Shard) {
        self.work = work
        var thread = pthread_t()
        let status = pthread_create(
            &thread, nil,
            { context in
                guard let context else { return nil }
                Unmanaged<BackgroundTask>.fromOpaque(context).takeUnretainedValue().run()
                return nil
            }, Unmanaged.passUnretained(self).toOpaque())
        if status == 0 { self.thread = thread } else { run() }
    }

    deinit { join() }

    private func run() {
        do throws(LaminaError) {
            result = .success(try work())
        } catch {
            result = .failure(error)
        }
    }

    private func join() {
        if let thread { pthread_join(thread, nil) }
        thread = nil
    }

    /// Waits for the result. Throws what the work threw.
    func value() throws(LaminaError) -> Manifest.Shard {
        join()
        guard let result else { throw LaminaError(.unexpected, "", "a background task ended without a result") }
        return try result.get()
    }
}
