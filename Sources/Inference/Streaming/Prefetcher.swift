import CSystem
import LayerStore
import TensorCore

/// What kind of place a request's bytes have.
enum Residence {
    /// Through the ring in every pass.
    case streamed
    /// Read once, into memory of its own, and kept as stored.
    case resident
    /// Read once through the ring, by the first pass that comes to it: the consumer keeps what it needs.
    case once
}

/// Reads a plan's requests ahead of their use, across stages, layers and tokens, into a fixed ring of slots.
///
/// Requests start strictly in plan order, as soon as a slot is free and fewer than the backend's depth are in flight;
/// whoever makes that so starts them. A consumer waits for its request and gives the slot back chunk by chunk. Consumers
/// start requests in plan order, so the oldest one with a slot always belongs to a task that runs: any number of slots
/// from one up makes progress.
final class Prefetcher: ReadOwner, @unchecked Sendable {
    // Sendable: everything mutable is guarded by `monitor`, except slot bytes, which belong to one side at a time.
    private struct Entry {
        enum State { case idle, reading, ready, finished }
        let residence: Residence
        var state = State.idle
        var pass = 0
        var slot = 0
        /// Chunks still to be given back before the slot is free.
        var chunksLeft = 0
    }

    let backend: any ReadBackend
    let mode: ReadMode
    /// The most requests in flight.
    let depth: Int
    /// Why the best mode is not in use, unless it is or another was asked for.
    let refusal: LaminaError?
    private let files: [ShardFile]
    private let requests: [ReadRequest]
    /// The tensor of each request's first chunk, for messages.
    private let names: [String]
    private let bodyRequestCount: Int
    private let slotBytes: Int
    private let ring: UntouchedMemory
    private let residents: Residents?
    private let monitor = Monitor()
    private var entries: [Entry]
    private var freeSlots: [Int]
    /// Requests to be read once that have not been started; once there are none, passes without streamed ones are empty.
    private var unreadCount: Int
    private let hasStreamed: Bool
    private var schedule: [PassSchedule]
    /// The pass and the position in it that the next request is for.
    private var pass = 0
    private var passesBeforeSchedule = 0
    private var cursor = 0
    private var inFlight = 0
    /// When `inFlight` rose from 0.
    private var busySince = 0.0
    private var isStarted = false
    private var isStopping = false
    private var failure: LaminaError?
    private var statistics = ReadStatistics()

    /// Reads nothing before `start`. `names` has the tensor of each request's first chunk; requests from `bodyRequestCount` on are the
    /// head's. `slotBytes` must hold the largest request that is not resident; with `readsOnce` all those are read once.
    /// `memory` for the ring, if given, must hold all slots. Throws `.limit` for memory or threads, `.io` for a mode
    /// that cannot be had.
    init(
        files: [ShardFile], requests: [ReadRequest], names: [String], bodyRequestCount: Int, schedule: [PassSchedule],
        slotBytes: Int, slotCount: Int, residents: Residents?, readsOnce: Bool, options: ReaderOptions,
        memory: UntouchedMemory? = nil
    ) throws(LaminaError) {
        self.files = files
        self.requests = requests
        self.names = names
        self.bodyRequestCount = bodyRequestCount
        self.schedule = schedule
        self.slotBytes = roundedUp(slotBytes, to: AlignedBuffer.alignment)
        self.residents = residents
        entries = requests.indices.map { request in
            Entry(residence: residents?.contains(request) == true ? .resident : readsOnce ? .once : .streamed)
        }
        hasStreamed = entries.contains { $0.residence == .streamed }
        unreadCount = entries.count { $0.residence != .streamed }
        freeSlots = Array((0..<slotCount).reversed())
        ring = try Prefetcher.ring(memory, count: self.slotBytes * slotCount)
        try Prefetcher.check(requests, entries, slotBytes: self.slotBytes, slotCount: slotCount)
        let slots = UnsafeMutableRawBufferPointer(rebasing: ring.bytes[..<(self.slotBytes * slotCount)])
        (backend, refusal) = try options.backend(for: files, memory: slots, slotBytes: self.slotBytes)
        mode = backend.mode
        depth = backend.depth
    }

    /// Begins to read ahead; later calls do nothing. Until then the disk is free for what the first pass needs first.
    func start() {
        monitor.lock()
        let isFirst = !isStarted
        isStarted = true
        monitor.unlock()
        if isFirst { startRequests() }
    }

    private static func ring(_ memory: UntouchedMemory?, count: Int) throws(LaminaError) -> UntouchedMemory {
        guard let memory else { return try UntouchedMemory.ring(count: count) }
        guard memory.count >= count else { throw LaminaError(.unexpected, "", "the reader's ring is too small") }
        return memory
    }

    private static func check(
        _ requests: [ReadRequest], _ entries: [Entry], slotBytes: Int, slotCount: Int
    ) throws(LaminaError) {
        let fits = zip(requests, entries).allSatisfy { request, entry in
            entry.residence == .resident || (request.byteCount <= slotBytes && slotCount > 0)
        }
        guard fits else { throw LaminaError(.unexpected, "", "a request does not fit the reader's ring") }
    }

    /// Ends reading after the requests in flight; waiting consumers throw. May be called again.
    func stop() {
        monitor.lock()
        isStopping = true
        monitor.wakeAll(.consumers)
        while inFlight > 0 { monitor.wait(as: .producers) }
        monitor.unlock()
        // Memory that a lost read may still write to is never given back.
        if !backend.stop() { _ = Unmanaged.passRetained(self) }
    }

