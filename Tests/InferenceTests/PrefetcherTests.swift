import Synchronization
import TensorCore
import TestSupport
import Testing

@testable import Inference

@Suite struct PrefetcherTests {
    private func passes(_ count: Int, head: Bool = true) -> PassSchedule {
        PassSchedule(includesHead: head, count: count)
    }

    @Test(arguments: RequestFixture.availableModes) func everyRequestComesInOrder(mode: ReadMode) throws {
        try TinyStore.with { path in
            let fixture = try RequestFixture(path, mode: mode)
            for slots in [1, 2, 7, 200] {
                let prefetcher = try fixture.prefetcher([passes(3)], slots: slots, options: ReaderOptions(mode: mode))
                defer { prefetcher.stop() }
                for pass in 0..<3 { try fixture.consume(prefetcher, pass: pass) }
                #expect(prefetcher.mode == mode)
                let statistics = prefetcher.readStatistics
                #expect(statistics.bytes == UInt64(3 * fixture.passBytes))
                #expect(statistics.requests == 3 * fixture.requests.count)
                #expect(statistics.seconds > 0)
            }
        }
    }

    @Test(arguments: [1, 2, 4]) func slowReadsComeInOrder(threads: Int) throws {
        try TinyStore.with { path in
            let fixture = try RequestFixture(path, in: SlowFileSystem())
            for slots in [1, 2, 3, 64] {
                let prefetcher = try fixture.prefetcher(
                    [passes(2)], slots: slots, options: ReaderOptions(depth: 3, threads: threads))
                defer { prefetcher.stop() }
                for pass in 0..<2 { try fixture.consume(prefetcher, pass: pass) }
                #expect(prefetcher.depth == threads)
            }
        }
    }

    @Test func passesMayLeaveTheHeadOut() throws {
        try TinyStore.with { path in
            let fixture = try RequestFixture(path)
            let prefetcher = try fixture.prefetcher([passes(2, head: false), passes(2)], slots: 3)
            defer { prefetcher.stop() }
            for pass in 0..<2 { try fixture.consume(prefetcher, pass: pass, 0..<fixture.bodyRequestCount) }
            for pass in 2..<4 { try fixture.consume(prefetcher, pass: pass) }
            let body = fixture.sizes[..<fixture.bodyRequestCount].reduce(0, +)
            #expect(prefetcher.readStatistics.bytes == UInt64(2 * body + 2 * fixture.passBytes))
        }
    }

    @Test(arguments: RequestFixture.availableModes) func residentsAreReadOnce(mode: ReadMode) throws {
        try TinyStore.with { path in
            let fixture = try RequestFixture(path, mode: mode)
            for budget in [0, fixture.passBytes / 4, fixture.passBytes / 2, fixture.passBytes] {
                let residents = try Residents(sizes: fixture.sizes, budget: budget)
                let prefetcher = try fixture.prefetcher(
                    [passes(4)], slots: 2, options: ReaderOptions(mode: mode), residents: residents)
                defer { prefetcher.stop() }
                for pass in 0..<4 { try fixture.consume(prefetcher, pass: pass) }
                let kept = residents.byteCount
                #expect(kept <= budget && (budget < fixture.passBytes || kept == fixture.passBytes))
                #expect(prefetcher.readStatistics.bytes == UInt64(kept + 4 * (fixture.passBytes - kept)))
                for request in fixture.requests.indices {
                    let bytes = prefetcher.residentBytes(request)
                    #expect((bytes != nil) == residents.contains(request))
                    #expect(bytes.map { fixture.isIntact($0, request) } ?? true)
                }
            }
        }
    }

    @Test(arguments: RequestFixture.availableModes) func onceMeansByTheFirstPassThatComesToIt(mode: ReadMode) throws {
        try TinyStore.with { path in
            let fixture = try RequestFixture(path, mode: mode)
            let body = 0..<fixture.bodyRequestCount
            for slots in [1, 2, 64] {
                let residents = try Residents(sizes: fixture.sizes, budget: fixture.passBytes / 3)
                let prefetcher = try fixture.prefetcher(
                    [passes(2, head: false), passes(1_000_000)], slots: slots, options: ReaderOptions(mode: mode),
                    residents: residents, readsOnce: true)
                defer { prefetcher.stop() }
                try fixture.consume(prefetcher, pass: 0, body)
                for request in body where residents.contains(request) {
                    try fixture.consume(prefetcher, pass: 1, request..<(request + 1))
                }
                try fixture.consume(prefetcher, pass: 2, fixture.bodyRequestCount..<fixture.requests.count)
                #expect(prefetcher.readStatistics.bytes == UInt64(fixture.passBytes))
            }
        }
    }

