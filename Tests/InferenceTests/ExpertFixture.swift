import CKernels
import Foundation
import LayerStore
import Synchronization
import TensorCore
import TestSupport
import Testing

@testable import Inference

extension RequestFixture {
    /// Declares most requests of the body to be experts, of one or two requests each: some of every pass, a layer of two
    /// to five experts, and so on. Two layers may have nothing in between.
    mutating func declareExperts(using generator: inout SeededGenerator) {
        var planned: [PlannedExpert] = []
        var next = 1
        for layer in 0... {
            let sizes = (0..<Int.random(in: 2...5, using: &generator)).map { _ in
                Int.random(in: 1...2, using: &generator)
            }
            guard next + sizes.reduce(0, +) <= bodyRequestCount else { break }
            for (expert, size) in sizes.enumerated() {
                for request in next..<(next + size) { requests[request].expert = planned.count }
                let chunks = requests[next].chunks.lowerBound..<requests[next + size - 1].chunks.upperBound
                planned.append(PlannedExpert(layer: layer, expert: expert, chunks: chunks))
                next += size
            }
            next += Int.random(in: 0...3, using: &generator)
        }
        experts = ExpertRequests(planned, requests)
    }

    /// Any of each layer's experts, sometimes none.
    func randomRouting(using generator: inout SeededGenerator) -> [[Int]] {
        experts.layers.map { layer in layer.experts.filter { _ in Bool.random(using: &generator) } }
    }

    /// What is read of a pass, from one router to the next: requests that every pass wants, or an index of a layer.
    enum Stage {
        case dense(Range<Int>)
        case experts(Int)
    }

    /// The stages of a pass, or of what is left of it from the request `first` on.
    func stages(head: Bool, from first: Int = 0) -> [Stage] {
        var stages: [Stage] = []
        var next = first
        for (index, layer) in experts.layers.enumerated() where layer.requests.lowerBound >= first {
            if next < layer.requests.lowerBound { stages.append(.dense(next..<layer.requests.lowerBound)) }
            stages.append(.experts(index))
            next = layer.requests.upperBound
        }
        stages.append(.dense(next..<(head ? requests.count : bodyRequestCount)))
        return stages
    }

    /// Bytes of the requests that every pass reads.
    func denseBytes(head: Bool) -> Int {
        requests[..<(head ? requests.count : bodyRequestCount)].reduce(0) { $0 + ($1.expert == nil ? $1.byteCount : 0) }
    }

    func bytes(of experts: [Int]) -> Int { experts.reduce(0) { $0 + self.experts.byteCounts[$1] } }
}

/// Runs passes over a fixture's requests as the engine does: threads take the chunks of a stage in order, and all wait
/// for one another before the next. Every chunk is compared with the file.
final class PassConsumer: @unchecked Sendable {
    // Sendable: set up by one thread between runs of the pool, whose barriers order it.
    private let fixture: RequestFixture
    private let prefetcher: Prefetcher
    private let contents: [[UInt8]]
    private let pool: OpaquePointer
    /// (request, chunk)
    private var tasks: [(request: Int, chunk: Int)] = []
    private var pass = 0
    private let failure = FirstFailure()
    private let differing = Atomic(0)
    /// What `route` told of each wanted expert, in order.
    private(set) var places: [ExpertPlace] = []

    init(_ fixture: RequestFixture, _ prefetcher: Prefetcher, threads: Int) throws {
        self.fixture = fixture
        self.prefetcher = prefetcher
        contents = try fixture.files.map { Array(try Data(contentsOf: URL(fileURLWithPath: $0.path))) }
        pool = try #require(lamina_pool_create(threads))
    }

    deinit { lamina_pool_destroy(pool) }

    /// Chunks that were not as in the file.
    var differingChunks: Int { differing.load(ordering: .relaxed) }

    /// The next pass, whose columns want these experts of each layer; or what is left of it from a request on.
    func run(
        _ routing: [[Int]], head: Bool = true, from first: Int = 0, before stage: (Int) -> Void = { _ in }
    ) throws {
        for (index, part) in fixture.stages(head: head, from: first).enumerated() {
            stage(index)
            switch part {
            case .dense(let requests): try consume(requests)
            case .experts(let layer):
                try prefetcher.route(pass: pass, experts: routing[layer]) { _, place in places.append(place) }
                try consume(routing[layer].flatMap { fixture.experts.requests[$0] })
            }
        }
        pass += 1
    }

    /// Takes, compares and gives back these requests.
    func consume(_ requests: some Sequence<Int>) throws {
        tasks = requests.flatMap { request in fixture.requests[request].chunks.map { (request, $0) } }
        lamina_pool_run(
            pool, tasks.count,
            { context, index, _ in
                guard let context else { return }
                Unmanaged<PassConsumer>.fromOpaque(context).takeUnretainedValue().consume(tasks: index)
            }, Unmanaged.passUnretained(self).toOpaque())
        try failure.rethrow()
    }

    private func consume(tasks index: Int) {
        let (request, chunk) = tasks[index]
        var waited = 0.0
        do throws(LaminaError) {
            let start = try prefetcher.take(pass: pass, request: request, waited: &waited)
            let record = fixture.chunks[chunk]
            let stored = start + Int(record.offset - fixture.requests[request].offset)
            let isSame = contents[fixture.requests[request].file].withUnsafeBytes { written in
                guard let base = written.baseAddress else { return false }
                return memcmp(stored, base + Int(record.offset), Int(record.storedSize)) == 0
            }
            if !isSame { differing.wrappingAdd(1, ordering: .relaxed) }
            prefetcher.release(pass: pass, request: request)
        } catch {
            failure.note(error)
            prefetcher.abort(error)
        }
    }
}
