import Checkpoint
import Foundation
import LayerStore
import StoreWriter
import TensorCore
import TestSupport

/// A checkpoint of three files of weights in every form, and its store: tensors that share bytes, in whole and in part,
/// empty ones, panels split by columns, tensors of one file in several shards.
struct RestoreFixture {
    /// Path of the checkpoint.
    let source: String
    /// Path of the store.
    let store: String
    let names = ["model.safetensors", "pytorch_model.bin", "stream.bin"]

    /// Makes both in `folder`.
    init(in folder: String, chunkBytes: Int = 4096) throws {
        source = folder + "/source"
        store = folder + "/store"
        try FileManager.default.createDirectory(atPath: source, withIntermediateDirectories: true)
        for (name, bytes) in zip(
            names, [RestoreFixture.safetensors(), RestoreFixture.torch(), RestoreFixture.torch(isStream: true)])
        {
            try Data(bytes).write(to: URL(fileURLWithPath: source + "/" + name))
        }
        for (name, text) in RestoreFixture.sideFiles {
            try Data(text.utf8).write(to: URL(fileURLWithPath: source + "/" + name))
        }
        let files = try names.map { try WeightFile(name: $0, path: source + "/" + $0, in: RealFileSystem()) }
        let conversion = Conversion(
            plan: RestoreFixture.plan(files, chunkBytes: chunkBytes, folder: source),
            options: Conversion.Options(threads: 2), kernels: SmallConversion.kernels, fileSystem: RealFileSystem())
        _ = try conversion.run(to: store, source: OpenedFiles(files), observer: Silent())
    }

    static let sideFiles = [("config.json", "{}"), ("model.safetensors.index.json", "{\"weight_map\":{}}")]

    private static func safetensors() -> [UInt8] {
        var generator = SeededGenerator(seed: 5)
        let shapes: [(String, DType, [Int])] = [
            ("safe.embed", .bfloat16, [70, 66]), ("safe.wide", .bfloat16, [65, 1101]), ("safe.norm", .float32, [66]),
            ("safe.empty", .bfloat16, [0, 4]), ("safe.half", .float16, [33, 70]), ("safe.single", .float32, [64, 600]),
        ]
        return SyntheticCheckpoint.safetensors(
            shapes.map { name, dtype, shape in
                .init(
                    name: name, dtype: dtype, shape: shape,
                    bytes: SyntheticCheckpoint.weights(shape.reduce(1, *), dtype: dtype, using: &generator))
            })
    }

    /// Views of two storages: one over all of it, its twin, parts, two that overlap half, and gaps between.
    private static func torch(isStream: Bool = false) -> [UInt8] {
        var generator = SeededGenerator(seed: isStream ? 6 : 7)
        let first = SyntheticCheckpoint.weights(9000, dtype: .float16, using: &generator)
        let second = SyntheticCheckpoint.weights(3000, dtype: .float32, using: &generator)
        let prefix = isStream ? "stream." : "zip."
        let views: [TorchCheckpoint.Tensor] = [
            .init(prefix + "whole", "Half", key: "0", count: 9000, shape: [90, 100]),
            .init(prefix + "twin", "Half", key: "0", count: 9000, shape: [90, 100]),
            .init(prefix + "part", "Half", key: "0", count: 9000, offset: 555, shape: [40, 50]),
            .init(prefix + "lower", "Float", key: "1", count: 3000, offset: 10, shape: [20, 100]),
            .init(prefix + "upper", "Float", key: "1", count: 3000, offset: 1010, shape: [18, 100]),
            .init(prefix + "none", "Float", key: "1", count: 3000, offset: 9, shape: [0]),
        ]
        let pickle = TorchCheckpoint.stateDict(views).pickled()
        return isStream
            ? TorchCheckpoint.stream(pickle, [("0", 9000, first), ("1", 3000, second)])
            : TorchCheckpoint.archive(pickle, [("0", first), ("1", second)])
    }

