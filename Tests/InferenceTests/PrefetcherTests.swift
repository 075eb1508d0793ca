import Glibc
import LayerStore
import TensorCore
import TestSupport
import Testing

@testable import Inference

/// Reads that take a while, each a different one.
struct SlowFileSystem: FileSystem {
    private let real = RealFileSystem()

    func read(_ descriptor: Int32, into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) -> Int64 {
        usleep(UInt32(offset / 4096 % 3) * 300)
        return real.read(descriptor, into: buffer, at: offset)
    }

    func open(_ path: String, _ mode: OpenMode) -> Int32 { real.open(path, mode) }
    func close(_ descriptor: Int32) -> Int32 { real.close(descriptor) }
    func write(_ descriptor: Int32, from buffer: UnsafeRawBufferPointer, at offset: UInt64) -> Int64 {
        real.write(descriptor, from: buffer, at: offset)
    }
    func truncate(_ descriptor: Int32, to size: UInt64) -> Int32 { real.truncate(descriptor, to: size) }
    func sync(_ descriptor: Int32) -> Int32 { real.sync(descriptor) }
    func facts(of descriptor: Int32) -> Result<FileFacts, SystemError> { real.facts(of: descriptor) }
    func facts(at path: String, followLinks: Bool) -> Result<FileFacts, SystemError> {
        real.facts(at: path, followLinks: followLinks)
    }
    func rename(_ from: String, to: String) -> Int32 { real.rename(from, to: to) }
    func unlink(_ path: String) -> Int32 { real.unlink(path) }
    func makeDirectory(_ path: String) -> Int32 { real.makeDirectory(path) }
    func removeDirectory(_ path: String) -> Int32 { real.removeDirectory(path) }
    func lock(_ descriptor: Int32) -> Int32 { real.lock(descriptor) }
    func dropCache(_ descriptor: Int32) -> Int32 { real.dropCache(descriptor) }
    func adviseSequential(_ descriptor: Int32) -> Int32 { real.adviseSequential(descriptor) }
    func freeBytes(at path: String) -> Result<UInt64, SystemError> { real.freeBytes(at: path) }
    func list(_ path: String) -> Result<[String], SystemError> { real.list(path) }
    func canonicalPath(_ path: String) -> Result<String, SystemError> { real.canonicalPath(path) }
}

@Suite struct PrefetcherTests {
    private func plan(_ path: String, in fileSystem: any FileSystem = RealFileSystem()) throws -> StreamPlan {
        try StreamPlanBuilder.plan(for: StoredModel(Store(path: path, in: fileSystem)))
    }

    private func prefetcher(
        _ plan: StreamPlan, passes: Int, slots: Int, readers: Int, residentBytes: Int = 0
    ) throws -> Prefetcher {
        try Prefetcher(
            plan: plan, schedule: [PassSchedule(includesHead: true, count: passes)], slotBytes: plan.slotBytes,
            slotCount: slots, readers: readers,
            residents: Residents(plan.reads, budget: residentBytes, decoded: false))
    }

    /// Takes every read of `passes` passes in order and compares the bytes with the file's checksums.
    private func consume(_ prefetcher: Prefetcher, _ plan: StreamPlan, passes: Int) throws {
        var waited = 0.0
        for pass in 0..<passes {
            for (index, read) in plan.reads.enumerated() {
                let chunk = try prefetcher.take(pass: pass, read: index, waited: &waited)
                let record = plan.matrices[read.matrix].tensor.chunks[read.chunk]
                #expect(xxh3(UnsafeRawBufferPointer(rebasing: chunk.bytes[..<Int(record.storedSize)])) == record.hash)
                prefetcher.release(pass: pass, read: index)
            }
        }
    }

    @Test(arguments: [1, 2, 3, 64], [1, 2, 4]) func everyReadComesInOrder(slots: Int, readers: Int) throws {
        try TinyStore.with { path in
            let plan = try plan(path, in: SlowFileSystem())
            let prefetcher = try prefetcher(plan, passes: 3, slots: slots, readers: readers)
            defer { prefetcher.stop() }
            try consume(prefetcher, plan, passes: 3)
            #expect(prefetcher.readStatistics.bytes == UInt64(3 * plan.bytesPerPass))
        }
    }

    @Test(arguments: [0, 4, 2, 1]) func residentsAreReadOnce(divisor: Int) throws {
        try TinyStore.with { path in
            let plan = try plan(path)
            let resident = divisor == 0 ? 0 : plan.bytesPerPass / divisor
            let prefetcher = try prefetcher(plan, passes: 4, slots: 2, readers: 3, residentBytes: resident)
            defer { prefetcher.stop() }
            try consume(prefetcher, plan, passes: 4)
            let kept = Residents.choose(plan.reads.map(\.byteCount), budget: resident).byteCount
            #expect(prefetcher.readStatistics.bytes == UInt64(kept + 4 * (plan.bytesPerPass - kept)))
            #expect(divisor != 1 || kept == plan.bytesPerPass)
        }
    }

    @Test func residentsAreSpreadEvenly() {
        let sizes = [Int](repeating: 4096, count: 1000)
        let (offsets, byteCount) = Residents.choose(sizes, budget: 250 * 4096)
        #expect(byteCount == 250 * 4096)
        for start in stride(from: 0, to: 1000, by: 100) {
            #expect(offsets[start..<(start + 100)].count { $0 >= 0 } == 25)
        }
    }

    @Test func stoppingEarlyEndsAtOnce() throws {
        try TinyStore.with { path in
            let plan = try plan(path, in: SlowFileSystem())
            let prefetcher = try prefetcher(plan, passes: 1_000_000, slots: 2, readers: 4)
            var waited = 0.0
            _ = try prefetcher.take(pass: 0, read: 0, waited: &waited)
            prefetcher.stop()
            #expect(throws: LaminaError.self) {
                try prefetcher.take(pass: 0, read: plan.reads.count - 1, waited: &waited)
            }
        }
    }

    @Test func aFailureReachesWaitersAndNotTheReadsBeforeIt() throws {
        try TinyStore.with { path in
            let plan = try plan(path)
            let prefetcher = try prefetcher(plan, passes: 1, slots: 3, readers: 1)
            defer { prefetcher.stop() }
            var waited = 0.0
            _ = try prefetcher.take(pass: 0, read: 0, waited: &waited)
            prefetcher.abort(LaminaError(.io, "shard", "no disk"))
            #expect(throws: LaminaError(.io, "shard", "no disk")) {
                try prefetcher.take(pass: 0, read: plan.reads.count - 1, waited: &waited)
            }
        }
    }
}
