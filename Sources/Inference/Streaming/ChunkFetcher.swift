import CSystem
import LayerStore
import TensorCore

/// Reads single chunks that no plan knows beforehand, several at a time, beside the prefetcher and through its backend.
final class ChunkFetcher: ReadOwner, @unchecked Sendable {
    // Sendable: `states` and `inFlight` are guarded by `monitor`; the rest belongs to the thread that fetches.
    private enum State {
        case reading, ready
        case failed(LaminaError)
    }

    /// One chunk to be read.
    struct Fetch {
        /// The caller's number for it.
        var item: Int
        var planned: PlannedChunk
        /// Where its bytes are to stay; `nil` for a slot, which is used again.
        var target: UnsafeMutableRawPointer?
    }

    private let file: ShardFile
    private let backend: any ReadBackend
    private let slots: UntouchedMemory
    private let slotBytes: Int
    /// What `Fetch.target` points into.
    private let kept: UntouchedMemory
    private let monitor = Monitor()
    private var states: [State]
    private var inFlight = 0
    private(set) var statistics = ReadStatistics()

    /// The most chunks in flight; more gain nothing, and every one takes memory.
    static let mostSlots = ReaderOptions.fetches

    /// `slots` chunks of at most `slotBytes` in flight. Throws `.limit`.
    init(
        _ file: ShardFile, backend: any ReadBackend, slots slotCount: Int, slotBytes: Int, kept: UntouchedMemory
    ) throws(LaminaError) {
        self.file = file
        self.backend = backend
        self.slotBytes = roundedUp(slotBytes, to: AlignedBuffer.alignment)
        self.kept = kept
        slots = try UntouchedMemory(count: self.slotBytes * slotCount)
        states = [State](repeating: .ready, count: slotCount)
    }

    /// Reads the chunks and hands over each, in the order given. Throws what reading throws, `.io` or `.damaged`, and
    /// what `use` throws; no read is in flight afterwards.
    func fetch(
        _ fetches: [Fetch], use: (Fetch, UnsafeRawBufferPointer) throws(LaminaError) -> Void
    ) throws(LaminaError) {
        guard !fetches.isEmpty else { return }
        let started = lamina_monotonic_seconds()
        defer {
            waitForAll()
            statistics.seconds += lamina_monotonic_seconds() - started
        }
        var next = 0
        for (index, fetch) in fetches.enumerated() {
            while next < fetches.count, next - index < states.count {
                submit(fetches[next], slot: next % states.count)
                next += 1
            }
            let slot = index % states.count
            try waitFor(slot)
            statistics.bytes += UInt64(fetch.planned.byteCount)
            statistics.requests += 1
            try use(fetch, UnsafeRawBufferPointer(target(fetch, slot: slot)))
        }
    }

    private func target(_ fetch: Fetch, slot: Int) -> UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(
            start: fetch.target ?? slots.start + slot * slotBytes, count: fetch.planned.byteCount)
    }

    private func submit(_ fetch: Fetch, slot: Int) {
        monitor.lock()
        states[slot] = .reading
        inFlight += 1
        monitor.unlock()
        let progress = ReadProgress(
            into: target(fetch, slot: slot), at: fetch.planned.offset, neededBytes: fetch.planned.neededBytes)
        backend.submit(ReadOperation(file: file, progress: progress, slot: nil, request: slot, owner: self))
    }

    private func waitFor(_ slot: Int) throws(LaminaError) {
        monitor.lock()
        defer { monitor.unlock() }
        while true {
            switch states[slot] {
            case .reading: monitor.wait(as: .consumers)
            case .ready: return
            case .failed(let problem): throw problem
            }
        }
    }

    private func waitForAll() {
        monitor.lock()
        while inFlight > 0 { monitor.wait(as: .consumers) }
        monitor.unlock()
    }

    func readEnded(_ operation: ReadOperation, _ problem: LaminaError?) {
        // A ring that failed may still write to the memory of its reads, so that is never given back.
        if problem != nil { _ = Unmanaged.passRetained(self) }
        monitor.lock()
        states[operation.request] = problem.map { .failed($0) } ?? .ready
        inFlight -= 1
        monitor.wakeAll(.consumers)
        monitor.unlock()
    }
}
