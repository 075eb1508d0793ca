import CKernels
import Foundation
import LayerStore
import TensorCore
import TestSupport
import Testing

@testable import Inference

/// Many sequences through the model at once, and what is made of their logits.
@Suite struct EvaluationTests {
    private static let sequences: [EvaluationSequence] = [
        sequence(11, wanted: 4..<10, seed: 1), sequence(2, wanted: 0..<1, seed: 2),
        sequence(41, wanted: 20..<40, seed: 3), sequence(17, wanted: 3..<16, seed: 4),
        sequence(33, wanted: 31..<32, seed: 5),
    ]

    private static func sequence(_ count: Int, wanted: Range<Int>, seed: UInt64) -> EvaluationSequence {
        var generator = SeededGenerator(seed: seed)
        let tokens = (0..<count).map { _ in Int.random(in: 0..<TinyStore.vocabulary, using: &generator) }
        return EvaluationSequence(tokens: tokens, fed: count - 1, wanted: wanted)
    }

    private func kernels(_ isa: lamina_isa? = nil) -> KernelTable {
        var best = LAMINA_ISA_PORTABLE
        lamina_isa_choose(&best)
        return lamina_kernels_for(isa ?? best)
    }

    private func model(_ path: String) throws -> StoredModel {
        try StoredModel(Store(path: path, in: RealFileSystem()))
    }

    private func evaluate(
        _ path: String, _ sequences: [EvaluationSequence] = sequences, use: LogitUse = .score, threads: Int = 2,
        memory: Int? = nil, isa: lamina_isa? = nil
    ) throws -> [PositionScore] {
        let session = try InferenceSession(
            model(path), workload: .evaluate(sequences),
            options: SessionOptions(threads: threads, memoryBytes: memory), kernels: kernels(isa), used: 0)
        return try #require(try session.evaluate(sequences, use: use))
    }

    /// The smallest budget that an evaluation accepts, from its refusal.
    private func minimumMemory(_ path: String) throws -> Int {
        let error = #expect(throws: LaminaError.self) { try evaluate(path, memory: 1) }
        #expect(error?.kind == .limit)
        let words = (error?.expected ?? "").split(separator: " ")
        return try #require(words.compactMap { Int($0) }.first) << 20
    }

    @Test(arguments: [false, true])
    func scoresAreThoseOfEachAlone(_ isTied: Bool) throws {
        try TinyStore.with(isTied: isTied) { path in
            var alone: [PositionScore] = []
            for sequence in Self.sequences {
                let session = try InferenceSession(
                    model(path), workload: .score(tokens: sequence.tokens.count), options: SessionOptions(threads: 1),
                    kernels: kernels(LAMINA_ISA_PORTABLE), used: 0)
                let scores = try #require(try session.score(sequence.tokens)).logProbabilities
                let found = try evaluate(path, [sequence])
                #expect(found.map(\.logProbability) == sequence.wanted.map { scores[$0] })
                alone += found
            }
            let least = try minimumMemory(path)
            for threads in [1, 3] {
                for memory in [least, least + 50_000, least + 300_000, nil] {
                    #expect(try evaluate(path, threads: threads, memory: memory) == alone, "\(threads) \(memory ?? 0)")
                }
            }
        }
    }

    @Test func sequencesShareAsFewPassesAsFit() throws {
        try TinyStore.with { path in
            func passes(_ memory: Int?) throws -> Int {
                let session = try InferenceSession(
                    model(path), workload: .evaluate(Self.sequences),
                    options: SessionOptions(threads: 1, memoryBytes: memory), kernels: kernels(), used: 0)
                _ = try session.evaluate(Self.sequences)
                return session.statistics.passes
            }
            let (most, least) = (try passes(nil), try passes(try minimumMemory(path)))
            #expect(most == 1)
            #expect(least > Self.sequences.count)
        }
    }

