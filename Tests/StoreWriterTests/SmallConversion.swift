import CKernels
import Checkpoint
import Foundation
import LayerStore
import StoreWriter
import TensorCore
import TestSupport

/// A small checkpoint and its plan: two shards, every float type, a panel split by columns, a vector, an empty tensor;
/// in one file, or in three with the tensors of a layer in two of them.
struct SmallConversion {
    nonisolated(unsafe) static let kernels: KernelTable = lamina_kernels_for(LAMINA_ISA_PORTABLE)!
    /// The folder of the checkpoint.
    let source: String
    let chunkBytes: Int
    let names: [String]
    /// The bytes of the source files.
    let originals: [String: Data]

    private typealias Tensor = (name: String, dtype: DType, shape: [Int], layout: TensorLayout, file: Int)

    private let tensors: [Tensor]
    /// How many of them are in the first shard.
    private let layerCount: Int

    private static let smallTensors: [Tensor] = [
        ("embed", .bfloat16, [70, 66], .rows, 0), ("layers.0.a", .bfloat16, [65, 1101], .panel64, 0),
        ("layers.0.b", .float16, [33, 70], .panel64, 0), ("layers.0.c", .float32, [64, 600], .panel64, 1),
        ("layers.0.norm", .float32, [66], .rows, 2), ("nothing", .bfloat16, [0, 4], .rows, 2),
        ("counter", .int64, [3], .rows, 2),
    ]

    /// Writes the source files into `folder/source`.
    init(in folder: String, chunkBytes: Int = 4096, isSplit: Bool = false) throws {
        try self.init(
            in: folder, SmallConversion.smallTensors, layerCount: 4, chunkBytes: chunkBytes, isSplit: isSplit)
    }

    /// The same with other tensors: BF16 matrices of normally distributed weights.
    init(in folder: String, matrices: [(name: String, shape: [Int])], chunkBytes: Int) throws {
        try self.init(
            in: folder, matrices.map { ($0.name, .bfloat16, $0.shape, .panel64, 0) }, layerCount: matrices.count,
            chunkBytes: chunkBytes, isSplit: false)
    }

    private init(in folder: String, _ own: [Tensor], layerCount: Int, chunkBytes: Int, isSplit: Bool) throws {
        tensors = own
        self.layerCount = layerCount
        self.chunkBytes = chunkBytes
        source = folder + "/source"
        try FileManager.default.createDirectory(atPath: source, withIntermediateDirectories: true)
        names = isSplit ? ["model-1.safetensors", "model-2.safetensors", "model-3.safetensors"] : ["model.safetensors"]
        var generator = SeededGenerator(seed: 11)
        let contents = own.map { tensor in
            let count = tensor.shape.reduce(1, *)
            let bytes =
                tensor.dtype == .int64
                ? [UInt8](repeating: 3, count: count * 8)
                : SyntheticCheckpoint.weights(count, dtype: tensor.dtype, using: &generator)
            let made = SyntheticCheckpoint.Tensor(
                name: tensor.name, dtype: tensor.dtype, shape: tensor.shape, bytes: bytes)
            return (file: isSplit ? tensor.file : 0, tensor: made)
        }
        var originals: [String: Data] = [:]
        for (index, name) in names.enumerated() {
            let bytes = Data(SyntheticCheckpoint.safetensors(contents.filter { $0.file == index }.map(\.tensor)))
            originals[name] = bytes
            try bytes.write(to: URL(fileURLWithPath: source + "/" + name))
        }
        self.originals = originals
    }

    func plan(_ files: [WeightFile]) -> ConversionPlan {
        let jobs = tensors.map { tensor in
            let file = files.firstIndex { $0.tensors.contains { $0.name == tensor.name } }!
            let begin = files[file].tensors.first { $0.name == tensor.name }!.bytes.lowerBound
            return TensorJob(
                name: tensor.name, storedName: tensor.name, dtype: tensor.dtype, shape: Shape(tensor.shape),
                layout: tensor.layout, codec: Codecs.standard(for: tensor.dtype), chunkBytes: chunkBytes,
                sourceFile: file, sourceOffset: begin
            ) { (pages, range) throws(LaminaError) in
                try files[file].read((begin + range.lowerBound)..<(begin + range.upperBound), intoPages: pages)
            }
        }
        return ConversionPlan(
            architecture: "llama", chunkBytes: chunkBytes,
            source: Manifest.Source(
                files: files.map { file in
                    Manifest.Source.File(
                        path: file.name, size: file.size, header: "side/source/\(file.name).header",
                        dataOffset: file.dataOffset)
                }),
            shards: [
                ConversionPlan.Shard(layer: "0", tensors: Array(jobs[..<layerCount])),
                ConversionPlan.Shard(layer: "unused", tensors: Array(jobs[layerCount...])),
            ].filter { !$0.tensors.isEmpty },
            tied: [],
            sideFiles: [("config.json", Array("{}".utf8))] + files.map { ("source/\($0.name).header", $0.otherBytes) },
            sourceFolder: source,
            originals: SmallConversion.originals(files))
    }

