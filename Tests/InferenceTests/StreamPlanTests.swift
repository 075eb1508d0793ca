import Foundation
import LayerStore
import TensorCore
import TestSupport
import Testing

@testable import Inference

@Suite struct StreamPlanTests {
    private func plan(_ path: String) throws -> StreamPlan {
        try StreamPlanBuilder.plan(for: StoredModel(Store(path: path, in: RealFileSystem())))
    }

    @Test func barriersStandOnlyWhereTheMathsNeedsThem() throws {
        try TinyStore.with { path in
            let plan = try plan(path)
            let matrices = plan.body.map { step -> [String] in
                guard case .multiply(let tasks) = step else { return [] }
                var names: [String] = []
                for task in plan.tasks[tasks] where names.last != plan.matrices[task.matrix].tensor.name {
                    names.append(plan.matrices[task.matrix].tensor.name)
                }
                return names.map { String($0.split(separator: ".").dropLast().last ?? "") }
            }
            let stages = matrices.filter { !$0.isEmpty }
            let layer = [["q_proj", "k_proj", "v_proj"], ["o_proj"], ["gate_proj", "up_proj"], ["down_proj"]]
            #expect(stages == layer + layer)
            let kinds = plan.body.map { step in
                switch step {
                case .columns: "columns"
                case .multiply: "multiply"
                case .attend: "attend"
                case .layerEnd: "end"
                case .headProduct, .route, .experts: "of other families"
                }
            }
            let expected = [
                "columns", "multiply", "columns", "attend", "multiply", "columns", "multiply", "columns", "multiply",
                "columns", "end",
            ]
            #expect(kinds == expected + expected)
            #expect(plan.final.count == 1)
        }
    }

    @Test func chunksAreInTheOrderOfTheFilesAndOnPages() throws {
        try TinyStore.with { path in
            let plan = try plan(path)
            #expect(plan.bodyChunkCount < plan.chunks.count)
            for (first, second) in zip(plan.chunks, plan.chunks.dropFirst()) {
                #expect(second.file > first.file || second.offset > first.offset)
            }
            for read in plan.chunks {
                #expect(read.offset % 4096 == 0 && read.byteCount % 4096 == 0)
                #expect(read.neededBytes > read.byteCount - 4096 && read.neededBytes <= read.byteCount)
            }
            #expect(plan.largestChunkBytes == plan.chunks.map(\.byteCount).max())
        }
    }

    @Test func everyChunkBelongsToOneTaskAndColumnRangesToTheSame() throws {
        try TinyStore.with { path in
            let plan = try plan(path)
            #expect(plan.tasks.flatMap { Array($0.chunks) } == Array(plan.chunks.indices))
            let down = plan.tasks.filter { plan.matrices[$0.matrix].name == "model.layers.1.mlp.down_proj.weight" }
            // 1100 columns in ranges of 512, for one panel of 35 rows.
            #expect(down.map(\.chunks.count) == [3])
            #expect(plan.tasks[plan.headTasks].allSatisfy { $0.output == nil })
        }
    }

    @Test(arguments: [0, 10_000, 100_000, 1 << 22]) func requestsCoverEveryChunkOnceInOrder(target: Int) throws {
        try TinyStore.with { path in
            let plan = try plan(path)
            let joined = RequestPlan(plan, targetBytes: target)
            #expect(joined.requests.flatMap { Array($0.chunks) } == Array(plan.chunks.indices))
            for (index, request) in joined.requests.enumerated() {
                #expect(request.byteCount <= max(target, plan.largestChunkBytes))
                #expect(request.offset % 4096 == 0 && request.byteCount % 4096 == 0)
                let isOfHead = request.chunks.lowerBound >= plan.bodyChunkCount
                #expect(isOfHead == (index >= joined.bodyCount))
                #expect(isOfHead || request.chunks.upperBound <= plan.bodyChunkCount)
                for chunk in request.chunks {
                    let planned = plan.chunks[chunk]
                    #expect(joined.requestOfChunk[chunk] == index && planned.file == request.file)
                    #expect(planned.offset >= request.offset)
                    #expect(
                        planned.offset + UInt64(planned.neededBytes) <= request.offset + UInt64(request.neededBytes))
                }
            }
            if target == 0 { #expect(joined.requests.count == plan.chunks.count) }
            if target == 1 << 22 { #expect(joined.requests.count < plan.chunks.count / 2) }
        }
    }

    @Test(arguments: [2, 3, 16]) func fewChunksAreSharedByPanels(threads: Int) throws {
        try TinyStore.with(chunkBytes: 1 << 20) { path in
            let plan = try plan(path)
            let requests = RequestPlan(plan, targetBytes: 0)
            func work(slots: Int, streamed: Bool) -> WorkPlan {
                WorkPlan(plan, requestOfChunk: requests.requestOfChunk, slots: slots, threads: threads) { _ in streamed
                }
            }
            let resident = work(slots: 1, streamed: false)
            for stage in resident.stages {
                // Every panel of every chunk once, in order.
                let parts = resident.parts[stage.parts]
                for task in stage.tasks {
                    let units = parts.filter { $0.task == task }.flatMap { Array($0.groups) }
                    #expect(parts.isEmpty || units == Array(0..<plan.extent(ofTask: task).unitCount))
                }
                #expect(stage.tasks.count >= 4 * threads || !parts.isEmpty)
            }
            // A stage whose chunks are not all in the ring at once would wait for ever.
            let tight = work(slots: 1, streamed: true)
            #expect(tight.stages.filter { !$0.parts.isEmpty }.isEmpty)
            #expect(work(slots: 1000, streamed: true).stages == resident.stages)
        }
    }

    @Test func passesAreDividedSequenceBySequence() {
        let division = PassDivision(counts: [3, 5, 0, 1], columns: 4)
        let parts = division.passes.map {
            $0.map { "\($0.feed):\($0.tokens.lowerBound)-\($0.tokens.upperBound)\($0.isEnd ? "!" : "")" }
        }
        #expect(parts == [["0:0-3!", "1:0-1"], ["1:1-5!"], ["3:0-1!"]])
        let long = PassDivision(counts: [9], columns: 4)
        #expect(
            long.schedule == [PassSchedule(includesHead: false, count: 2), PassSchedule(includesHead: true, count: 1)])
    }

    @Test func aTiedHeadIsTheEmbedding() throws {
        try TinyStore.with(isTied: true) { path in
            let plan = try plan(path)
            #expect(plan.isEmbeddingHead)
            #expect(plan.files[plan.head.file].layer == "embedding")
        }
    }

    @Test func aStoreWithoutALayerOrTensorIsRefused() throws {
        try TinyStore.with { path in
            let store = try Store(path: path, in: RealFileSystem())
            var lacksLayer = store.manifest
            lacksLayer.shards.removeAll { $0.layer == "1" }
            var lacksTensor = store.manifest
            lacksTensor.shards[1].tensors.removeAll { $0.storedName.hasSuffix("up_proj.weight") }
            for (manifest, word) in [(lacksLayer, "layer"), (lacksTensor, "tensor")] {
                try Data(manifest.encoded()).write(to: URL(fileURLWithPath: path + "/manifest.json"))
                let error = #expect(throws: LaminaError.self) {
                    try StoredModel(Store(path: path, in: RealFileSystem()))
                }
                #expect(error?.kind == .malformed)
                #expect(error?.problem.contains(word) == true)
            }
        }
    }
}
