import CKernels
import Foundation
import LayerStore
import TensorCore
import TestSupport
import Testing

@testable import Inference

/// For every family: what memory, threads, chunks, passes and neighbours do not change.
@Suite struct FamilySessionTests {
    /// Longer than the windows, rings' blocks and lengths that these checkpoints were trained for.
    private static let prompts = [
        (0..<29).map { 7 + $0 * 41 % 230 }, [9, 200, 31, 77, 77], (0..<11).map { 230 - $0 * 11 },
    ]
    private static let steps = [[3, 141], [53], [97, 93, 238]]

    private struct Settings {
        var threads = 1
        /// Bytes more than the least that will do; `nil`: all that is wanted.
        var extra: Int?
        var type = KeyValueType.f32
        var sequences = [0, 1, 2]
    }

    private typealias Logits = [[UInt32]]

    private func session(_ path: String, _ settings: Settings) throws -> InferenceSession {
        let model = try StoredModel(Store(path: path, in: RealFileSystem()))
        let demands = settings.sequences.map {
            SequenceDemand(promptTokens: Self.prompts[$0].count, newTokens: Self.steps[$0].count + 1)
        }
        var isa = LAMINA_ISA_PORTABLE
        lamina_isa_choose(&isa)
        let kernels = try #require(lamina_kernels_for(isa))
        func session(_ memory: Int?) throws -> InferenceSession {
            let options = SessionOptions(
                threads: settings.threads, memoryBytes: memory, readMode: .buffered, readDepth: 4,
                keyValueType: settings.type)
            return try InferenceSession(
                model, workload: .generate(demands), options: options, kernels: kernels, used: 0)
        }
        guard let extra = settings.extra else { return try session(1 << 30) }
        let options = SessionOptions(threads: settings.threads, memoryBytes: 1 << 30, keyValueType: settings.type)
        let least = try SessionPlan(model, workload: .generate(demands), options: options, kernels: kernels) { 0 }
            .minimumBytes
        return try session(least + extra)
    }

    /// Bits of the logits after each sequence's prompt and after each of its steps, by sequence.
    private func logits(_ path: String, _ settings: Settings) throws -> [Logits] {
        let session = try session(path, settings)
        var found = [Logits](repeating: [], count: settings.sequences.count)
        func take(_ feeds: [Feed]) throws {
            #expect(try session.feed(feeds))
            for feed in feeds {
                found[feed.sequence].append(try session.withLogits(of: feed.sequence) { $0.map(\.bitPattern) })
            }
        }
        try take(settings.sequences.enumerated().map { Feed(sequence: $0, tokens: Self.prompts[$1]) })
        let steps = settings.sequences.map { Self.steps[$0] }
        for step in 0..<(steps.map(\.count).max() ?? 0) {
            // Sequences end at different times.
            try take(
                steps.enumerated().filter { step < $1.count }.map { Feed(sequence: $0, tokens: [$1[step]]) })
        }
        return found
    }

    private func same(_ path: String, _ settings: Settings, _ expected: [Logits]) throws {
        let found = try logits(path, settings)
        #expect(found == settings.sequences.map { expected[$0] }, "\(settings)")
    }

    /// Streaming is as resident, a batch as alone, a prompt in parts as whole.
    @Test(arguments: Fixtures.models("")) func nothingChangesABit(_ name: String) throws {
        try Fixtures.withScratchFolder { folder in
            let small = try makeStore(Fixtures.path("models/" + name), in: folder, ["--chunk-bytes", "4K"])
            let alone = try (0..<3).map { try logits(small, Settings(sequences: [$0]))[0] }
            let areFinite = alone.joined().joined().allSatisfy { Float(bitPattern: $0).isFinite }
            #expect(areFinite)
            try same(small, Settings(threads: 2), alone)
            // With the least memory every token is a pass and every chunk is read each time.
            for extra in [0, 200_000] { try same(small, Settings(threads: 2, extra: extra), alone) }
            try same(small, Settings(extra: 0, sequences: [1]), alone)
            let whole = try makeStore(Fixtures.path("models/" + name), in: folder)
            try same(whole, Settings(threads: 3, extra: 100_000), alone)
        }
    }