    /// Makes all waiting and future `take` calls throw `error`, unless one failed before.
    func abort(_ error: LaminaError) {
        monitor.lock()
        if failure == nil { failure = error }
        monitor.wakeAll(.consumers)
        monitor.unlock()
    }

    var readStatistics: ReadStatistics {
        monitor.lock()
        defer { monitor.unlock() }
        var statistics = statistics
        if inFlight > 0 { statistics.seconds += lamina_monotonic_seconds() - busySince }
        return statistics
    }

    // MARK: Consumers

    /// The bytes of `request` in `pass`, waiting for them if need be; `waited` grows by the seconds that took. Throws
    /// what stopped reading: `.io` or `.damaged` with file, layer, tensor and bytes.
    func take(pass: Int, request: Int, waited: inout Double) throws(LaminaError) -> UnsafeRawPointer {
        var started: Double?
        monitor.lock()
        defer {
            monitor.unlock()
            if let started { waited += lamina_monotonic_seconds() - started }
        }
        while true {
            let entry = entries[request]
            if entry.state == .ready, entry.residence == .resident || entry.pass == pass {
                return UnsafeRawPointer(target(request, slot: entry.slot))
            }
            if let failure { throw failure }
            if isStopping { throw LaminaError(.unexpected, "", "reading was stopped while a chunk was wanted") }
            if started == nil { started = lamina_monotonic_seconds() }
            monitor.wait(as: .consumers)
        }
    }

    /// Gives back one chunk of what `take` returned; the slot is free when all chunks of the request have been.
    func release(pass: Int, request: Int) {
        guard giveBack(pass, request) else { return }
        startRequests()
    }

    /// Whether that freed a slot.
    private func giveBack(_ pass: Int, _ request: Int) -> Bool {
        monitor.lock()
        defer { monitor.unlock() }
        let entry = entries[request]
        guard entry.residence != .resident, entry.state == .ready, entry.pass == pass else { return false }
        entries[request].chunksLeft -= 1
        guard entry.chunksLeft <= 1 else { return false }
        entries[request].state = entry.residence == .once ? .finished : .idle
        freeSlots.append(entry.slot)
        return true
    }

    /// The bytes of a resident request if they have been read.
    func residentBytes(_ request: Int) -> UnsafeRawPointer? {
        monitor.lock()
        defer { monitor.unlock() }
        guard entries[request].residence == .resident, entries[request].state == .ready else { return nil }
        return UnsafeRawPointer(target(request, slot: 0))
    }

    private func target(_ request: Int, slot: Int) -> UnsafeMutableRawPointer {
        residents?.bytes(of: request)?.baseAddress ?? ring.start + slot * slotBytes
    }

    // MARK: Reading

    func readEnded(_ operation: ReadOperation, _ problem: LaminaError?) {
        let request = operation.request
        monitor.lock()
        inFlight -= 1
        if inFlight == 0 { statistics.seconds += lamina_monotonic_seconds() - busySince }
        if let problem {
            // Located here, not where it is thrown: a worker waiting for an earlier chunk may be the first to hear.
            if failure == nil { failure = problem.located(in: operation.file, tensor: names[request]) }
        } else {
            entries[request].state = .ready
            statistics.bytes += UInt64(requests[request].byteCount)
            statistics.requests += 1
        }
        monitor.wakeAll(.consumers)
        if isStopping { monitor.wakeAll(.producers) }
        monitor.unlock()
        startRequests()
    }

    private func startRequests() {
        while let operation = nextOperation() { backend.submit(operation) }
    }

    /// The read of the next request in plan order, if it can start now; it then counts as in flight.
    private func nextOperation() -> ReadOperation? {
        monitor.lock()
        defer { monitor.unlock() }
        guard !isStopping, failure == nil, inFlight < depth, let index = nextRequest() else { return nil }
        let entry = entries[index]
        // From the pass before, when the ring holds a whole pass.
        guard entry.state == .idle else { return nil }
        var slot: Int?
        if entry.residence != .resident {
            guard let free = freeSlots.popLast() else { return nil }
            slot = free
        }
        if entry.residence != .streamed { unreadCount -= 1 }
        let request = requests[index]
        entries[index].state = .reading
        entries[index].pass = pass
        entries[index].slot = slot ?? 0
        entries[index].chunksLeft = request.chunks.count
        cursor += 1
        if inFlight == 0 { busySince = lamina_monotonic_seconds() }
        inFlight += 1
        let buffer = UnsafeMutableRawBufferPointer(
            start: target(index, slot: slot ?? 0), count: request.byteCount)
        return ReadOperation(
            file: files[request.file],
            progress: ReadProgress(into: buffer, at: request.offset, neededBytes: request.neededBytes), slot: slot,
            request: index, owner: self)
    }

    /// The request under the cursor, after moving over passes that are done and requests that need no reading again;
    /// `nil` if no scheduled pass is left, or none of them will read anything.
    private func nextRequest() -> Int? {
        while let current = currentSchedule() {
            let end = current.includesHead ? requests.count : bodyRequestCount
            while cursor < end {
                let entry = entries[cursor]
                if entry.residence == .streamed || entry.state == .idle { return cursor }
                cursor += 1
            }
            if unreadCount == 0, !hasStreamed { return nil }
            pass += 1
            cursor = 0
        }
        return nil
    }

    private func currentSchedule() -> PassSchedule? {
        while let first = schedule.first {
            if pass < passesBeforeSchedule + first.count { return first }
            passesBeforeSchedule += first.count
            schedule.removeFirst()
        }
        return nil
    }
}
