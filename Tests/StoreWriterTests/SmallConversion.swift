import CKernels
import Checkpoint
import Foundation
import LayerStore
import StoreWriter
import TensorCore
import TestSupport

/// A small checkpoint and its plan: two shards, every float type, a panel split by columns, a vector, an empty tensor.
struct SmallConversion {
    nonisolated(unsafe) static let kernels: KernelTable = lamina_kernels_for(LAMINA_ISA_PORTABLE)!
    let source: String
    let chunkBytes: Int

    private static let tensors: [(name: String, dtype: DType, shape: [Int], layout: TensorLayout)] = [
        ("embed", .bfloat16, [70, 66], .rows), ("layers.0.a", .bfloat16, [65, 1101], .panel64),
        ("layers.0.b", .float16, [33, 70], .panel64), ("layers.0.c", .float32, [64, 600], .panel64),
        ("layers.0.norm", .float32, [66], .rows), ("nothing", .bfloat16, [0, 4], .rows),
        ("counter", .int64, [3], .rows),
    ]

    /// Writes the source file into `folder`.
    init(in folder: String, chunkBytes: Int = 4096) throws {
        self.chunkBytes = chunkBytes
        source = folder + "/model.safetensors"
        var generator = SeededGenerator(seed: 11)
        let tensors = SmallConversion.tensors.map { tensor in
            let count = tensor.shape.reduce(1, *)
            let bytes =
                tensor.dtype == .int64
                ? [UInt8](repeating: 3, count: count * 8)
                : SyntheticCheckpoint.weights(count, dtype: tensor.dtype, using: &generator)
            return SyntheticCheckpoint.Tensor(name: tensor.name, dtype: tensor.dtype, shape: tensor.shape, bytes: bytes)
        }
        try Data(SyntheticCheckpoint.safetensors(tensors)).write(to: URL(fileURLWithPath: source))
    }

    func plan(_ file: WeightFile) -> ConversionPlan {
        let jobs = SmallConversion.tensors.map { tensor in
            let stored = file.tensors.first { $0.name == tensor.name }!
            let begin = stored.bytes.lowerBound
            return TensorJob(
                name: tensor.name, storedName: tensor.name, dtype: tensor.dtype, shape: Shape(tensor.shape),
                layout: tensor.layout, codec: Codecs.standard(for: tensor.dtype), chunkBytes: chunkBytes, sourceFile: 0,
                sourceOffset: begin
            ) { (pages, range) throws(LaminaError) in
                try file.read((begin + range.lowerBound)..<(begin + range.upperBound), intoPages: pages)
            }
        }
        return ConversionPlan(
            architecture: "llama", chunkBytes: chunkBytes,
            source: Manifest.Source(files: [
                Manifest.Source.File(
                    path: "model.safetensors", size: file.facts.size, header: "side/source/model.safetensors.header",
                    dataOffset: file.dataOffset)
            ]),
            shards: [
                ConversionPlan.Shard(layer: "0", tensors: Array(jobs[0..<4])),
                ConversionPlan.Shard(layer: "unused", tensors: Array(jobs[4...])),
            ],
            tied: [],
            sideFiles: [("config.json", Array("{}".utf8)), ("source/model.safetensors.header", file.otherBytes)])
    }

    /// Converts into `destination`. `stopAfter` bytes simulates an interruption.
    func run(
        to destination: String, in fileSystem: any FileSystem = RealFileSystem(), threads: Int = 1,
        stopAfter: UInt64 = .max, restart: Bool = false, kernels: KernelTable = SmallConversion.kernels
    ) throws(LaminaError) {
        let file = try WeightFile(name: "model.safetensors", path: source, in: fileSystem)
        let conversion = Conversion(plan: plan(file), threads: threads, kernels: kernels, fileSystem: fileSystem)
        let observer = Stopper(after: stopAfter)
        _ = try conversion.run(to: destination, restart: restart, observer: observer) { () throws(LaminaError) in
            try file.checkUnchanged()
        }
    }

    /// Every file below `folder`, by relative path.
    static func contents(_ folder: String) throws -> [String: Data] {
        var result: [String: Data] = [:]
        let paths = FileManager.default.enumerator(atPath: folder)
        while let path = paths?.nextObject() as? String {
            var isDirectory: ObjCBool = false
            _ = FileManager.default.fileExists(atPath: folder + "/" + path, isDirectory: &isDirectory)
            if !isDirectory.boolValue { result[path] = try Data(contentsOf: URL(fileURLWithPath: folder + "/" + path)) }
        }
        return result
    }
}

private final class Stopper: ConversionObserver {
    private var left: UInt64

    init(after bytes: UInt64) { left = bytes }

    func stored(bytes: UInt64) throws(LaminaError) {
        guard bytes <= left else { throw LaminaError(.io, "", "interrupted") }
        left -= bytes
    }

    func finished(shard: Manifest.Shard, sourceBytes: UInt64, reused: Bool) {}
}
