import Glibc

/// A lock with two conditions to wait for, usable from threads that block.
public final class Monitor: @unchecked Sendable {
    // Sendable: pthread's own objects, at a stable address.
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let conditions = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 2)

    /// The two sides that wait for each other.
    public enum Side: Int, Sendable { case producers, consumers }

    public init() {
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(conditions, nil)
        pthread_cond_init(conditions + 1, nil)
    }

    deinit {
        pthread_cond_destroy(conditions)
        pthread_cond_destroy(conditions + 1)
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
        conditions.deallocate()
    }

    public func lock() { pthread_mutex_lock(mutex) }
    public func unlock() { pthread_mutex_unlock(mutex) }
    /// Releases the lock, waits to be woken, takes the lock; may wake for no reason.
    public func wait(as side: Side) { pthread_cond_wait(conditions + side.rawValue, mutex) }
    public func wakeAll(_ side: Side) { pthread_cond_broadcast(conditions + side.rawValue) }
    public func wakeOne(_ side: Side) { pthread_cond_signal(conditions + side.rawValue) }
}
