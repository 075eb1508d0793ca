/// Work on a thread of its own that can fail, with somebody to wait for it.
public final class BackgroundWork {
    private let outcome = Outcome()
    private let thread: JoinableThread?

    /// Starts `work`; where no thread is to be had, does it at once.
    public init(_ work: @escaping @Sendable () throws(LaminaError) -> Void) {
        let outcome = outcome
        thread = JoinableThread { outcome.keep(work) }
        if thread == nil { outcome.keep(work) }
    }

    deinit { thread?.join() }

    /// Waits for the end. Throws what the work threw.
    public func wait() throws(LaminaError) {
        thread?.join()
        if let failure = outcome.failure { throw failure }
    }

    private final class Outcome: @unchecked Sendable {
        // Sendable: written before the thread ends, read after it was joined.
        private(set) var failure: LaminaError?

        func keep(_ work: () throws(LaminaError) -> Void) {
            do throws(LaminaError) {
                try work()
            } catch {
                failure = error
            }
        }
    }
}