    /// Logits after all tokens of `tokens`.
    private func logits(_ path: String, _ tokens: [Int]) throws -> [Double] {
        let session = try InferenceSession(
            model(path), workload: .score(tokens: tokens.count), options: SessionOptions(threads: 1),
            kernels: kernels(), used: 0)
        _ = try session.score(tokens)
        return try session.withLogits { $0.map(Double.init) }
    }

    @Test func divergenceIsThatOfTheDistributions() throws {
        try TinyStore.with { first in
            try TinyStore.with(dtype: .float16) { second in
                let sequence = Self.sequences[0]
                let reference = try ReferenceLogits(
                    capacity: sequence.wanted.count, vocabulary: TinyStore.vocabulary)
                let kept = try evaluate(first, [sequence], use: .keep(reference))
                let scores = try evaluate(second, [sequence], use: .compare(reference))
                #expect(kept == (try evaluate(first, [sequence])))
                for (index, position) in sequence.wanted.enumerated() {
                    let tokens = Array(sequence.tokens[...position])
                    let (a, b) = (try logits(first, tokens), try logits(second, tokens))
                    func normalized(_ logits: [Double]) -> [Double] {
                        let total = log(logits.reduce(0) { $0 + exp($1) })
                        return logits.map { $0 - total }
                    }
                    let (p, q) = (normalized(a), normalized(b))
                    let divergence = zip(p, q).reduce(0) { $0 + exp($1.0) * ($1.0 - $1.1) }
                    #expect(abs(scores[index].divergence - divergence) < 1e-12 && divergence > 0)
                    #expect(kept[index].topToken == a.indices.max { (a[$0], $1) < (a[$1], $0) })
                    #expect(abs(scores[index].logProbability - q[sequence.tokens[position + 1]]) < 1e-9)
                }
                #expect(try evaluate(first, [sequence], use: .compare(reference)).allSatisfy { $0.divergence == 0 })
            }
        }
    }

    // MARK: Stores

    private func comparison(_ paths: [String], threads: Int, memory: Int?) throws -> StoreComparison {
        let windows = (0..<5).map { Self.sequence(40, wanted: 20..<39, seed: UInt64($0)) }
        let subjects = try paths.map { path in
            StoreComparison.Subject(
                model: try model(path), options: SessionOptions(threads: threads, memoryBytes: memory))
        }
        return try StoreComparison(subjects[0], Array(subjects.dropFirst()), windows: windows, kernels: kernels()) { 0 }
    }

    /// Matrices from another store are those of the other store: all of them, some, or none.
    @Test(arguments: [false, true])
    func variantsHaveTheMatricesOfTheOtherStore(_ isTied: Bool) throws {
        try TinyStore.with(isTied: isTied) { first in
            try TinyStore.with(chunkBytes: 1 << 16, isTied: isTied, dtype: .float16) { second in
                let (full, other) = (try model(first), try model(second))
                let names = Set(full.definition.tensors.map(\.name))
                let layers = full.config.layerCount
                let inLayers = Set(full.definition.tensors.filter { $0.place == .layer }.map(\.name))
                let variants = [
                    WeightVariant(model: other, names: names, layers: 0..<layers),
                    WeightVariant(model: other, names: [], layers: 0..<layers),
                    WeightVariant(model: other, names: inLayers, layers: 0..<1),
                    WeightVariant(model: other, names: inLayers, layers: 1..<layers),
                ]
                let options = SessionOptions(threads: 2)
                let windows = (0..<2).map { Self.sequence(40, wanted: 20..<39, seed: UInt64($0)) }
                let comparison = try StoreComparison(
                    StoreComparison.Subject(model: full, options: options),
                    [StoreComparison.Subject(model: other, options: options)]
                        + variants.map { StoreComparison.Subject(model: full, variant: $0, options: options) },
                    windows: windows, kernels: kernels()
                ) { 0 }
                let scores = try #require(try comparison.run { false }).map(\.scores)
                #expect(scores[2] == scores[1] && scores[3] == scores[0])
                #expect(scores[4] != scores[0] && scores[5] != scores[0] && scores[4] != scores[5])
                #expect(scores[4] != scores[1] && scores[5] != scores[1])
            }
        }
    }