    /// What a plan says of `files`.
    static func originals(_ files: [WeightFile]) -> [OriginalsRecord.File] {
        files.map { file in
            let gone = OriginalsRecord.Identity(device: 0, inode: 0, size: file.size, modified: 0, changed: 0)
            return OriginalsRecord.File(
                path: file.name, identity: file.facts.map(OriginalsRecord.Identity.init) ?? gone)
        }
    }

    /// The source's files; those that a run interrupted at `destination` deleted as it knows them.
    func open(for destination: String, in fileSystem: any FileSystem = RealFileSystem()) throws(LaminaError)
        -> [WeightFile]
    {
        let deleted = try InterruptedConversion(at: destination, in: fileSystem).deleted
        var files: [WeightFile] = []
        for name in names {
            let path = source + "/" + name
            if try !fileSystem.exists(path), let known = deleted.first(where: { $0.file.path == name }) {
                files.append(WeightFile(deleted: DeletedWeightFile(known), path: path))
            } else {
                files.append(try WeightFile(name: name, path: path, in: fileSystem))
            }
        }
        return files
    }

    /// Converts into `destination`. `stopAfter` bytes simulates an interruption; `change` is called once, when some bytes
    /// are stored.
    @discardableResult
    func run(
        to destination: String, in fileSystem: any FileSystem = RealFileSystem(), threads: Int = 1,
        stopAfter: UInt64 = .max, restart: Bool = false, progressively: Bool = false,
        kernels: KernelTable = SmallConversion.kernels, change: @escaping () -> Void = {}
    ) throws(LaminaError) -> [OriginalsDeletion.Entry] {
        let files = try open(for: destination, in: fileSystem)
        var options = Conversion.Options(threads: threads)
        options.restarts = restart
        options.deletesProgressively = progressively
        let conversion = Conversion(plan: plan(files), options: options, kernels: kernels, fileSystem: fileSystem)
        let observer = Stopper(after: stopAfter, change)
        _ = try conversion.run(to: destination, source: OpenedFiles(files), observer: observer)
        return observer.entries
    }

    /// Every file of a store below `folder`, by relative path; not the record of this machine's originals.
    static func contents(_ folder: String) throws -> [String: Data] {
        var result: [String: Data] = [:]
        let paths = FileManager.default.enumerator(atPath: folder)
        while let path = paths?.nextObject() as? String {
            var isDirectory: ObjCBool = false
            _ = FileManager.default.fileExists(atPath: folder + "/" + path, isDirectory: &isDirectory)
            guard !isDirectory.boolValue, path != OriginalsRecord.fileName else { continue }
            result[path] = try Data(contentsOf: URL(fileURLWithPath: folder + "/" + path))
        }
        return result
    }
}

extension DeletedWeightFile {
    /// All of the small conversions' files are safetensors.
    fileprivate init(_ deleted: InterruptedConversion.DeletedOriginal) {
        self.init(
            name: deleted.file.path, format: .safetensors, size: deleted.file.size,
            dataOffset: deleted.file.dataOffset, otherBytes: deleted.otherBytes,
            tensors: deleted.tensors.map {
                SourceTensor(
                    name: $0.name, dtype: $0.dtype, shape: $0.shape,
                    bytes: $0.sourceOffset..<($0.sourceOffset + $0.byteCount))
            })
    }
}

/// Source files without a checkpoint folder.
final class OpenedFiles: ConversionSource {
    private let files: [WeightFile]

    init(_ files: [WeightFile]) { self.files = files }

    func checkUnchanged(_ index: Int) throws(LaminaError) { try files[index].checkUnchanged() }
    func release(_ index: Int) { files[index].release() }
}

/// Stops a conversion when some bytes are stored.
final class Stopper: ConversionObserver {
    private var left: UInt64
    private var change: (() -> Void)?
    private(set) var entries: [OriginalsDeletion.Entry] = []

    init(after bytes: UInt64, _ change: @escaping () -> Void = {}) {
        left = bytes
        self.change = change
    }

    func stored(bytes: UInt64) throws(LaminaError) {
        change?()
        change = nil
        guard bytes <= left else { throw LaminaError(.io, "", "interrupted") }
        left -= bytes
    }

    func finished(shard: Manifest.Shard, sourceBytes: UInt64, reused: Bool) {}
    func decided(on original: OriginalsDeletion.Entry) { entries.append(original) }
    func skipped(layer: String, because error: LaminaError) {}
}
