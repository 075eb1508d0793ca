import CSystem
import LayerStore
import TensorCore

/// Passes the prefetcher reads ahead for: `count` in a row, with the head's chunks or without.
struct PassSchedule: Sendable, Equatable {
    var includesHead: Bool
    var count: Int
}

/// What reading cost so far.
struct ReadStatistics: Sendable {
    var bytes: UInt64 = 0
    /// Seconds in reads, summed over the reader threads.
    var seconds = 0.0
}

/// A chunk's bytes, as stored or decoded.
struct ChunkBytes {
    var bytes: UnsafeRawBufferPointer
    var isDecoded: Bool
}

/// Reads a plan's chunks ahead of their use, across stages, layers and tokens, into a fixed ring of slots.
///
/// Reader threads take the reads strictly in plan order, each with a free slot; a consumer waits for its read and gives
/// the slot back. Consumers start tasks in plan order, so the oldest unfinished read always belongs to a task that runs:
/// any number of slots from one up makes progress. Reads chosen to be resident go to memory of their own instead, once;
/// where residents are kept decoded, the consumer of the first pass hands them over with `keep`.
final class Prefetcher: @unchecked Sendable {
    // Sendable: everything mutable is guarded by `monitor`, except slot bytes, which belong to one side at a time.
    private struct Slot {
        enum State { case free, reading, ready }
        var state = State.free
        var key = -1
    }

    private enum Residence: UInt8 { case streamed, wanted, reading, filled }

    /// A read that a reader thread has taken.
    private struct Job {
        var read: Int
        var slot: Int?
    }

    private let files: [ShardFile]
    private let reads: [ChunkRead]
    /// Names of the plan's matrices, for messages.
    private let names: [String]
    private let bodyCount: Int
    private let slotBytes: Int
    private let ring: UntouchedMemory
    private let residents: Residents
    private let monitor = Monitor()
    private var slots: [Slot]
    private var freeSlots: [Int]
    private var residence: [Residence]
    /// Reads that go through the ring in every pass.
    private let streamedCount: Int
    private var schedule: [PassSchedule]
    /// The pass and the position in it that the next read is for.
    private var pass = 0
    private var passesBeforeSchedule = 0
    private var cursor = 0
    /// Residents that no thread has taken yet.
    private var wantedResidents: Int
    private var isStopping = false
    private var failure: LaminaError?
    private var statistics = ReadStatistics()
    private var threads: [JoinableThread] = []

    /// Starts `readers` threads. `slotBytes` must hold the largest read. Throws `.limit` for memory or threads.
    init(
        plan: StreamPlan, schedule: [PassSchedule], slotBytes: Int, slotCount: Int, readers: Int, residents: Residents
    ) throws(LaminaError) {
        files = plan.files
        reads = plan.reads
        names = plan.matrices.map(\.name)
        bodyCount = plan.bodyReadCount
        self.slotBytes = slotBytes
        self.residents = residents
        ring = try UntouchedMemory(count: slotBytes * slotCount)
        slots = [Slot](repeating: Slot(), count: slotCount)
        freeSlots = Array((0..<slotCount).reversed())
        residence = plan.reads.indices.map { residents.contains($0) ? .wanted : .streamed }
        streamedCount = plan.reads.indices.count { !residents.contains($0) }
        wantedResidents = plan.reads.count - streamedCount
        self.schedule = schedule
        for _ in 0..<max(1, readers) {
            // The threads hold this object until `stop`, which the owner must call.
            guard let thread = JoinableThread({ self.readLoop() }) else {
                stop()
                throw LaminaError(.limit, "", "cannot start a reader thread")
            }
            threads.append(thread)
        }
    }

    /// Ends the threads after the reads in hand; waiting consumers throw. May be called again.
    func stop() {
        monitor.lock()
        isStopping = true
        monitor.wakeAll(.producers)
        monitor.wakeAll(.consumers)
        monitor.unlock()
        for thread in threads { thread.join() }
        threads = []
    }

    /// Makes all waiting and future `take` calls throw `error`, unless one failed before.
    func abort(_ error: LaminaError) {
        monitor.lock()
        if failure == nil { failure = error }
        monitor.wakeAll(.producers)
        monitor.wakeAll(.consumers)
        monitor.unlock()
    }

    var readStatistics: ReadStatistics {
        monitor.lock()
        defer { monitor.unlock() }
        return statistics
    }

    // MARK: Consumers

    private func key(_ pass: Int, _ read: Int) -> Int { pass &* reads.count &+ read }

