import Inference
import LayerStore
import StoreWriter
import TensorCore

/// From a store to the plan of its quantized form.
package struct QuantizationPlanner {
    private let model: StoredModel
    private let source: StoreSource
    private let policy: QuantizationPolicy
    private let chunkBytes: Int

    /// `chunkBytes` is the size of chunks to aim at; `nil` for that of the source.
    package init(_ model: StoredModel, _ source: StoreSource, policy: QuantizationPolicy, chunkBytes: Int? = nil) {
        self.model = model
        self.source = source
        self.policy = policy
        self.chunkBytes = chunkBytes ?? model.store.manifest.chunkBytes
    }

    /// The plan, its rates yet to be solved. Throws `.usage` for rules that match nothing, `.damaged`, `.io`.
    package func plan() throws(LaminaError) -> ConversionPlan {
        let manifest = model.store.manifest
        let tensors = manifest.shards.flatMap(\.tensors)
        let targets = try policy.targets(
            for: tensors.map { QuantizationPolicy.Candidate($0) }, of: model.definition)
        var shards: [ConversionPlan.Shard] = []
        var next = 0
        for (index, shard) in manifest.shards.enumerated() {
            let jobs = shard.tensors.indices.map { tensor in
                job(shard: index, tensor: tensor, target: targets[next + tensor])
            }
            next += shard.tensors.count
            shards.append(ConversionPlan.Shard(layer: shard.layer, tensors: jobs))
        }
        guard case .success(let folder) = model.store.fileSystem.canonicalPath(model.store.path) else {
            throw LaminaError(.missing, model.store.path, "no such folder")
        }
        return ConversionPlan(
            architecture: manifest.architecture, chunkBytes: chunkBytes, source: manifest.source, shards: shards,
            tied: manifest.tied, sideFiles: try sideFiles(), sourceFolder: folder, originals: [],
            sourceStore: manifest.rootDigest)
    }

    private func job(shard: Int, tensor: Int, target: QuantizationTarget?) -> TensorJob {
        guard let target else { return source.copy(shard: shard, tensor: tensor) }
        var job = source.job(
            shard: shard, tensor: tensor, layout: .panel16, codec: target.scheme, chunkBytes: chunkBytes)
        job.quantization.rate = target.bits.map { .bits($0) }
        return job
    }

    /// As large as conversion keeps them: headers are the largest.
    private static let sideFileLimit = 100_000_008

    private func sideFiles() throws(LaminaError) -> [(name: String, bytes: [UInt8])] {
        var files: [(name: String, bytes: [UInt8])] = []
        for file in model.store.manifest.sideFiles {
            let name = String(file.path.dropFirst("side/".count))
            guard let bytes = try model.store.sideFile(name, limit: QuantizationPlanner.sideFileLimit) else { continue }
            files.append((name, bytes))
        }
        return files
    }
}

extension QuantizationPolicy.Candidate {
    fileprivate init(_ tensor: Manifest.Tensor) {
        self.init(
            name: tensor.name, storedName: tensor.storedName, dtype: tensor.dtype, shape: tensor.shape,
            isUnused: tensor.unusedBecause != nil)
    }
}
