import Glibc
import Synchronization
import TensorCore
import TestSupport
import Testing

@testable import Inference

/// Reading where routers decide what is read. A reader that waits for itself would never end.
@Suite(.timeLimit(.minutes(5))) struct ExpertPrefetcherTests {
    private func fixture(
        _ path: String, mode: ReadMode? = nil, in fileSystem: any FileSystem = RealFileSystem(), seed: UInt64 = 1
    ) throws -> RequestFixture {
        // Requests of one chunk or two.
        var fixture = try RequestFixture(path, mode: mode, in: fileSystem, targetBytes: seed % 2 == 0 ? 8192 : 20480)
        var generator = SeededGenerator(seed: seed)
        fixture.declareExperts(using: &generator)
        #expect(fixture.experts.layers.count > 3)
        return fixture
    }

    private func passes(_ count: Int, head: Bool = true) -> PassSchedule {
        PassSchedule(includesHead: head, count: count)
    }

    @Test(arguments: RequestFixture.availableModes, [1, 2, 3])
    func everyByteIsTheFiles(mode: ReadMode, threads: Int) throws {
        try TinyStore.with { path in
            var generator = SeededGenerator(seed: UInt64(threads))
            for slots in [1, 2, 3, 5, 64] {
                for cacheSlots in [0, 1, 2, 9] {
                    let fixture = try fixture(path, mode: mode, seed: UInt64(10 * slots + cacheSlots))
                    let budget = [0, fixture.passBytes / 4, fixture.passBytes][(slots + cacheSlots) % 3]
                    let sizes = fixture.requests.map { $0.expert == nil ? $0.byteCount : 0 }
                    let residents = try Residents(sizes: sizes, budget: budget)
                    let cache =
                        cacheSlots > 0
                        ? try ExpertCache(fixture.experts, slots: ExpertSlots(perLayer: cacheSlots)) : nil
                    let prefetcher = try fixture.prefetcher(
                        [passes(2, head: false), passes(4)], slots: slots,
                        options: ReaderOptions(mode: mode, depth: 1 + slots % 4), residents: residents, cache: cache)
                    defer { prefetcher.stop() }
                    let consumer = try PassConsumer(fixture, prefetcher, threads: threads)
                    var wanted: [Int] = []
                    for pass in 0..<6 {
                        let routing = fixture.randomRouting(using: &generator)
                        wanted += routing.joined()
                        try consumer.run(routing, head: pass >= 2)
                    }
                    #expect(consumer.differingChunks == 0)
                    let statistics = prefetcher.readStatistics
                    let misses = zip(wanted, consumer.places).filter { $1 != .cached }.map(\.0)
                    #expect(statistics.experts.misses == misses.count)
                    #expect(statistics.experts.hits == wanted.count - misses.count)
                    #expect(statistics.experts.missBytes == UInt64(fixture.bytes(of: misses)))
                    let all = UInt64(fixture.bytes(of: wanted))
                    #expect(statistics.experts.missBytes + statistics.experts.hitBytes == all)
                    if cacheSlots == 0 { #expect(misses.count == wanted.count) }
                    // With room for all of them nothing is read twice.
                    if cacheSlots == 9 { #expect(misses.count == Set(misses).count) }
                    let headBytes = fixture.denseBytes(head: true) - fixture.denseBytes(head: false)
                    let dense = 6 * fixture.denseBytes(head: false) + 4 * headBytes
                    if residents.byteCount == 0 {
                        #expect(statistics.bytes == UInt64(dense) + statistics.experts.missBytes)
                    } else if budget == fixture.passBytes {
                        #expect(residents.byteCount == fixture.denseBytes(head: true))
                        #expect(statistics.bytes == UInt64(residents.byteCount) + statistics.experts.missBytes)
                    }
                }
            }
        }
    }

    @Test(arguments: [1, 3]) func slowReadsAndRoutersMakeProgress(threads: Int) throws {
        try TinyStore.with { path in
            let fixture = try fixture(path, in: SlowFileSystem())
            var generator = SeededGenerator(seed: 5)
            for slots in [1, 2, 3, 8] {
                let prefetcher = try fixture.prefetcher(
                    [passes(3)], slots: slots, options: ReaderOptions(threads: threads),
                    cache: slots == 3 ? try ExpertCache(fixture.experts, slots: ExpertSlots(perLayer: 1)) : nil)
                defer { prefetcher.stop() }
                let consumer = try PassConsumer(fixture, prefetcher, threads: 2)
                for _ in 0..<3 {
                    // Some stages begin after all that could be read ahead has been.
                    try consumer.run(fixture.randomRouting(using: &generator)) { stage in
                        if stage % 3 == 0 { usleep(2000) }
                    }
                }
                #expect(consumer.differingChunks == 0)
            }
        }
    }

    @Test func expertsThatAreNotWantedAreNotRead() throws {
        try TinyStore.with { path in
            let read = Mutex<Set<[UInt64]>>([])
            let isNoting = Atomic(false)
            var fileSystem = SlowFileSystem()
            fileSystem.note = { descriptor, offset in
                guard isNoting.load(ordering: .relaxed) else { return }
                _ = read.withLock { $0.insert([UInt64(descriptor), offset]) }
            }
            let fixture = try fixture(path, in: fileSystem)
            isNoting.store(true, ordering: .relaxed)
            let prefetcher = try fixture.prefetcher([passes(1)], slots: 8)
            defer { prefetcher.stop() }
            let consumer = try PassConsumer(fixture, prefetcher, threads: 1)
            let routing = fixture.experts.layers.map { [$0.experts.upperBound - 1] }
            try consumer.run(routing)
            let wanted = fixture.requests.count { $0.expert.map { routing.joined().contains($0) } ?? true }
            #expect(read.withLock { $0.count } == wanted)
            #expect(prefetcher.readStatistics.requests == wanted)
        }
    }

    /// Waits until so many requests have been read, and a little longer: there must not be more.
    private func expectRequests(_ count: Int, _ prefetcher: Prefetcher) {
        while prefetcher.readStatistics.requests < count { usleep(100) }
        usleep(5000)
        #expect(prefetcher.readStatistics.requests == count)
    }

    @Test(arguments: RequestFixture.availableModes) func readingAheadOfARouterLeavesHalfTheSlots(mode: ReadMode) throws
    {
        try TinyStore.with { path in
            let fixture = try fixture(path, mode: mode)
            let first = try #require(fixture.experts.layers.first).requests.lowerBound
            for (slots, ahead) in [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (8, 4)] {
                let prefetcher = try fixture.prefetcher([passes(2)], slots: slots, options: ReaderOptions(mode: mode))
                defer { prefetcher.stop() }
                let consumer = try PassConsumer(fixture, prefetcher, threads: 1)
                try consumer.consume(0..<first)
                expectRequests(first + ahead, prefetcher)
                // What was read ahead is there, the wanted experts find slots, and then reading goes on as before.
                let routing = fixture.experts.layers.map { Array($0.experts) }
                try consumer.run(routing, from: first)
                try consumer.run(routing)
                #expect(consumer.differingChunks == 0)
            }
        }
    }

    @Test func whatStaysInMemoryIsReadAheadOfARouterWithoutSlots() throws {
        try TinyStore.with { path in
            let fixture = try fixture(path)
            let sizes = fixture.requests.map { $0.expert == nil ? $0.byteCount : 0 }
            let residents = try Residents(sizes: sizes, budget: fixture.passBytes)
            let prefetcher = try fixture.prefetcher([passes(2)], slots: 1, residents: residents)
            defer { prefetcher.stop() }
            expectRequests(sizes.count { $0 > 0 }, prefetcher)
            let consumer = try PassConsumer(fixture, prefetcher, threads: 2)
            for _ in 0..<2 { try consumer.run(fixture.experts.layers.map { Array($0.experts) }) }
            #expect(consumer.differingChunks == 0)
        }
    }

    @Test(arguments: RequestFixture.availableModes) func onceMeansByTheFirstPassThatWantsIt(mode: ReadMode) throws {
        try TinyStore.with { path in
            let fixture = try fixture(path, mode: mode)
            for slots in [1, 2, 64] {
                let prefetcher = try fixture.prefetcher(
                    [passes(1_000_000)], slots: slots, options: ReaderOptions(mode: mode), readsOnce: true)
                defer { prefetcher.stop() }
                let first = try PassConsumer(fixture, prefetcher, threads: 2)
                let half = fixture.experts.layers.map { Array($0.experts.dropLast()) }
                try first.run(half)
                // The consumer keeps what it has had, so it comes for the others only.
                var places: [ExpertPlace] = []
                var waited = 0.0
                for layer in fixture.experts.layers {
                    try prefetcher.route(pass: 1, experts: Array(layer.experts)) { places.append($1) }
                    for request in fixture.experts.requests[layer.experts.upperBound - 1] {
                        let bytes = try prefetcher.take(pass: 1, request: request, waited: &waited)
                        #expect(fixture.isIntact(bytes, request))
                        for _ in fixture.requests[request].chunks { prefetcher.release(pass: 1, request: request) }
                    }
                }
                let expected = fixture.experts.layers.flatMap { layer in
                    [ExpertPlace](repeating: .cached, count: layer.experts.count - 1) + [.streamed]
                }
                #expect(places == expected)
                #expect(prefetcher.readStatistics.bytes == UInt64(fixture.passBytes))
            }
        }
    }

    @Test func routingOutOfTurnIsRefused() throws {
        try TinyStore.with { path in
            let fixture = try fixture(path)
            let prefetcher = try fixture.prefetcher([passes(2)], slots: 8)
            defer { prefetcher.stop() }
            let layers = fixture.experts.layers
            for (pass, wanted) in [
                (1, [layers[0].experts.lowerBound]), (0, [layers[1].experts.lowerBound]), (0, [1, 0]), (0, [0, 0]),
                (0, [-1]),
            ] {
                let error = #expect(throws: LaminaError.self) { try prefetcher.route(pass: pass, experts: wanted) }
                #expect(error?.kind == .unexpected)
            }
            // None of that counted.
            let consumer = try PassConsumer(fixture, prefetcher, threads: 1)
            for _ in 0..<2 { try consumer.run(layers.map { [$0.experts.lowerBound] }) }
            #expect(consumer.differingChunks == 0)
        }
    }

    @Test func anExpertThatIsStillInUseIsNotRoutedAgain() throws {
        try TinyStore.with { path in
            let fixture = try fixture(path)
            for cacheSlots in [0, 9] {
                let prefetcher = try fixture.prefetcher(
                    [passes(2)], slots: 64,
                    cache: cacheSlots > 0
                        ? try ExpertCache(fixture.experts, slots: ExpertSlots(perLayer: cacheSlots)) : nil)
                defer { prefetcher.stop() }
                var waited = 0.0
                for layer in fixture.experts.layers {
                    let request = layer.requests.lowerBound
                    try prefetcher.route(pass: 0, experts: [layer.experts.lowerBound])
                    let bytes = try prefetcher.take(pass: 0, request: request, waited: &waited)
                    #expect(fixture.isIntact(bytes, request))
                }
                // Not given back; with a cache there is nothing to give back.
                let second = { try prefetcher.route(pass: 1, experts: [1]) }
                if cacheSlots == 0 {
                    #expect(throws: LaminaError.self, performing: second)
                } else {
                    for request in fixture.experts.requests[0] {
                        _ = try prefetcher.take(pass: 0, request: request, waited: &waited)
                    }
                    try second()
                }
            }
        }
    }

    // MARK: Faults

    @Test func everyFailedReadIsNamedAndEndsThePass() throws {
        try TinyStore.with { path in
            let opened = FaultyFileSystem(calls: [.read])
            _ = try fixture(path, in: opened)
            for number in stride(from: 1, to: 60, by: 3) {
                let fault = FaultyFileSystem.Fault(
                    number: opened.callCount + number, error: EIO, isPersistent: number % 2 == 0)
                let fixture = try fixture(path, in: FaultyFileSystem(fault: fault, calls: [.read]))
                let prefetcher = try fixture.prefetcher(
                    [passes(3)], slots: 1 + number % 5, options: ReaderOptions(threads: 2),
                    cache: try ExpertCache(fixture.experts, slots: ExpertSlots(perLayer: 1 + number % 3)))
                defer { prefetcher.stop() }
                let consumer = try PassConsumer(fixture, prefetcher, threads: 2)
                var generator = SeededGenerator(seed: UInt64(number))
                let error = #expect(throws: LaminaError.self) {
                    for _ in 0..<3 { try consumer.run(fixture.randomRouting(using: &generator)) }
                }
                #expect(error?.kind == .io)
                #expect(fixture.files.contains { $0.layer == error?.layer } && error?.tensor != nil)
                #expect(consumer.differingChunks == 0)
            }
        }
    }

    @Test(arguments: RequestFixture.availableModes) func anExpertThatIsCutOffIsNamed(mode: ReadMode) throws {
        try TinyStore.with { path in
            let fixture = try fixture(path, mode: mode)
            let file = fixture.files[2]
            let expert = try #require(fixture.requests.last { $0.file == 2 && $0.expert != nil }?.expert)
            let victim = try #require(fixture.experts.requests[expert].last)
            let request = fixture.requests[victim]
            #expect(truncate(file.path, off_t(request.offset) + off_t(request.neededBytes) - 1) == 0)
            let prefetcher = try fixture.prefetcher(
                [passes(1, head: false), passes(1)], slots: 1, options: ReaderOptions(mode: mode))
            defer { prefetcher.stop() }
            let consumer = try PassConsumer(fixture, prefetcher, threads: 1)
            let error = #expect(throws: LaminaError.self) {
                try consumer.run(fixture.experts.layers.map { Array($0.experts) }, head: false)
            }
            #expect(error?.kind == .damaged && error?.subject == file.path && error?.layer == file.layer)
            #expect(error?.tensor == fixture.names[victim] && error?.bytes?.lowerBound == request.offset)
        }
    }

    @Test(arguments: RequestFixture.availableModes) func readingCanEndAtAnyTime(mode: ReadMode) throws {
        try TinyStore.with { path in
            let fixture = try fixture(path, mode: mode)
            let routing = fixture.experts.layers.map { Array($0.experts) }
            for round in 0..<40 {
                let prefetcher = try fixture.prefetcher(
                    [passes(1_000_000)], slots: 1 + round % 7, options: ReaderOptions(mode: mode),
                    cache: round % 3 == 0
                        ? nil
                        : try ExpertCache(fixture.experts, slots: ExpertSlots(perLayer: round % 3, layersWithMore: 1)))
                defer { prefetcher.stop() }
                let consumer = try PassConsumer(fixture, prefetcher, threads: 1 + round % 2)
                let thread = JoinableThread {
                    usleep(UInt32(round * 50))
                    if round % 2 == 0 { prefetcher.stop() } else { prefetcher.abort(LaminaError(.io, "", "enough")) }
                }
                #expect(throws: LaminaError.self) { while true { try consumer.run(routing) } }
                thread?.join()
                #expect(consumer.differingChunks == 0)
                // Routers may still speak; nothing comes of it.
                try? prefetcher.route(pass: 0, experts: [])
            }
        }
    }
}