    @Test func comparisonDoesNotDependOnMemoryOrThreads() throws {
        try TinyStore.with { first in
            try TinyStore.with(chunkBytes: 1 << 16, dtype: .float16) { second in
                let wide = try comparison([first, second, first], threads: 2, memory: nil)
                #expect(wide.groupSize == 5)
                var layers = 0
                let results = try wide.run {
                    layers += 1
                    return false
                }
                let expected = try #require(results)
                #expect(layers == (try wide.layerCount()) && layers == 6)
                #expect(expected.map(\.scores.count) == [95, 95, 95] && expected[0].layerErrors.isEmpty)
                #expect(expected[1].layerErrors.count == 2 && expected[1].layerErrors.allSatisfy { $0 > 0 && $0 < 0.1 })
                #expect(expected[2].layerErrors == [0, 0] && expected[2].scores.allSatisfy { $0.divergence == 0 })
                // Room for some windows only, whatever this process takes already.
                let error = #expect(throws: LaminaError.self) {
                    try comparison([first, second, first], threads: 1, memory: 1 << 20)
                }
                #expect(error?.kind == .limit)
                let least = try comparison([first, second, first], threads: 1, memory: nil).leastBytes
                let narrow = try comparison([first, second, first], threads: 1, memory: least + 20_000)
                #expect(narrow.groupSize < 5)
                let found = try #require(try narrow.run { false })
                #expect(found.map(\.scores) == expected.map(\.scores))
                #expect(found.map(\.layerErrors) == expected.map(\.layerErrors))
                #expect(try narrow.run { true } == nil)
            }
        }
    }

    @Test(arguments: [false, true])
    func matrixInputsTimesRowsAreTheProducts(_ isTied: Bool) throws {
        try TinyStore.with(isTied: isTied, dtype: isTied ? .float32 : .bfloat16) { path in
            let comparison = try comparison([path], threads: 2, memory: nil)
            let rows = try comparison.matrixRows(of: [0])[0]
            var names: [String] = []
            var products: [Float] = []
            let finished = try comparison.visitMatrixInputs(besides: 0, finishedLayer: { false }) {
                input throws(LaminaError) in
                names.append(input.name)
                guard let shape = rows.shape(of: input.name), shape.rows == TinyStore.vocabulary else { return }
                #expect(shape.columns == input.width && input.count == 19)
                var inputs = [Float](repeating: 0, count: input.count * input.width)
                inputs.withUnsafeMutableBufferPointer { input.copy(to: $0.baseAddress!) }
                var weights = [Float](repeating: 0, count: shape.rows * shape.columns)
                do throws(LaminaError) {
                    // In pieces that begin and end inside panels.
                    for first in stride(from: 0, to: shape.rows, by: 37) {
                        let piece = first..<min(shape.rows, first + 37)
                        let result = weights.withUnsafeMutableBufferPointer { buffer in
                            Result { () throws(LaminaError) in
                                try rows.read(
                                    input.name, rows: piece, into: buffer.baseAddress! + first * shape.columns)
                            }
                        }
                        try result.get()
                    }
                } catch { throw error }
                let last = (input.count - 1) * input.width
                products = (0..<shape.rows).map { row in
                    (0..<shape.columns).reduce(0) { $0 + inputs[last + $1] * weights[row * shape.columns + $1] }
                }
            }
            #expect(finished)
            // Seven matrices in each of two layers, and the head.
            #expect(names.count == 15 && Set(names).count == 15)
            let window = Self.sequence(40, wanted: 20..<39, seed: 0)
            let expected = try logits(path, Array(window.tokens[..<39]))
            #expect(products.count == expected.count)
            for (found, expected) in zip(products, expected) { #expect(abs(Double(found) - expected) < 1e-4) }
        }
    }
}
