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
/// Requests start in plan order, as soon as a slot is free and fewer than the backend's depth are in flight; whoever
/// makes that so starts them. A consumer waits for its request and gives the slot back chunk by chunk. Which experts a
/// pass needs is not known before it has run their router: until it says so (`route`), what stands behind them is read
/// ahead, as long as more than `slotsForExperts` are free. The experts, once known, come before the rest of that.
///
/// Any number of slots from one up makes progress. Consumers take requests in plan order too, so of those that the
/// passes want and have not used yet, the oldest, X, belongs to a task that runs. If it has a slot, or memory of
/// its own, it will be read, used and given back. If not, it is the next to start, and waits only if all slots are
/// taken, by requests behind it. Let Y be the one of these that started last. X came before it in the order and was not
/// chosen, so X was an expert not known to be wanted, and Y was read ahead: that left a slot free, and none was taken
/// since. So X finds it. A stage that holds several requests at once finds slots for all of them if they are fewer than
/// there are, or, for experts, no more than `slotsForExperts`.
final class Prefetcher: ReadOwner, @unchecked Sendable {
    // Sendable: everything mutable is guarded by `monitor`, except slot bytes, which belong to one side at a time.
    private struct Entry {
        enum State { case idle, reading, ready, finished }
        let residence: Residence
        var state = State.idle
        var pass = 0
        /// Of the ring, while it has one.
        var slot: Int?
        /// Where its bytes go: that slot, or memory that they stay in.
        var memory: UnsafeMutableRawPointer?
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
    private let experts: ExpertRequests
    private let slotBytes: Int
    /// Slots that what is read ahead of a router leaves free.
    private let slotsForExperts: Int
    private let ring: UntouchedMemory
    /// What entries' memory is part of.
    private let residents: Residents?
    private var cache: ExpertCache?
    private let monitor = Monitor()
    private var entries: [Entry]
    private var freeSlots: [Int]
    private var order: ReadOrder
    private var inFlight = 0
    /// When `inFlight` rose from 0.
    private var busySince = 0.0
    private var isStarted = false
    private var isStopping = false
    private var failure: LaminaError?
    private var statistics = ReadStatistics()

