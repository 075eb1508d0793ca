import CKernels
import Foundation
import Synchronization
import Testing

/// What the tasks of a pool did: how often each index ran, and whether two tasks had one worker number at a time.
private final class Record {
    let runs: UnsafeMutablePointer<Atomic<Int>>
    let busy: UnsafeMutablePointer<Atomic<Bool>>
    let collisions = Atomic<Int>(0)
    let outOfOrder = Atomic<Int>(0)
    let highest = Atomic<Int>(-1)
    let capacity: Int
    let threads: Int
    let sleep: UInt32

    init(capacity: Int, threads: Int, sleep: UInt32 = 0) {
        (self.capacity, self.threads, self.sleep) = (capacity, threads, sleep)
        runs = .allocate(capacity: capacity)
        busy = .allocate(capacity: threads)
        for index in 0..<capacity { (runs + index).initialize(to: Atomic(0)) }
        for worker in 0..<threads { (busy + worker).initialize(to: Atomic(false)) }
    }

    deinit {
        runs.deinitialize(count: capacity).deallocate()
        busy.deinitialize(count: threads).deallocate()
    }

    func run(on pool: OpaquePointer?, count: Int) {
        highest.store(-1, ordering: .relaxed)
        lamina_pool_run(
            pool, count,
            { context, index, worker in
                Unmanaged<Record>.fromOpaque(context!).takeUnretainedValue().task(index, worker)
            }, Unmanaged.passUnretained(self).toOpaque())
    }

    private func task(_ index: Int, _ worker: Int) {
        guard worker < threads, !busy[worker].exchange(true, ordering: .acquiringAndReleasing) else {
            collisions.add(1, ordering: .relaxed)
            return
        }
        if threads == 1, highest.exchange(index, ordering: .relaxed) != index - 1 {
            outOfOrder.add(1, ordering: .relaxed)
        }
        runs[index].add(1, ordering: .relaxed)
        if sleep > 0, index % 2 == 0 {
            usleep(sleep)
        }
        busy[worker].store(false, ordering: .releasing)
    }

    /// How often each of the first indexes ran.
    func counts(_ count: Int) -> [Int] {
        (0..<count).map { runs[$0].load(ordering: .relaxed) }
    }
}

/// One after the other: several pools at once would only measure the scheduler.
@Suite(.serialized) struct PoolTests {
    @Test(arguments: 1...4)
    func everyIndexRunsOnce(threads: Int) {
        let pool = lamina_pool_create(threads)
        defer { lamina_pool_destroy(pool) }
        #expect(lamina_pool_threads(pool) == threads)
        for count in [0, 1, 2, 3, 64, 1000, 100_000] {
            let record = Record(capacity: max(count, 1), threads: threads)
            record.run(on: pool, count: count)
            #expect(record.counts(count) == [Int](repeating: 1, count: count))
            #expect(record.collisions.load(ordering: .relaxed) == 0)
            #expect(record.outOfOrder.load(ordering: .relaxed) == 0)
        }
    }

    @Test(arguments: 2...4)
    func manyGenerations(threads: Int) {
        let pool = lamina_pool_create(threads)
        defer { lamina_pool_destroy(pool) }
        let record = Record(capacity: 7, threads: threads)
        let generations = 20_000
        for generation in 1...generations {
            record.run(on: pool, count: 7)
            if generation % 1000 == 0 {
                #expect(record.counts(7) == [Int](repeating: generation, count: 7))
            }
        }
        #expect(record.counts(7) == [Int](repeating: generations, count: 7))
        #expect(record.collisions.load(ordering: .relaxed) == 0)
    }

    /// The workers and the caller give up spinning and sleep, again and again.
    @Test(arguments: 2...4)
    func wakesFromSleep(threads: Int) {
        let pool = lamina_pool_create(threads)
        defer { lamina_pool_destroy(pool) }
        let record = Record(capacity: 5, threads: threads, sleep: 2000)
        for _ in 0..<40 {
            record.run(on: pool, count: 5)
            usleep(1500)
        }
        #expect(record.counts(5) == [Int](repeating: 40, count: 5))
        #expect(record.collisions.load(ordering: .relaxed) == 0)
    }

    /// Tasks that wait, as for a disk, wait at the same time.
    @Test func blockedTasksOverlap() {
        let pool = lamina_pool_create(4)
        defer { lamina_pool_destroy(pool) }
        let record = Record(capacity: 8, threads: 4, sleep: 100_000)
        let elapsed = ContinuousClock().measure { record.run(on: pool, count: 8) }
        #expect(record.counts(8) == [Int](repeating: 1, count: 8))
        // Four of the eight sleep for 100 ms: 400 ms one after the other.
        #expect(elapsed < .milliseconds(350))
    }

    @Test func endsAtAnyMoment() {
        for round in 0..<100 {
            let pool = lamina_pool_create(3)
            #expect(pool != nil)
            if round % 2 == 0 {
                let record = Record(capacity: 4, threads: 3)
                record.run(on: pool, count: 4)
                #expect(record.counts(4) == [1, 1, 1, 1])
            }
            if round % 20 == 0 {
                usleep(3000)  // the workers are asleep
            }
            lamina_pool_destroy(pool)
        }
        lamina_pool_destroy(nil)
    }

    @Test func refusesThreadCountsOutOfRange() {
        #expect(lamina_pool_create(0) == nil)
        #expect(lamina_pool_create(1025) == nil)
    }
}