    @Test(arguments: RequestFixture.availableModes) func severalThreadsTakeTurns(mode: ReadMode) throws {
        try TinyStore.with { path in
            let fixture = try RequestFixture(path, mode: mode)
            let residents = try Residents(sizes: fixture.sizes, budget: fixture.passBytes / 5)
            let prefetcher = try fixture.prefetcher(
                [passes(20)], slots: 3, options: ReaderOptions(mode: mode, depth: 4), residents: residents)
            defer { prefetcher.stop() }
            // Tasks are chunks: several threads work on one request.
            let tasks = fixture.requests.enumerated().flatMap { request, read in read.chunks.map { _ in request } }
            let next = Atomic(0)
            let damaged = Atomic(0)
            let failures = FirstFailure()
            let work: @Sendable () -> Void = {
                var waited = 0.0
                do throws(LaminaError) {
                    while true {
                        let task = next.wrappingAdd(1, ordering: .relaxed).oldValue
                        guard task < 20 * tasks.count else { return }
                        let (pass, request) = (task / tasks.count, tasks[task % tasks.count])
                        let bytes = try prefetcher.take(pass: pass, request: request, waited: &waited)
                        if !fixture.isIntact(bytes, request) { damaged.wrappingAdd(1, ordering: .relaxed) }
                        prefetcher.release(pass: pass, request: request)
                    }
                } catch {
                    failures.note(error)
                }
            }
            let threads = (0..<5).compactMap { _ in JoinableThread(work) }
            for thread in threads { thread.join() }
            try failures.rethrow()
            #expect(damaged.load(ordering: .relaxed) == 0)
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

    @Test func residentsBeginOnPages() throws {
        let residents = try Residents(sizes: [100, 5000, 4096], budget: 1 << 20)
        for request in 0..<3 {
            #expect(Int(bitPattern: residents.bytes(of: request)?.baseAddress) % 4096 == 0)
        }
        #expect(residents.byteCount == 4096 + 8192 + 4096)
    }

    @Test(arguments: RequestFixture.availableModes) func stoppingEarlyEndsAtOnce(mode: ReadMode) throws {
        try TinyStore.with { path in
            let fixture = try RequestFixture(path, mode: mode)
            for round in 0..<50 {
                let prefetcher = try fixture.prefetcher(
                    [passes(1_000_000)], slots: 1 + round % 7, options: ReaderOptions(mode: mode))
                var waited = 0.0
                if round % 2 == 0 { _ = try prefetcher.take(pass: 0, request: 0, waited: &waited) }
                prefetcher.stop()
                #expect(throws: LaminaError.self) {
                    try prefetcher.take(pass: 0, request: fixture.requests.count - 1, waited: &waited)
                }
                prefetcher.stop()
            }
        }
    }

    @Test func anAbortReachesWaitersAndNotTheRequestsBeforeIt() throws {
        try TinyStore.with { path in
            let fixture = try RequestFixture(path)
            let prefetcher = try fixture.prefetcher([passes(1)], slots: 3)
            defer { prefetcher.stop() }
            var waited = 0.0
            _ = try prefetcher.take(pass: 0, request: 0, waited: &waited)
            prefetcher.abort(LaminaError(.io, "shard", "no disk"))
            _ = try prefetcher.take(pass: 0, request: 0, waited: &waited)
            #expect(throws: LaminaError(.io, "shard", "no disk")) {
                try prefetcher.take(pass: 0, request: fixture.requests.count - 1, waited: &waited)
            }
        }
    }

    @Test func aRequestThatDoesNotFitIsRefused() throws {
        try TinyStore.with { path in
            let fixture = try RequestFixture(path)
            #expect(throws: LaminaError.self) {
                try fixture.prefetcher([passes(1)], slots: 0)
            }
        }
    }
}