    /// Reads nothing before `start`. `names` has the tensor of each request's first chunk; requests from
    /// `bodyRequestCount` on are the head's; those of `experts` are read where they are routed, and kept in `cache`.
    /// `slotBytes` must hold the largest request that is not resident, nor of a layer whose experts the cache has room
    /// for; with `readsOnce` all those are read once, and there is no cache. `memory` for the ring, if given, must hold
    /// all slots. Throws `.limit` for memory or threads, `.io` for a mode that cannot be had.
    init(
        files: [ShardFile], requests: [ReadRequest], names: [String], bodyRequestCount: Int, schedule: [PassSchedule],
        slotBytes: Int, slotCount: Int, residents: Residents?, readsOnce: Bool, options: ReaderOptions,
        memory: UntouchedMemory? = nil, experts: ExpertRequests = ExpertRequests(), cache: ExpertCache? = nil
    ) throws(LaminaError) {
        self.files = files
        self.requests = requests
        self.names = names
        self.experts = experts
        self.slotBytes = roundedUp(slotBytes, to: AlignedBuffer.alignment)
        slotsForExperts = Prefetcher.slotsForExperts(of: slotCount)
        self.residents = residents
        self.cache = cache
        let entries = requests.indices.map { request in
            let memory = residents?.bytes(of: request)?.baseAddress
            return Entry(residence: memory != nil ? .resident : readsOnce ? .once : .streamed, memory: memory)
        }
        self.entries = entries
        let occurrences = zip(requests, entries).map { request, entry -> ReadOrder.Occurrence in
            request.expert != nil ? .routed : entry.residence == .streamed ? .everyPass : .once
        }
        order = ReadOrder(
            occurrences, bodyCount: bodyRequestCount, layers: experts.layers, schedule: schedule)
        freeSlots = Array((0..<slotCount).reversed())
        ring = try Prefetcher.ring(memory, count: self.slotBytes * slotCount)
        let largest = zip(requests.indices, requests).reduce(0) { largest, request in
            let isKept = residents?.contains(request.0) == true || cache?.holds(request.1) == true
            return isKept ? largest : max(largest, request.1.byteCount)
        }
        guard largest == 0 || (largest <= self.slotBytes && slotCount > 0) else {
            throw LaminaError(.unexpected, "", "a request does not fit the reader's ring")
        }
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

    /// Of so many slots, those that requests ahead of a router never take: as many as experts may hold at a time.
    static func slotsForExperts(of slotCount: Int) -> Int { max(1, slotCount / 2) }

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
            if entry.state == .ready, entry.residence == .resident || entry.pass == pass, let memory = entry.memory {
                return UnsafeRawPointer(memory)
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
        // What has no slot stays.
        guard let slot = entry.slot, entry.state == .ready, entry.pass == pass else { return false }
        entries[request].chunksLeft -= 1
        guard entry.chunksLeft <= 1 else { return false }
        entries[request].state = entry.residence == .once ? .finished : .idle
        entries[request].slot = nil
        entries[request].memory = nil
        freeSlots.append(slot)
        return true
    }

    /// The bytes of a resident request if they have been read.
    func residentBytes(_ request: Int) -> UnsafeRawPointer? {
        monitor.lock()
        defer { monitor.unlock() }
        guard entries[request].residence == .resident, entries[request].state == .ready else { return nil }
        return entries[request].memory.map { UnsafeRawPointer($0) }
    }

    // MARK: Experts

    /// Says which experts `pass` wants of the layer whose turn it is: indices into the plan's experts that rise, maybe
    /// none. They can be taken from then on; the layer's others will not be read. `note` hears of each where its bytes
    /// come from. Every layer with experts has to be routed in every pass, in order, by the thread that runs the pass,
    /// and all that the pass before wanted of this layer has to have been taken and given back, since others may take
    /// its place. Throws `.unexpected` where that is not so, or what stopped reading.
    func route(
        pass: Int, experts wanted: [Int], note: (_ expert: Int, _ place: ExpertPlace) -> Void = { _, _ in }
    ) throws(LaminaError) {
        try assignPlaces(pass, wanted, note)
        startRequests()
    }

    private func assignPlaces(
        _ pass: Int, _ wanted: [Int], _ note: (_ expert: Int, _ place: ExpertPlace) -> Void
    ) throws(LaminaError) {
        monitor.lock()
        defer { monitor.unlock() }
        let isRising = zip(wanted, wanted.dropFirst()).allSatisfy(<)
        guard let layer = order.layerToRoute(pass: pass), isRising,
            wanted.allSatisfy(experts.layers[layer].experts.contains),
            experts.layers[layer].requests.allSatisfy(isSettled)
        else { throw failure ?? LaminaError(.unexpected, "", "experts were routed out of turn") }
        defer { order.endTurn() }
        guard cache != nil else {
            for expert in wanted {
                // Read once and kept by whom it was for, unless the pass that began it did not finish it.
                let isKept = experts.requests[expert].allSatisfy { entries[$0].state == .finished }
                place(expert, isKept ? .cached : .streamed, nil)
                note(expert, isKept ? .cached : .streamed)
            }
            return
        }
        cache?.route(layer: layer, wanted) { expert, place, start, evicted in
            for request in evicted.map({ experts.requests[$0] }) ?? 0..<0 {
                entries[request].state = .idle
                entries[request].memory = nil
            }
            self.place(expert, place, start)
            note(expert, place)
        }
    }

    /// Whether a request has no memory, or is complete where it stays.
    private func isSettled(_ request: Int) -> Bool {
        let entry = entries[request]
        return entry.memory == nil || (entry.slot == nil && entry.state == .ready)
    }

    /// An expert that the pass in turn wants is there, or will be read, to `start` if it has memory of its own.
    private func place(_ expert: Int, _ place: ExpertPlace, _ start: UnsafeMutableRawPointer?) {
        statistics.experts.count(place, bytes: experts.byteCounts[expert])
        var start = start
        for request in experts.requests[expert] where entries[request].state != .finished {
            if place == .cached {
                entries[request].pass = order.routingPass
            } else {
                entries[request].memory = start
                start = start.map { $0 + requests[request].byteCount }
                order.add(routed: request)
            }
        }
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

    /// The read of the next request in order, if it can start now; it then counts as in flight.
    private func nextOperation() -> ReadOperation? {
        monitor.lock()
        defer { monitor.unlock() }
        guard isStarted, !isStopping, failure == nil, inFlight < depth, let (place, isAhead) = order.next() else {
            return nil
        }
        let index = place.request
        // From the pass before, when the ring holds a whole pass.
        guard entries[index].state == .idle else { return nil }
        if entries[index].memory == nil {
            guard freeSlots.count > (isAhead ? slotsForExperts : 0), let slot = freeSlots.popLast() else { return nil }
            entries[index].slot = slot
            entries[index].memory = ring.start + slot * slotBytes
        }
        order.start(place)
        let request = requests[index]
        entries[index].state = .reading
        entries[index].pass = place.pass
        entries[index].chunksLeft = request.chunks.count
        if inFlight == 0 { busySince = lamina_monotonic_seconds() }
        inFlight += 1
        let buffer = UnsafeMutableRawBufferPointer(start: entries[index].memory, count: request.byteCount)
        return ReadOperation(
            file: files[request.file],
            progress: ReadProgress(into: buffer, at: request.offset, neededBytes: request.neededBytes),
            slot: entries[index].slot, request: index, owner: self)
    }
}
