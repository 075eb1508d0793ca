import CSystem
import Glibc
import LayerStore
import TensorCore

/// Reads by io_uring: whoever frees a slot starts the next read, and one thread waits for completions.
final class RingBackend: ReadBackend, @unchecked Sendable {
    // Sendable: everything mutable is guarded by `monitor`, but for `reaper` and `isRegistered`, which the owner sets
    // before the first read; the ring itself takes submissions from any thread.
    let mode: ReadMode
    let depth: Int
    private let tagCount: Int
    private let ring: OpaquePointer
    private var isRegistered = false
    private let monitor = Monitor()
    /// Reads that have not ended, by tag.
    private var operations: [ReadOperation?]
    private var freeTags: [Int]
    /// Reads the kernel has taken less those it has given back. Below 0 for a moment when a read completes before the
    /// thread that started it has counted it.
    private var outstanding = 0
    private var isStopping = false
    /// Why completions cannot be had any more.
    private var failure: LaminaError?
    private var reaper: JoinableThread?

    /// Throws `.io` where io_uring is not allowed, `.limit` if the system has no thread to give.
    init(_ mode: ReadMode, depth: Int) throws(LaminaError) {
        self.mode = mode
        self.depth = max(1, depth)
        var code: Int32 = 0
        tagCount = self.depth + ReaderOptions.fetches
        guard let ring = lamina_ring_create(UInt32(clamping: tagCount), &code) else {
            throw mode.unavailable("io_uring: \(SystemError(code: code).text)")
        }
        self.ring = ring
        operations = Array(repeating: nil, count: tagCount)
        freeTags = Array((0..<tagCount).reversed())
        // The thread holds this object until `stop`, which the owner must call.
        guard let thread = JoinableThread({ self.reap() }) else {
            throw LaminaError(.limit, "", "cannot start a reader thread")
        }
        reaper = thread
    }

    deinit { lamina_ring_destroy(ring) }

    /// Pins the slots of `slotBytes` that fill `memory`. Throws `.io` if the system refuses; then the ring has stopped.
    func register(_ memory: UnsafeMutableRawBufferPointer, slotBytes: Int) throws(LaminaError) {
        let status = lamina_ring_register(ring, memory.baseAddress, slotBytes, UInt32(memory.count / slotBytes))
        guard status == 0 else {
            _ = stop()
            throw mode.unavailable("registering \(memory.count) bytes: \(SystemError(code: -status).text)")
        }
        isRegistered = true
    }

    func submit(_ operation: ReadOperation) {
        monitor.lock()
        guard failure == nil, let tag = freeTags.popLast() else {
            let problem = failure ?? LaminaError(.unexpected, "", "more reads in flight than the ring has room for")
            monitor.unlock()
            return operation.end(problem)
        }
        operations[tag] = operation
        monitor.unlock()
        // The first touch of memory costs more than the read: not on the submitting thread.
        start(operation, tag: tag, mayBlock: operation.slot == nil)
    }

    func stop() -> Bool {
        monitor.lock()
        isStopping = true
        monitor.wakeAll(.producers)
        monitor.unlock()
        reaper?.join()
        reaper = nil
        return failure == nil
    }

    private func start(_ operation: ReadOperation, tag: Int, mayBlock: Bool) {
        let rest = operation.progress.rest
        var request = lamina_ring_request(
            descriptor: operation.file.descriptor ?? -1, slot: isRegistered ? Int32(operation.slot ?? -1) : -1,
            buffer: rest.baseAddress, offset: operation.progress.position, count: UInt32(rest.count), tag: UInt64(tag),
            may_block: mayBlock)
        let status = lamina_ring_read(ring, &request)
        monitor.lock()
        if status == 0 {
            outstanding += 1
            if outstanding == 1 { monitor.wakeAll(.producers) }
            return monitor.unlock()
        }
        monitor.unlock()
        end(tag, LaminaError(.io, operation.file.path, "read failed: \(SystemError(code: -status).text)"))
    }

    /// Frees the tag and tells the owner, unless `failAll` has done it.
    private func end(_ tag: Int, _ problem: LaminaError?) {
        monitor.lock()
        let operation = operations[tag]
        if operation != nil {
            operations[tag] = nil
            freeTags.append(tag)
        }
        if isStopping { monitor.wakeAll(.producers) }
        monitor.unlock()
        operation?.end(problem)
    }

    // MARK: The thread that waits

    private func reap() {
        while waitForWork() {
            var tag: UInt64 = 0
            var outcome: Int32 = 0
            let status = lamina_ring_wait(ring, &tag, &outcome)
            guard status == 0 else {
                return failAll(
                    LaminaError(.io, "", "waiting for reads failed: \(SystemError(code: -status).text)"))
            }
            completed(Int(tag), outcome)
        }
    }

    /// Whether the kernel has a read to give back; false when no more will come.
    private func waitForWork() -> Bool {
        monitor.lock()
        defer { monitor.unlock() }
        while outstanding <= 0 {
            if isStopping, freeTags.count == tagCount { return false }
            monitor.wait(as: .producers)
        }
        return true
    }

    private func completed(_ tag: Int, _ outcome: Int32) {
        monitor.lock()
        outstanding -= 1
        guard var operation = operations[tag] else { return monitor.unlock() }
        monitor.unlock()
        do throws(LaminaError) {
            if try operation.progress.advance(by: Int64(outcome), in: operation.file) { return end(tag, nil) }
        } catch {
            return end(tag, error)
        }
        monitor.lock()
        operations[tag] = operation
        monitor.unlock()
        // What could not be done without waiting is left to a thread of the kernel's.
        start(operation, tag: tag, mayBlock: outcome < 0 || operation.slot == nil)
    }

    private func failAll(_ problem: LaminaError) {
        monitor.lock()
        failure = problem
        let ended = operations.compactMap { $0 }
        operations = Array(repeating: nil, count: tagCount)
        monitor.unlock()
        for operation in ended { operation.end(problem) }
    }
}
