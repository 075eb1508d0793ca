import CKernels
import Foundation
import LayerStore
import TensorCore
import TestSupport
import Testing

@testable import Inference

@Suite struct SessionTests {
    private static let prompt = [5, 130, 7, 7, 64, 0, 99, 31, 2, 18, 77]

    /// Logits after the prompt and after each of four more tokens, and the probabilities of scoring the prompt.
    private struct Outcome: Equatable {
        var logits: [[Float]] = []
        var scores: [Double] = []
        var bytesRead: UInt64 = 0

        static func == (a: Outcome, b: Outcome) -> Bool { a.logits == b.logits && a.scores == b.scores }
    }

    private func kernels(_ isa: lamina_isa? = nil) -> KernelTable {
        var best = LAMINA_ISA_PORTABLE
        lamina_isa_choose(&best)
        return lamina_kernels_for(isa ?? best)
    }

    private func run(
        _ path: String, in fileSystem: any FileSystem = RealFileSystem(), threads: Int = 1, memory: Int? = nil,
        readMode: ReadMode? = nil, isa: lamina_isa? = nil, compute: ComputeMode = .int8
    ) throws -> Outcome {
        let model = try StoredModel(Store(path: path, in: fileSystem))
        let options = SessionOptions(threads: threads, memoryBytes: memory, readMode: readMode, compute: compute)
        var outcome = Outcome()
        let session = try InferenceSession(
            model, workload: .generate(promptTokens: Self.prompt.count, newTokens: 5), options: options,
            kernels: kernels(isa), used: 0)
        _ = try session.prefill(Self.prompt)
        outcome.logits.append(try session.withLogits { Array($0) })
        for token in [3, 1, 4, 1] {
            _ = try session.advance(token)
            outcome.logits.append(try session.withLogits { Array($0) })
        }
        outcome.bytesRead = session.statistics.bytesRead
        let scoring = try InferenceSession(
            model, workload: .score(tokens: Self.prompt.count), options: options, kernels: kernels(isa),
            used: 0)
        outcome.scores = try scoring.score(Self.prompt)?.logProbabilities ?? []
        outcome.logits.append(try scoring.withLogits { Array($0) })
        return outcome
    }

    /// The smallest budget a session accepts, from its refusal.
    private func minimumMemory(_ path: String) throws -> Int {
        let error = #expect(throws: LaminaError.self) { try run(path, memory: 1) }
        #expect(error?.kind == .limit)
        let words = (error?.expected ?? "").split(separator: " ")
        return try #require(words.compactMap { Int($0) }.first) << 20
    }

