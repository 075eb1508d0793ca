import CKernels
import Glibc
import LayerStore
import TensorCore
import TestSupport
import Testing

@testable import Inference

@Suite struct EmbeddingLookupTests {
    private static let tokens = [77, 3, 130, 77, 0, 64, 63, 128, 3, 99]

    /// The embeddings of `tokens`, a row for each, looked up twice, `slots` chunks in flight.
    private func embeddings(
        _ path: String, _ tokens: [Int] = tokens, slots: Int = 1, keptBytes: Int = 0,
        in fileSystem: any FileSystem = RealFileSystem()
    ) throws -> [[Float]] {
        let plan = try StreamPlanBuilder.plan(for: StoredModel(Store(path: path, in: fileSystem)))
        let activations = try Activations(widths: plan.widths, columns: tokens.count)
        let backend = try ThreadBackend(.buffered, threads: 3)
        defer { _ = backend.stop() }
        let kernels = try #require(lamina_kernels_for(LAMINA_ISA_PORTABLE))
        let lookup = try EmbeddingLookup(
            plan, keptBytes: keptBytes, slots: slots, backend: backend, kernels: kernels)
        try lookup.fill(Array(tokens.reversed()), activations) { _ in nil }
        let read = lookup.statistics.bytes
        try lookup.fill(tokens, activations) { _ in nil }
        #expect(read > 0 && lookup.statistics.bytes == (keptBytes > 0 ? read : 2 * read))
        return tokens.indices.map {
            Array(UnsafeBufferPointer(start: activations.column(StreamPlan.residual, $0), count: 35))
        }
    }

    @Test(arguments: [64, 4096, 1 << 20]) func allWaysGiveTheSameRows(chunkBytes: Int) throws {
        // The same weights, stored as rows and, where the head shares them, as panels.
        let expected = try TinyStore.with { path in
            try EmbeddingLookupTests.tokens.map { try embeddings(path, [$0])[0] }
        }
        for isTied in [false, true] {
            try TinyStore.with(chunkBytes: chunkBytes, isTied: isTied) { path in
                for slots in [1, 2, 16] {
                    let found = try embeddings(path, slots: slots)
                    #expect(found == expected, "\(slots) slots")
                }
                let kept = try embeddings(path, slots: 2, keptBytes: 1 << 20)
                #expect(kept == expected)
            }
        }
    }

    @Test func aFailedReadIsNamedAndWaitsForTheOthers() throws {
        try TinyStore.with(chunkBytes: 64) { path in
            var failures = 0
            // The first calls open the store.
            for number in 1...60 {
                let fault = FaultyFileSystem.Fault(number: number, error: EIO, isPersistent: true)
                let faulty = FaultyFileSystem(fault: fault, calls: [.read])
                let outcome = Result { try embeddings(path, slots: 4, in: faulty) }
                guard case .failure(let problem) = outcome else { continue }
                let error = try #require(problem as? LaminaError)
                #expect(error.kind == .io)
                guard let tensor = error.tensor else { continue }
                failures += 1
                #expect(tensor == "model.embed_tokens.weight" && error.layer == "embedding")
                #expect(error.subject.hasSuffix("layers/embedding.h5") && error.bytes != nil)
            }
            #expect(failures > 3)
        }
    }
}
