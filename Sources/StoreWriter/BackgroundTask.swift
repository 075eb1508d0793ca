import LayerStore
import TensorCore

/// A shard being published on a thread of its own, with an entry for the manifest to wait for.
final class BackgroundTask {
    private let entry = Entry()
    private let work: BackgroundWork

    /// Starts `work`; where no thread is to be had, does it at once.
    init(_ work: @escaping @Sendable () throws(LaminaError) -> Manifest.Shard) {
        let entry = entry
        self.work = BackgroundWork { () throws(LaminaError) in entry.shard = try work() }
    }

    /// Waits for the entry. Throws what the work threw.
    func value() throws(LaminaError) -> Manifest.Shard {
        try work.wait()
        guard let shard = entry.shard else {
            throw LaminaError(.unexpected, "", "a shard was published without a result")
        }
        return shard
    }

    private final class Entry: @unchecked Sendable {
        // Sendable: written by the work, read after it ended.
        var shard: Manifest.Shard?
    }
}
