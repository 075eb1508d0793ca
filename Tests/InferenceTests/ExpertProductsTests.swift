import Foundation
import LayerStore
import TensorCore
import TestSupport
import Testing

@testable import Inference

/// Products of experts' chunks as they come through the ring, stay in memory, and come again.
@Suite(.timeLimit(.minutes(5))) struct ExpertProductsTests {
    /// What multiplies a plan's chunks, without the rest of a session.
    private final class Engine {
        let plan: SessionPlan
        let prefetcher: Prefetcher
        let products: ChunkProducts
        let activations: Activations
        private let setup: SessionSetup
        private let worker: Worker
        /// The buffer that gates are in.
        private let gate: Int?

        init(_ plan: SessionPlan) throws {
            self.plan = plan
            setup = try SessionSetup(plan)
            prefetcher = try setup.prefetcher()
            activations = try Activations(widths: plan.stream.widths, columns: plan.memory.columns)
            // The residual stream and what is made of it first.
            for buffer in 0..<2 {
                let column = activations.column(buffer, 0)
                for index in 0..<plan.stream.widths[buffer] { column[index] = Float(index % 7) - 3 }
            }
            gate = plan.stream.tasks.first { plan.stream.matrices[$0.matrix].name.contains("down_proj") }?.input
            products = try ChunkProducts(
                plan.stream, plan.requests, kernels: plan.kernels, activations: activations,
                codes: ActivationCodes(
                    widths: plan.stream.widths, buffers: plan.stream.codedBuffers, columns: plan.memory.columns),
                vectors: ResidentVectors(plan.stream, kernels: plan.kernels), prefetcher: prefetcher,
                residents: setup.residents, decoded: setup.decoded)
            worker = try Worker(
                decodedBytes: plan.stream.scratchBytes(keepsDecoded: false), scores: ScoreRows(floats: 1, stride: 1),
                rowFloats: 1, panelColumns: 0, kernels: plan.kernels)
            prefetcher.start()
        }

        deinit { prefetcher.stop() }

        /// The products of all chunks of the body, or, of experts, of those wanted of each layer; results as they lie in
        /// the task's output, by task. The head is only read.
        func pass(_ routing: [[Int]]) throws(LaminaError) -> [Int: [Float]] {
            products.begin(columns: 1)
            var results: [Int: [Float]] = [:]
            var layer = 0
            for (index, task) in plan.stream.tasks.enumerated() where index < plan.stream.headTasks.lowerBound {
                let expert = plan.stream.experts.firstIndex { $0.chunks.contains(task.chunks.lowerBound) }
                let layers = plan.requests.experts.layers
                if let expert, layer < layers.count, layers[layer].experts.lowerBound == expert {
                    try products.route(routing[layer])
                    layer += 1
                }
                if let expert, !routing[layer - 1].contains(expert) { continue }
                do throws(LaminaError) {
                    try products.multiply(task, worker)
                } catch {
                    let matrix = plan.stream.matrices[task.matrix]
                    throw error.located(in: plan.stream.files[matrix.file], tensor: matrix.name)
                }
                // What is left in the gate by experts that are not wanted is no concern of this test.
                guard let output = task.output, task.input != gate else { continue }
                let extent = plan.stream.extent(ofTask: index)
                let first = extent.firstUnit * 64
                let rows = min(extent.unitCount * 64, plan.stream.widths[output] - first)
                let start = activations.column(output, 0) + first
                results[index] = Array(UnsafeBufferPointer(start: start, count: rows))
            }
            for chunk in plan.stream.bodyChunkCount..<plan.stream.chunks.count {
                try products.check(chunk, worker)
                products.release(chunk)
            }
            products.end()
            return results
        }
    }

    private func all(_ plan: SessionPlan) -> [[Int]] { plan.requests.experts.layers.map { Array($0.experts) } }

    @Test func expertsGiveTheSameFromEverywhere() throws {
        try TinyStore.with { path in
            let (model, stream) = try StreamPlan.withExperts(path)
            let dense = try SessionPlan(model, StreamPlanBuilder.plan(for: model), extra: 0, tokens: 1)
            let reference = try Engine(dense).pass([])
            #expect(reference.count > 50)
            var generator = SeededGenerator(seed: 9)
            for slots in [0, 1, 2, 6] {
                let engine = try Engine(SessionPlan(model, stream, expertSlots: slots))
                for pass in 0..<6 {
                    let routing = all(engine.plan).map { $0.filter { _ in Bool.random(using: &generator) } }
                    let results = try engine.pass(routing)
                    let wanted = stream.tasks.indices.filter { task in
                        let chunk = stream.tasks[task].chunks.lowerBound
                        let expert = stream.experts.firstIndex { $0.chunks.contains(chunk) }
                        return reference[task] != nil && expert.map { routing.joined().contains($0) } ?? true
                    }
                    #expect(results.keys.sorted() == wanted)
                    for (task, result) in results {
                        #expect(result == reference[task], "pass \(pass), \(slots) slots, task \(task)")
                    }
                }
                let statistics = engine.prefetcher.readStatistics.experts
                #expect((statistics.hits > 0) == (slots > 0) && statistics.misses > 0)
            }
        }
    }

    /// Flips a bit in the middle of an expert's first chunk.
    private func damage(_ expert: Int, _ stream: StreamPlan) throws -> (file: ShardFile, tensor: String) {
        let chunk = stream.chunks[stream.experts[expert].chunks.lowerBound]
        let url = URL(fileURLWithPath: stream.files[chunk.file].path)
        let handle = try FileHandle(forUpdating: url)
        defer { try? handle.close() }
        let position = chunk.offset + UInt64(chunk.neededBytes / 2)
        try handle.seek(toOffset: position)
        let byte = try #require(try handle.read(upToCount: 1)?.first)
        try handle.seek(toOffset: position)
        try handle.write(contentsOf: Data([byte ^ 0x10]))
        return (stream.files[chunk.file], stream.matrices[chunk.matrix].name)
    }

    @Test func aChunkIsCheckedEachTimeItIsRead() throws {
        try TinyStore.with { path in
            let (model, stream) = try StreamPlan.withExperts(path)
            let engine = try Engine(SessionPlan(model, stream, expertSlots: 1))
            let layers = engine.plan.requests.experts.layers
            let (kept, other) = (layers[0].experts.lowerBound, layers[0].experts.lowerBound + 1)
            let second = [layers[1].experts.lowerBound]
            _ = try engine.pass([[kept], second])
            // What is in memory has been checked and is not looked at again.
            let place = try damage(kept, stream)
            for _ in 0..<3 { _ = try engine.pass([[kept], second]) }
            // Another takes its place in the end; then it has to be read.
            var hits = engine.prefetcher.readStatistics.experts.hits
            var passes = 0
            while true {
                _ = try engine.pass([[other], second])
                passes += 1
                let now = engine.prefetcher.readStatistics.experts.hits
                // The second layer's is a hit each time, the first one's once it stays.
                if now - hits == 2 { break }
                hits = now
            }
            #expect(passes > 2)
            let error = #expect(throws: LaminaError.self) { try engine.pass([[kept], second]) }
            #expect(error?.kind == .damaged && error?.subject == place.file.path)
            #expect(error?.layer == place.file.layer && error?.tensor == place.tensor)
        }
    }

    @Test(arguments: [0, 2]) func everyDamagedExpertIsNamed(slots: Int) throws {
        try TinyStore.with { path in
            let (model, stream) = try StreamPlan.withExperts(path)
            let plan = try SessionPlan(model, stream, expertSlots: slots)
            for expert in stream.experts.indices {
                let place = try damage(expert, stream)
                let engine = try Engine(plan)
                let error = #expect(throws: LaminaError.self) { try engine.pass(all(plan)) }
                #expect(error?.kind == .damaged && error?.subject == place.file.path)
                #expect(error?.layer == place.file.layer && error?.tensor == place.tensor)
                _ = try damage(expert, stream)
            }
            _ = try Engine(plan).pass(all(plan))
        }
    }
}