    private static func plan(_ files: [WeightFile], chunkBytes: Int, folder: String) -> ConversionPlan {
        var shards = ["0", "1", "unused"].map { ConversionPlan.Shard(layer: $0, tensors: []) }
        for (index, file) in files.enumerated() {
            for (number, tensor) in file.tensors.enumerated() {
                let isMatrix = tensor.shape.dimensions.count == 2 && tensor.shape.dimensions[0] > 0
                let begin = tensor.bytes.lowerBound
                shards[number % 3].tensors.append(
                    TensorJob(
                        name: tensor.name, storedName: tensor.name, dtype: tensor.dtype, shape: tensor.shape,
                        layout: isMatrix ? .panel64 : .rows, codec: Codecs.standard(for: tensor.dtype),
                        chunkBytes: chunkBytes, sourceFile: index, sourceOffset: begin,
                        unusedBecause: number % 3 == 2 ? "test" : nil
                    ) { (pages, range) throws(LaminaError) in
                        try file.read((begin + range.lowerBound)..<(begin + range.upperBound), intoPages: pages)
                    })
            }
        }
        return ConversionPlan(
            architecture: "llama", chunkBytes: chunkBytes,
            source: Manifest.Source(
                files: files.map { file in
                    Manifest.Source.File(
                        path: file.name, format: format(file.format), size: file.size,
                        header: "side/source/\(file.name).header", dataOffset: file.dataOffset)
                }),
            shards: shards, tied: [],
            sideFiles: sideFiles.map { ($0.0, Array($0.1.utf8)) }
                + files.map { ("source/\($0.name).header", $0.otherBytes) },
            sourceFolder: folder, originals: SmallConversion.originals(files))
    }

    private static func format(_ format: WeightFormat) -> Manifest.Source.Format {
        switch format {
        case .safetensors: .safetensors
        case .torchArchive: .torchArchive
        case .torchStream: .torchStream
        }
    }

    /// The checkpoint's files by name.
    func originals() throws -> [String: Data] { try SmallConversion.contents(source) }

    /// Restores into `folder`. `stopAfter` bytes simulates an interruption.
    @discardableResult
    func restore(
        to folder: String, in fileSystem: any FileSystem = RealFileSystem(), threads: Int = 2,
        stopAfter: UInt64 = .max, kernels: KernelTable = SmallConversion.kernels
    ) throws(LaminaError) -> [FinishedFile] {
        let opened = try Store(path: store, in: fileSystem)
        return try CheckpointWriter(
            try SourceFiles.all(of: opened), of: opened, in: folder, neighbours: .allowed, threads: threads,
            kernels: kernels
        ).run(Silent(stopAfter: stopAfter))
    }

    /// Exports into `folder`.
    @discardableResult
    func export(
        to folder: String, in fileSystem: any FileSystem = RealFileSystem(), fileBytes: Int = 100_000,
        usedOnly: Bool = false, threads: Int = 2
    ) throws(LaminaError) -> [FinishedFile] {
        let opened = try Store(path: store, in: fileSystem)
        return try CheckpointWriter(
            try ExportFiles.all(of: opened, fileBytes: fileBytes, usedOnly: usedOnly), of: opened, in: folder,
            neighbours: .refused, threads: threads, kernels: SmallConversion.kernels
        ).run(Silent())
    }

    /// Rewrites the manifest, digests right.
    func changeManifest(_ change: (inout Manifest) -> Void) throws {
        let path = store + "/" + Manifest.fileName
        var manifest = try Store(path: store, in: RealFileSystem()).manifest
        change(&manifest)
        try Data(manifest.encoded()).write(to: URL(fileURLWithPath: path))
    }
}

/// Watches nothing, and stops after some bytes.
private final class Silent: ConversionObserver, CheckpointObserver {
    private var left: UInt64

    init(stopAfter: UInt64 = .max) { left = stopAfter }

    func stored(bytes: UInt64) throws(LaminaError) {}
    func finished(shard: Manifest.Shard, sourceBytes: UInt64, reused: Bool) {}
    func processed(bytes: UInt64) throws(LaminaError) {
        guard bytes <= left else { throw LaminaError(.io, "", "interrupted") }
        left -= bytes
    }
    func finished(_ file: FinishedFile) {}
    func decided(on original: OriginalsDeletion.Entry) {}
    func skipped(layer: String, because error: LaminaError) {}
}
