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

    @Test func readsAreInTheOrderOfTheFilesAndOnPages() throws {
        try TinyStore.with { path in
            let plan = try plan(path)
            #expect(plan.bodyReadCount < plan.reads.count)
            for (first, second) in zip(plan.reads, plan.reads.dropFirst()) {
                #expect(second.file > first.file || second.offset > first.offset)
            }
            for read in plan.reads {
                #expect(read.offset % 4096 == 0 && read.byteCount % 4096 == 0)
                #expect(read.neededBytes > read.byteCount - 4096 && read.neededBytes <= read.byteCount)
            }
            #expect(plan.slotBytes == plan.reads.map(\.byteCount).max())
        }
    }

    @Test func everyReadBelongsToOneTaskAndColumnRangesToTheSame() throws {
        try TinyStore.with { path in
            let plan = try plan(path)
            #expect(plan.tasks.flatMap { Array($0.reads) } == Array(plan.reads.indices))
            let down = plan.tasks.filter { plan.matrices[$0.matrix].name == "model.layers.1.mlp.down_proj.weight" }
            // 1100 columns in ranges of 512, for one panel of 35 rows.
            #expect(down.map(\.reads.count) == [3])
            #expect(plan.tasks[plan.headTasks].allSatisfy { $0.output == nil })
        }
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
