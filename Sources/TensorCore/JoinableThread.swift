import Glibc

/// A thread of the operating system that runs one closure, for work that blocks on the disk: a task would hold up the
/// cooperative pool. Its owner joins it.
public final class JoinableThread {
    private var thread = pthread_t()
    private var isRunning = false

    /// `false` if the system has no thread to give.
    public init?(_ body: @escaping @Sendable () -> Void) {
        let context = Unmanaged.passRetained(Box(body))
        let status = pthread_create(
            &thread, nil,
            { argument in
                if let argument { Unmanaged<Box>.fromOpaque(argument).takeRetainedValue().body() }
                return nil
            }, context.toOpaque())
        guard status == 0 else {
            context.release()
            return nil
        }
        isRunning = true
    }

    /// Waits for the closure to return; the second call does nothing.
    public func join() {
        guard isRunning else { return }
        isRunning = false
        pthread_join(thread, nil)
    }

    private final class Box: Sendable {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
}