    /// A chat that goes back and on is as one that went there at once.
    @Test(arguments: Fixtures.models("")) func whatIsTakenBackLeavesNoTrace(_ name: String) throws {
        try Fixtures.withScratchFolder { folder in
            let store = try makeStore(Fixtures.path("models/" + name), in: folder, ["--chunk-bytes", "4K"])
            let model = try StoredModel(Store(path: store, in: RealFileSystem()))
            func chat() throws -> InferenceSession {
                try InferenceSession(
                    model, workload: .chat(positions: 48), options: SessionOptions(threads: 2, readMode: .buffered),
                    kernels: try #require(lamina_kernels_for(LAMINA_ISA_PORTABLE)), used: 0)
            }
            func logits(_ session: InferenceSession) throws -> [UInt32] {
                try session.withLogits { $0.map(\.bitPattern) }
            }
            let (prompt, other) = (Self.prompts[0], Self.prompts[2])
            let session = try chat()
            #expect(try session.prefill(prompt) && session.advance(3) && session.position == 30)
            for kept in [27, 12, 0] {
                session.rewind(to: kept)
                // A window's ring may have lost what is needed; then the whole conversation is fed again.
                #expect(session.position == kept || session.position == 0)
                let tokens = Array(prompt[..<kept]) + other
                #expect(try session.prefill(Array(tokens[session.position...])))
                let fresh = try chat()
                #expect(try fresh.prefill(tokens))
                #expect(try logits(session) == logits(fresh), "\(kept) kept")
            }
            #expect(throws: LaminaError.self) { try session.prefill(prompt + prompt) }
        }
    }

    @Test(arguments: Fixtures.models("")) func keysAndValuesOfFewerBits(_ name: String) throws {
        try Fixtures.withScratchFolder { folder in
            let store = try makeStore(Fixtures.path("models/" + name), in: folder, ["--chunk-bytes", "4K"])
            let exact = try logits(store, Settings())
            for type in [KeyValueType.f16, .bf16, .q8] {
                let found = try logits(store, Settings(threads: 2, type: type))
                try same(store, Settings(extra: 200_000, type: type), found)
                let change = relativeChange(found, exact)
                // What is kept in fewer bits differs, by far less than a wrong scale or place would make it.
                #expect(change > 0 && change < (type == .f16 ? 0.02 : 0.2), "\(type)")
            }
        }
    }

    /// Root mean square of the differences, by that of the values.
    private func relativeChange(_ found: [Logits], _ exact: [Logits]) -> Float {
        var (change, size): (Float, Float) = (0, 0)
        for (a, b) in zip(found.joined().joined(), exact.joined().joined()) {
            let (a, b) = (Float(bitPattern: a), Float(bitPattern: b))
            change += (a - b) * (a - b)
            size += b * b
        }
        return (change / size).squareRoot()
    }

    // MARK: Evaluations

    private func scores(_ model: StoredModel, _ sequences: [EvaluationSequence], extra: Int?) throws -> [PositionScore]
    {
        var isa = LAMINA_ISA_PORTABLE
        lamina_isa_choose(&isa)
        let kernels = try #require(lamina_kernels_for(isa))
        func plan(_ memory: Int) throws -> SessionPlan {
            try SessionPlan(
                model, workload: .evaluate(sequences), options: SessionOptions(threads: 2, memoryBytes: memory),
                kernels: kernels
            ) { 0 }
        }
        let wide = try plan(1 << 30)
        let session = try InferenceSession(try extra.map { try plan(wide.minimumBytes + $0) } ?? wide)
        return try #require(try session.evaluate(sequences))
    }

    /// Sequences side by side in one pass, whose layers take turns in the room for one layer's keys and values, are as
    /// each alone, whole or in several passes.
    @Test(arguments: Fixtures.models("")) func evaluationsAreThoseOfEachAlone(_ name: String) throws {
        try Fixtures.withScratchFolder { folder in
            let store = try makeStore(Fixtures.path("models/" + name), in: folder, ["--chunk-bytes", "4K"])
            let model = try StoredModel(Store(path: store, in: RealFileSystem()))
            let sequences = Self.prompts.map {
                EvaluationSequence(tokens: $0, fed: $0.count - 1, wanted: ($0.count / 2)..<($0.count - 1))
            }
            let alone = try sequences.flatMap { try scores(model, [$0], extra: 0) }
            let areFinite = alone.allSatisfy { $0.logProbability.isFinite }
            #expect(areFinite)
            for extra in [nil, 100_000] {
                let together = try scores(model, sequences, extra: extra)
                #expect(together == alone)
            }
        }
    }

    /// A stage of an expert that is cut waits for all its chunks at once: for no more than reading ahead leaves it.
    @Test(arguments: ["mixtral", "qwen3-moe"]) func cutExpertsFitTheirSlots(_ name: String) throws {
        try Fixtures.withScratchFolder { folder in
            let store = try makeStore(Fixtures.path("models/" + name), in: folder, ["--chunk-bytes", "4K"])
            let plan = try StreamPlanBuilder.plan(for: try StoredModel(Store(path: store, in: RealFileSystem())))
            let requests = RequestPlan(plan, targetBytes: 0)
            let experts = plan.experts.map(\.chunks)
            var cut = 0
            for slots in 1...24 {
                let work = WorkPlan(plan, requestOfChunk: requests.requestOfChunk, slots: slots, threads: 4) { _ in true
                }
                for stage in work.stages where !stage.parts.isEmpty {
                    let isOfExpert = experts.contains { $0.overlaps(stage.chunks) }
                    let held = Set(stage.chunks.map { requests.requestOfChunk[$0] }).count
                    #expect(isOfExpert ? held <= Prefetcher.slotsForExperts(of: slots) : held < slots)
                    cut += isOfExpert ? 1 : 0
                }
            }
            #expect(cut > 0)
        }
    }

    /// Matrices of experts are shown with the positions that are sent there.
    @Test(arguments: ["mixtral", "qwen2-moe", "deepseek-v3-fp8"]) func expertsInputsAreShown(_ name: String) throws {
        try Fixtures.withScratchFolder { folder in
            let store = try makeStore(Fixtures.path("models/" + name), in: folder)
            let model = try StoredModel(Store(path: store, in: RealFileSystem()))
            let tokens = Self.prompts[0]
            let window = EvaluationSequence(tokens: tokens, fed: tokens.count - 1, wanted: 10..<(tokens.count - 1))
            var isa = LAMINA_ISA_PORTABLE
            lamina_isa_choose(&isa)
            let subject = StoreComparison.Subject(
                model: model, options: SessionOptions(threads: 2, memoryBytes: 1 << 30))
            let comparison = try StoreComparison(
                subject, [subject], windows: [window], kernels: try #require(lamina_kernels_for(isa))
            ) { 0 }
            let rows = try comparison.matrixRows(of: [0])[0]
            var counts: [String: Int] = [:]
            let finished = try comparison.visitMatrixInputs(besides: 0, finishedLayer: { false }) {
                input throws(LaminaError) in
                counts[input.name, default: 0] += input.count
                let shape = rows.shape(of: input.name)
                #expect(shape?.columns == input.width, "\(input.name)")
                var weights = [Float](repeating: .nan, count: (shape?.rows ?? 0) * input.width)
                let result = weights.withUnsafeMutableBufferPointer { buffer in
                    Result { () throws(LaminaError) in
                        guard let start = buffer.baseAddress, let shape else { return }
                        try rows.read(input.name, rows: 0..<shape.rows, into: start)
                    }
                }
                try result.get()
                let areFinite = weights.allSatisfy { $0.isFinite }
                #expect(areFinite, "\(input.name)")
            }
            #expect(finished)
            let experts = counts.filter { $0.key.contains("experts.0.") || $0.key.contains("experts.1.") }
            let areFew = experts.values.allSatisfy { $0 <= window.wanted.count }
            #expect(areFew && !experts.isEmpty)
            let attention = counts.filter { $0.key.contains("o_proj") }
            let areAll = attention.values.allSatisfy { $0 == window.wanted.count }
            #expect(areAll && !attention.isEmpty)
            let results = try #require(try comparison.run { false })
            let divergences = results[1].scores.map(\.divergence)
            #expect(divergences == [Double](repeating: 0, count: window.wanted.count))
            #expect(results[1].layerErrors == [Double](repeating: 0, count: model.config.layerCount))
        }
    }
}
