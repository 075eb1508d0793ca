import Synchronization

/// The first error of several tasks that run side by side.
public final class FirstFailure: Sendable {
    private let error = Mutex<LaminaError?>(nil)

    public init() {}

    /// Keeps `new` unless there is an earlier one.
    public func note(_ new: LaminaError) {
        error.withLock { if $0 == nil { $0 = new } }
    }

    /// Throws the first error noted, if any.
    public func rethrow() throws(LaminaError) {
        if let error = error.withLock({ $0 }) { throw error }
    }
}