    @Test func nothingChangesABit() throws {
        let reference = try TinyStore.with { try run($0) }
        #expect(reference.logits.count == 6)
        #expect(reference.logits[0] == reference.logits[5], "scoring and generating disagree")
        let areFinite = reference.logits.joined().allSatisfy { $0.isFinite }
        #expect(areFinite)
        try TinyStore.with { path in
            for threads in [2, 3, 8] { #expect(try run(path, threads: threads) == reference) }
            #expect(try run(path, isa: LAMINA_ISA_PORTABLE) == reference)
            for mode in ReadMode.allCases { #expect(try run(path, threads: 2, readMode: mode) == reference, "\(mode)") }
            // Two threads need a little more than one, which the refusal was about.
            let minimum = try minimumMemory(path) + (1 << 20)
            for extra in [0, 40_000, 200_000, 500_000, 900_000, 4_000_000] {
                #expect(try run(path, threads: 2, memory: minimum + extra) == reference)
            }
        }
        for chunkBytes in [64, 20_000, 1 << 20] {
            #expect(try TinyStore.with(chunkBytes: chunkBytes) { try run($0, threads: 2) } == reference)
        }
    }

    /// Logits after the prompt and after each further token, for sequences that advance together.
    private func together(
        _ path: String, _ prompts: [[Int]], steps: [[Int]], threads: Int, memory: Int?
    ) throws -> [[[Float]]] {
        let model = try StoredModel(Store(path: path, in: RealFileSystem()))
        let demands = zip(prompts, steps).map { SequenceDemand(promptTokens: $0.count, newTokens: $1.count + 1) }
        let session = try InferenceSession(
            model, workload: .generate(demands), options: SessionOptions(threads: threads, memoryBytes: memory),
            kernels: kernels(), used: 0)
        var logits = [[[Float]]](repeating: [], count: prompts.count)
        func take(_ feeds: [Feed]) throws {
            #expect(try session.feed(feeds))
            for feed in feeds { logits[feed.sequence].append(try session.withLogits(of: feed.sequence) { Array($0) }) }
        }
        try take(prompts.enumerated().map { Feed(sequence: $0, tokens: $1) })
        for step in 0..<(steps.map(\.count).max() ?? 0) {
            // Sequences end at different times.
            let feeds = steps.enumerated().filter { step < $1.count }.map { Feed(sequence: $0, tokens: [$1[step]]) }
            try take(feeds)
        }
        return logits
    }

    @Test func sequencesTogetherAreAsAlone() throws {
        let prompts = [[5, 130, 7], [9], Self.prompt, [1, 2, 3, 4, 5, 6], [77, 78]]
        let steps = [[1, 2], [3, 1, 4, 1, 5], [], [9, 9, 9], [130]]
        for chunkBytes in [4096, 1 << 20] {
            try TinyStore.with(chunkBytes: chunkBytes) { path in
                let alone = try zip(prompts, steps).map {
                    try together(path, [$0], steps: [$1], threads: 1, memory: nil)[0]
                }
                let minimum = try leastMemory(path, prompts, steps)
                for (threads, memory) in [(1, nil), (2, nil), (3, minimum), (2, minimum + 300_000)] {
                    #expect(try together(path, prompts, steps: steps, threads: threads, memory: memory) == alone)
                }
            }
        }
    }

    /// The least memory for three threads, from the refusal.
    private func leastMemory(_ path: String, _ prompts: [[Int]], _ steps: [[Int]]) throws -> Int {
        let error = #expect(throws: LaminaError.self) {
            try together(path, prompts, steps: steps, threads: 3, memory: 1)
        }
        let words = (error?.expected ?? "").split(separator: " ")
        return try #require(words.compactMap { Int($0) }.first) << 20
    }

    @Test(arguments: [DType.float16, .float32]) func otherTypesAgreeWithThemselves(dtype: DType) throws {
        let reference = try TinyStore.with(dtype: dtype) { try run($0) }
        let other = try TinyStore.with(chunkBytes: 20_000, dtype: dtype) { try run($0, threads: 3) }
        #expect(reference == other)
    }

    @Test(arguments: Schemes.all.map(\.name)) func nothingChangesABitOfQuantizedProducts(name: String) throws {
        let quantization = TinyStore.Quantization(scheme: try #require(Schemes.named(name)))
        for isTied in [false, true] {
            let reference = try TinyStore.with(isTied: isTied, quantization: quantization) { try run($0) }
            #expect(reference.logits[0] == reference.logits[5], "scoring and generating disagree")
            try TinyStore.with(isTied: isTied, quantization: quantization) { path in
                #expect(try run(path, threads: 3) == reference)
                for isa in [LAMINA_ISA_PORTABLE, LAMINA_ISA_AVX2, LAMINA_ISA_AVX512]
                where lamina_isa_is_available(isa) {
                    #expect(try run(path, isa: isa) == reference)
                }
                let minimum = try minimumMemory(path) + (1 << 20)
                for extra in [0, 100_000, 500_000] {
                    #expect(try run(path, threads: 2, memory: minimum + extra) == reference)
                }
            }
            for chunkBytes in [64, 20_000, 1 << 20] {
                let other = try TinyStore.with(
                    chunkBytes: chunkBytes, isTied: isTied, quantization: quantization
                ) { try run($0, threads: 2) }
                #expect(other == reference)
            }
        }
    }

    @Test(arguments: Schemes.all.map(\.name)) func quantizedWeightsAreTheNumbersTheyStandFor(name: String) throws {
        let scheme = try #require(Schemes.named(name))
        for isTied in [false, true] {
            let widened = TinyStore.Quantization(scheme: scheme, isWidened: true)
            let reference = try TinyStore.with(isTied: isTied, quantization: widened) { try run($0) }
            let quantized = try TinyStore.with(isTied: isTied, quantization: TinyStore.Quantization(scheme: scheme)) {
                try run($0, threads: 2, compute: .f32)
            }
            #expect(quantized == reference)
            let coded = try TinyStore.with(isTied: isTied, quantization: TinyStore.Quantization(scheme: scheme)) {
                try run($0, threads: 2)
            }
            let takesCodes = scheme.form.takesCodes
            #expect((coded == reference) == !takesCodes)
            let pairs = zip(coded.logits.joined(), reference.logits.joined())
            let error = pairs.reduce(0) { $0 + Double(($1.0 - $1.1) * ($1.0 - $1.1)) }
            let square = reference.logits.joined().reduce(0) { $0 + Double($1 * $1) }
            #expect(error <= 0.03 * 0.03 * square, "8-bit activations cost more than 3 %")
        }
    }

    @Test func aTiedEmbeddingIsLookedUpInItsPanels() throws {
        let reference = try TinyStore.with(isTied: true) { try run($0) }
        for chunkBytes in [64, 1 << 20] {
            let other = try TinyStore.with(chunkBytes: chunkBytes, isTied: true) { try run($0, threads: 2) }
            #expect(reference == other)
        }
    }

    @Test func interruptedAndShortReadsChangeNothing() throws {
        try TinyStore.with { path in
            let reference = try run(path)
            let troubled = FaultyFileSystem(shortCount: 4096, interruptEvery: 3)
            #expect(try run(path, in: troubled, threads: 2) == reference)
        }
    }

    @Test(arguments: [1, 2]) func aFailedReadStopsWithoutText(threads: Int) throws {
        try TinyStore.with(chunkBytes: 20_000) { path in
            let reference = try run(path)
            var number = 1
            var failures = 0
            while true {
                let fault = FaultyFileSystem.Fault(number: number, error: EIO, isPersistent: false)
                let faulty = FaultyFileSystem(fault: fault, calls: [.read])
                do {
                    // Reads that fail once while files are opened fall back to buffered ones: the result counts.
                    #expect(try run(path, in: faulty, threads: threads) == reference)
                } catch let error as LaminaError {
                    failures += 1
                    #expect(error.kind == .io, "\(error)")
                    #expect(error.subject.hasPrefix(path), "\(error)")
                }
                if faulty.callCount < number { break }
                number += 7
            }
            #expect(failures > 5)
        }
    }

    @Test func everyDamagedChunkIsNamed() throws {
        try TinyStore.with(chunkBytes: 20_000) { path in
            let plan = try StreamPlanBuilder.plan(for: StoredModel(Store(path: path, in: RealFileSystem())))
            for read in plan.chunks {
                let file = plan.files[read.file]
                var bytes = try Data(contentsOf: URL(fileURLWithPath: file.path))
                let position = Int(read.offset) + read.neededBytes / 2
                bytes[position] ^= 0x10
                try bytes.write(to: URL(fileURLWithPath: file.path))
                let error = #expect(throws: LaminaError.self) { try run(path, threads: 2) }
                #expect(error?.kind == .damaged)
                #expect(error?.subject == file.path && error?.layer == file.layer)
                #expect(error?.tensor == plan.matrices[read.matrix].name)
                #expect(error?.bytes?.contains(UInt64(position)) == true)
                bytes[position] ^= 0x10
                try bytes.write(to: URL(fileURLWithPath: file.path))
            }
            _ = try run(path)
        }
    }

    @Test func aFileCutOffWhileRunningIsDamage() throws {
        try TinyStore.with { path in
            let model = try StoredModel(Store(path: path, in: RealFileSystem()))
            let minimum = try minimumMemory(path)
            let session = try InferenceSession(
                model, workload: .generate(promptTokens: 1, newTokens: 8),
                options: SessionOptions(threads: 1, memoryBytes: minimum), kernels: kernels(), used: 0)
            _ = try session.prefill([1])
            truncate(path + "/layers/1.h5", 4096)
            let error = #expect(throws: LaminaError.self) {
                for token in 2..<8 { _ = try session.advance(token) }
            }
            #expect(error?.kind == .damaged)
            #expect(error?.layer == "1")
        }
    }

    @Test func askingToStopStops() throws {
        try TinyStore.with { path in
            let model = try StoredModel(Store(path: path, in: RealFileSystem()))
            let session = try InferenceSession(
                model, workload: .generate(promptTokens: 3, newTokens: 60), options: SessionOptions(threads: 2),
                kernels: kernels())
            #expect(try session.prefill([1, 2, 3]))
            #expect(try !session.advance(4, shouldStop: { true }))
        }
    }

    @Test func impossibleRequestsAreRefused() throws {
        try TinyStore.with { path in
            let model = try StoredModel(Store(path: path, in: RealFileSystem()))
            func session(threads: Int = 1, tokens: Int = 1) throws -> InferenceSession {
                try InferenceSession(
                    model, workload: .generate(promptTokens: tokens, newTokens: 1),
                    options: SessionOptions(threads: threads), kernels: kernels())
            }
            #expect(throws: LaminaError.self) { try session(threads: 0) }
            #expect(throws: LaminaError.self) { try session(threads: 2000) }
            let context = #expect(throws: LaminaError.self) { try session(tokens: 65) }
            #expect(context?.expected == "1 to 64 positions")
            #expect(throws: LaminaError.self) { try session(tokens: 0) }
            #expect(throws: LaminaError.self) { try session().prefill([]) }
            #expect(throws: LaminaError.self) { try session().prefill([TinyStore.vocabulary]) }
            #expect(throws: LaminaError.self) { try session().prefill([-1]) }
            #expect(throws: LaminaError.self) { try session().prefill([1, 1]) }
            #expect(throws: LaminaError.self) { try session().feed([Feed(sequence: 1, tokens: [1])]) }
        }
    }
}
