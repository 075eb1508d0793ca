import Glibc

/// A lock with two conditions to wait for, usable from threads that block.
final class Monitor: @unchecked Sendable {
    // Sendable: pthread's own objects, at a stable address.
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let conditions = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 2)

    /// The two sides that wait for each other.
    enum Side: Int { case producers, consumers }

    init() {
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

    func lock() { pthread_mutex_lock(mutex) }
    func unlock() { pthread_mutex_unlock(mutex) }
    /// Releases the lock, waits to be woken, takes the lock; may wake for no reason.
    func wait(as side: Side) { pthread_cond_wait(conditions + side.rawValue, mutex) }
    func wakeAll(_ side: Side) { pthread_cond_broadcast(conditions + side.rawValue) }
    func wakeOne(_ side: Side) { pthread_cond_signal(conditions + side.rawValue) }
}
