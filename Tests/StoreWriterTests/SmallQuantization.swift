import CKernels
import Foundation
import LayerStore
import StoreWriter
import TensorCore
import TestSupport
import Testing

/// The store of a small conversion, quantized: its matrices by one scheme, everything else copied.
struct SmallQuantization {
    let source: String
    let scheme: any QuantizationScheme
    /// For schemes with a free step.
    var step: Double? = 0.2

    /// Converts a small checkpoint into `folder/full`.
    init(in folder: String, scheme: any QuantizationScheme, chunkBytes: Int = 4096) throws {
        try SmallConversion(in: folder, chunkBytes: chunkBytes).run(to: folder + "/full", in: UnsyncedFileSystem())
        source = folder + "/full"
        self.scheme = scheme
    }

    init(of store: String, scheme: any QuantizationScheme) {
        source = store
        self.scheme = scheme
    }

    func plan(_ source: StoreSource) -> ConversionPlan {
        let manifest = source.store.manifest
        let shards = manifest.shards.indices.map { shard in
            let jobs = manifest.shards[shard].tensors.indices.map { index in
                let tensor = manifest.shards[shard].tensors[index]
                guard tensor.layout != .rows else { return source.copy(shard: shard, tensor: index) }
                var job = source.job(
                    shard: shard, tensor: index, layout: .panel16, codec: scheme, chunkBytes: manifest.chunkBytes)
                if scheme.hasFreeStep { job.quantization.step = step }
                return job
            }
            return ConversionPlan.Shard(layer: manifest.shards[shard].layer, tensors: jobs)
        }
        return ConversionPlan(
            architecture: manifest.architecture, chunkBytes: manifest.chunkBytes, source: manifest.source,
            shards: shards, tied: [], sideFiles: [("config.json", Array("{}".utf8))], sourceFolder: source.store.path,
            originals: [], sourceStore: manifest.rootDigest)
    }

    /// Quantizes into `destination`; `stopAfter` bytes simulates an interruption.
    func run(
        to destination: String, in fileSystem: any FileSystem = RealFileSystem(), threads: Int = 1,
        stopAfter: UInt64 = .max, kernels: KernelTable = SmallConversion.kernels
    ) throws(LaminaError) {
        let source = try StoreSource(try Store(path: source, in: fileSystem), kernels: kernels)
        let conversion = Conversion(
            plan: plan(source), options: Conversion.Options(threads: threads), kernels: kernels, fileSystem: fileSystem)
        _ = try conversion.run(to: destination, source: source, observer: Stopper(after: stopAfter))
    }

    /// All damage that decoding finds.
    static func damage(_ path: String) throws -> [LaminaError] {
        let store = try Store(path: path, in: RealFileSystem())
        let verification = Verification(store: store, level: .decode, kernels: SmallConversion.kernels)
        var damage: [LaminaError] = []
        for shard in store.manifest.shards { damage += try verification.check(shard) { (_) throws(LaminaError) in } }
        return damage
    }

    /// The bytes of a tensor in its source's dtype.
    static func values(_ name: String, in path: String) throws -> [UInt8] {
        let source = try StoreSource(
            try Store(path: path, in: RealFileSystem()), kernels: SmallConversion.kernels)
        let shards = source.store.manifest.shards
        let shard = try #require(shards.firstIndex { $0.tensors.contains { $0.name == name } })
        let index = try #require(shards[shard].tensors.firstIndex { $0.name == name })
        let bytes = try SourceBytes(tensors: source.headers[shard].tensors, kernels: SmallConversion.kernels)
        var found: [UInt8] = []
        try bytes.read(source.headers[shard].tensors[index], from: try source.store.open(shards[shard])) {
            (piece) throws(LaminaError) in
            found += piece
        }
        return found
    }
}
