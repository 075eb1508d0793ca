import CSystem
import LayerStore
import TensorCore

/// A short measurement of how fast shards can be read, and with how many requests in flight.
enum DiskProbe {
    /// A depth and what it gave.
    struct Rate: Sendable, Equatable {
        var depth: Int
        var bytesPerSecond: Double
    }

    struct Result: Sendable, Equatable {
        var mode: ReadMode
        /// The smallest depth that is within `tolerance` of the best.
        var depth: Int
        /// Of that depth.
        var bytesPerSecond: Double
        var rates: [Rate]
    }

    /// Less than that is noise, and more in flight is memory taken from residents.
    static let tolerance = 0.03
    /// Every depth is measured so many times, since disks are not steady; the second time in the opposite order.
    private static let rounds = 2

    /// Reads blocks of `requestBytes` of `files` into `memory`, a ring, for about `seconds` in all, with each of `depths` in
    /// flight. No block is read twice if there are enough, and another run begins elsewhere. Depths beyond the slots in
    /// `memory` are left out. Throws `.io` and `.damaged` for reads that fail, `.usage` if nothing can be measured.
    static func measure(
        files: [ShardFile], requestBytes: Int, depths: [Int], mode: ReadMode?, seconds: Double,
        into memory: UntouchedMemory
    ) throws(LaminaError) -> Result {
        let slotCount = requestBytes > 0 ? memory.count / requestBytes : 0
        let depths = depths.filter { (1...max(1, slotCount)).contains($0) }
        let blocks = ProbeBlocks(files, requestBytes: requestBytes)
        guard let deepest = depths.max(), slotCount > 0, blocks.count > 0 else {
            throw LaminaError(.usage, "", "there is nothing to measure the disk with")
        }
        let slots = UnsafeMutableRawBufferPointer(rebasing: memory.bytes[..<(slotCount * requestBytes)])
        let options = ReaderOptions(mode: mode, depth: deepest, threads: deepest)
        let (backend, _) = try options.backend(for: files, memory: slots, slotBytes: requestBytes)
        let order = (0..<rounds).flatMap { $0 % 2 == 0 ? depths : depths.reversed() }
        var read = [Int](repeating: 0, count: deepest + 1)
        var took = [Double](repeating: 0, count: deepest + 1)
        let start = Int(truncatingIfNeeded: lamina_random_bits() >> 1) % blocks.count
        let share = max(1, blocks.count / order.count)
        for (turn, depth) in order.enumerated() {
            let first = start + turn * share
            let run = ProbeRun(
                backend, blocks, first..<(first + share), memory: memory, depth: depth,
                seconds: seconds / Double(order.count))
            do throws(LaminaError) {
                let (bytes, elapsed) = try run.result()
                read[depth] += bytes
                took[depth] += elapsed
            } catch {
                // Memory that a lost read may still write to is never given back.
                if !backend.stop() { _ = Unmanaged.passRetained(memory) }
                throw error
            }
        }
        _ = backend.stop()
        return choose(depths.map { Rate(depth: $0, bytesPerSecond: Double(read[$0]) / took[$0]) }, backend.mode)
    }

    private static func choose(_ rates: [Rate], _ mode: ReadMode) -> Result {
        let best = rates.reduce(0) { max($0, $1.bytesPerSecond) }
        let good = rates.filter { $0.bytesPerSecond >= best * (1 - tolerance) }
        let chosen = good.min { $0.depth < $1.depth } ?? Rate(depth: 1, bytesPerSecond: best)
        return Result(mode: mode, depth: chosen.depth, bytesPerSecond: chosen.bytesPerSecond, rates: rates)
    }
}

/// The blocks of a probe: those of the largest shards first, one shard after the other, as passes read them.
private struct ProbeBlocks: Sendable {
    private let files: [ShardFile]
    /// Blocks in the shards before each.
    private var starts: [Int] = []
    private(set) var count = 0
    let requestBytes: Int

    init(_ files: [ShardFile], requestBytes: Int) {
        self.requestBytes = requestBytes
        self.files = files.sorted { $0.size > $1.size }
        for file in self.files {
            starts.append(count)
            count += Int(file.size) / requestBytes
        }
    }

    /// The file and offset of a block, any number counted round and round.
    subscript(number: Int) -> (file: ShardFile, offset: UInt64) {
        let block = number % count
        var low = 0
        var high = starts.count
        while high - low > 1 {
            let middle = (low + high) / 2
            if starts[middle] <= block { low = middle } else { high = middle }
        }
        return (files[low], UInt64((block - starts[low]) * requestBytes))
    }
}

/// One measurement: a number of reads kept in flight until the time is over.
private final class ProbeRun: ReadOwner, @unchecked Sendable {
    // Sendable: everything mutable is guarded by `monitor`.
    private let backend: any ReadBackend
    private let blocks: ProbeBlocks
    private let memory: UntouchedMemory
    private let monitor = Monitor()
    private let started = lamina_monotonic_seconds()
    private let seconds: Double
    private var next: Int
    private let end: Int
    private var inFlight = 0
    private var bytes = 0
    private var failure: LaminaError?

    init(
        _ backend: any ReadBackend, _ blocks: ProbeBlocks, _ range: Range<Int>,
        memory: UntouchedMemory, depth: Int, seconds: Double
    ) {
        self.backend = backend
        self.blocks = blocks
        self.memory = memory
        self.seconds = seconds
        next = range.lowerBound
        end = range.upperBound
        for slot in 0..<depth { read(into: slot) }
    }

    /// Waits for the end; the bytes read and the seconds that took. Throws the first error.
    func result() throws(LaminaError) -> (bytes: Int, seconds: Double) {
        monitor.lock()
        defer { monitor.unlock() }
        while inFlight > 0 { monitor.wait(as: .consumers) }
        if let failure { throw failure }
        return (bytes, lamina_monotonic_seconds() - started)
    }

    func readEnded(_ operation: ReadOperation, _ problem: LaminaError?) {
        if problem == nil { read(into: operation.request) }
        monitor.lock()
        if let problem, failure == nil { failure = problem }
        if problem == nil { bytes += blocks.requestBytes }
        inFlight -= 1
        if inFlight == 0 { monitor.wakeAll(.consumers) }
        monitor.unlock()
    }

    /// Starts the next read, unless the time or the blocks are over.
    private func read(into slot: Int) {
        monitor.lock()
        guard failure == nil, next < end, lamina_monotonic_seconds() - started < seconds else {
            return monitor.unlock()
        }
        let (file, offset) = blocks[next]
        next += 1
        inFlight += 1
        monitor.unlock()
        let size = blocks.requestBytes
        let buffer = UnsafeMutableRawBufferPointer(rebasing: memory.bytes[(slot * size)..<((slot + 1) * size)])
        backend.submit(
            ReadOperation(
                file: file, progress: ReadProgress(into: buffer, at: offset, neededBytes: size), slot: slot,
                request: slot, owner: self))
    }
}
