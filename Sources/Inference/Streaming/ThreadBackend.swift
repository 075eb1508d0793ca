import TensorCore

/// Reads by threads that call `pread`.
final class ThreadBackend: ReadBackend, @unchecked Sendable {
    // Sendable: everything mutable is guarded by `monitor`, but for `workers`, which only the owner touches.
    let mode: ReadMode
    let depth: Int
    private let monitor = Monitor()
    private var waiting: [ReadOperation] = []
    private var isStopping = false
    private var workers: [JoinableThread] = []

    /// Throws `.limit` if the system has no such threads to give.
    init(_ mode: ReadMode, threads: Int) throws(LaminaError) {
        self.mode = mode
        depth = max(1, threads)
        for _ in 0..<depth {
            // The threads hold this object until `stop`, which the owner must call.
            guard let thread = JoinableThread({ self.run() }) else {
                _ = stop()
                throw LaminaError(.limit, "", "cannot start a reader thread")
            }
            workers.append(thread)
        }
    }

    func submit(_ operation: ReadOperation) {
        monitor.lock()
        waiting.append(operation)
        monitor.wakeOne(.producers)
        monitor.unlock()
    }

    func stop() -> Bool {
        monitor.lock()
        isStopping = true
        monitor.wakeAll(.producers)
        monitor.unlock()
        for worker in workers { worker.join() }
        workers = []
        return true
    }

    private func run() {
        while var operation = next() {
            var problem: LaminaError?
            do throws(LaminaError) {
                try operation.file.read(&operation.progress)
            } catch {
                problem = error
            }
            operation.end(problem)
        }
    }

    /// The oldest read that nobody has taken; `nil` when there is none left and none will come.
    private func next() -> ReadOperation? {
        monitor.lock()
        defer { monitor.unlock() }
        while waiting.isEmpty {
            if isStopping { return nil }
            monitor.wait(as: .producers)
        }
        return waiting.removeFirst()
    }
}