    /// The bytes of `read` in `pass`, waiting for them if need be; `waited` grows by the seconds that took. Throws the
    /// error that stopped reading.
    func take(pass: Int, read: Int, waited: inout Double) throws(LaminaError) -> ChunkBytes {
        let wanted = key(pass, read)
        var started: Double?
        monitor.lock()
        defer {
            monitor.unlock()
            if let started { waited += lamina_monotonic_seconds() - started }
        }
        while true {
            if let chunk = resident(read) { return chunk }
            if let slot = slots.firstIndex(where: { $0.key == wanted && $0.state == .ready }) {
                let stored = UnsafeRawBufferPointer(bytes(ofSlot: slot))[..<reads[read].byteCount]
                return ChunkBytes(bytes: UnsafeRawBufferPointer(rebasing: stored), isDecoded: false)
            }
            if let failure { throw failure }
            if isStopping { throw LaminaError(.unexpected, "", "reading was stopped while a chunk was wanted") }
            if started == nil { started = lamina_monotonic_seconds() }
            monitor.wait(as: .consumers)
        }
    }

    /// Gives back what `take` returned.
    func release(pass: Int, read: Int) {
        let finished = key(pass, read)
        monitor.lock()
        defer { monitor.unlock() }
        guard let slot = slots.firstIndex(where: { $0.key == finished && $0.state == .ready }) else { return }
        slots[slot] = Slot()
        freeSlots.append(slot)
        monitor.wakeOne(.producers)
    }

    /// Takes over the decoded elements of `read` if it is to be resident that way.
    func keep(_ elements: UnsafeRawPointer, of read: Int) {
        guard residents.areDecoded, let target = residents.bytes(of: read) else { return }
        target.copyMemory(from: UnsafeRawBufferPointer(start: elements, count: target.count))
        monitor.lock()
        residence[read] = .filled
        monitor.unlock()
    }

    /// The bytes of `read` if they are resident by now.
    func residentChunk(_ read: Int) -> ChunkBytes? {
        monitor.lock()
        defer { monitor.unlock() }
        return resident(read)
    }

    private func resident(_ read: Int) -> ChunkBytes? {
        guard residence[read] == .filled, let bytes = residents.bytes(of: read) else { return nil }
        return ChunkBytes(bytes: UnsafeRawBufferPointer(bytes), isDecoded: residents.areDecoded)
    }

    // MARK: Reader threads

    private func bytes(ofSlot slot: Int) -> UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(start: ring.start + slot * slotBytes, count: slotBytes)
    }

    private func readLoop() {
        while let job = nextJob() {
            let read = reads[job.read]
            let started = lamina_monotonic_seconds()
            var problem: LaminaError?
            if let target = job.slot.map(bytes(ofSlot:)) ?? residents.bytes(of: job.read) {
                do throws(LaminaError) {
                    try files[read.file].read(
                        into: UnsafeMutableRawBufferPointer(rebasing: target[..<read.byteCount]), at: read.offset,
                        neededBytes: read.neededBytes)
                } catch {
                    // Here, not where it is thrown: a worker waiting for an earlier chunk may be the first to hear.
                    problem = error.located(in: files[read.file], tensor: names[read.matrix])
                }
            }
            finish(job, problem, seconds: lamina_monotonic_seconds() - started)
        }
    }

    private func finish(_ job: Job, _ problem: LaminaError?, seconds: Double) {
        monitor.lock()
        defer { monitor.unlock() }
        statistics.seconds += seconds
        if let problem {
            if failure == nil { failure = problem }
            monitor.wakeAll(.producers)
        } else {
            statistics.bytes += UInt64(reads[job.read].byteCount)
            if let slot = job.slot {
                slots[slot].state = .ready
            } else {
                residence[job.read] = .filled
            }
        }
        monitor.wakeAll(.consumers)
    }

    /// The next read in plan order, with its slot; waits for a slot, or for the end if all is read. `nil` when it is over.
    private func nextJob() -> Job? {
        monitor.lock()
        defer { monitor.unlock() }
        while !isStopping, failure == nil {
            guard let read = nextRead() else {
                monitor.wait(as: .producers)
                continue
            }
            let isWanted = residence[read] == .wanted
            if isWanted, !residents.areDecoded {
                residence[read] = .reading
                wantedResidents -= 1
                cursor += 1
                return Job(read: read, slot: nil)
            }
            if let slot = freeSlots.popLast() {
                if isWanted {
                    residence[read] = .reading
                    wantedResidents -= 1
                }
                slots[slot] = Slot(state: .reading, key: key(pass, read))
                cursor += 1
                return Job(read: read, slot: slot)
            }
            monitor.wait(as: .producers)
        }
        return nil
    }

    /// The read under the cursor, after moving over passes that are done and reads that are resident already; `nil`
    /// if no scheduled pass is left, or none of them will read anything.
    private func nextRead() -> Int? {
        while let current = currentSchedule() {
            let end = current.includesHead ? reads.count : bodyCount
            while cursor < end {
                switch residence[cursor] {
                case .wanted, .streamed: return cursor
                case .reading, .filled: cursor += 1
                }
            }
            if wantedResidents == 0, streamedCount == 0 { return nil }
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
