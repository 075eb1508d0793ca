import LayerStore
import TensorCore

/// Everything needed to make a store from validated tensors: shards in order, side files, what the manifest says of
/// the source.
public struct ConversionPlan: Sendable {
    /// One shard: its layer (`embedding`, `0`, …, `head`, `unused`) and its tensors in order.
    public struct Shard: Sendable {
        public var layer: String
        public var tensors: [TensorJob]

        public init(layer: String, tensors: [TensorJob]) {
            self.layer = layer
            self.tensors = tensors
        }

        /// `layers/0007.h5`, `layers/head.h5`.
        public var path: String {
            guard let number = Int(layer) else { return "layers/\(layer).h5" }
            let digits = String(number)
            return "layers/" + String(repeating: "0", count: max(0, 4 - digits.count)) + digits + ".h5"
        }

        public var byteCount: UInt64 { tensors.reduce(0) { $0 + $1.byteCount } }
    }

    public var architecture: String
    public var chunkBytes: Int
    public var source: Manifest.Source
    public var shards: [Shard]
    public var tied: [Manifest.Tie]
    public var sideFiles: [(name: String, bytes: [UInt8])]
    /// The folder of the source, absolute and without links; not part of the plan's identity.
    public var sourceFolder: String
    /// The source's files as they were when they were opened, in the order of `source.files`; none where the source is
    /// another store.
    public var originals: [OriginalsRecord.File]
    /// The steps that the jobs' parameters have from `StepSolver`.
    public var steps: [SolvedStep] = []
    /// Digest of the store that is the source; `nil` for a checkpoint.
    public var sourceStore: SHA256Digest?

    public init(
        architecture: String, chunkBytes: Int, source: Manifest.Source, shards: [Shard], tied: [Manifest.Tie],
        sideFiles: [(name: String, bytes: [UInt8])], sourceFolder: String, originals: [OriginalsRecord.File],
        sourceStore: SHA256Digest? = nil
    ) {
        self.architecture = architecture
        self.chunkBytes = chunkBytes
        self.source = source
        self.shards = shards
        self.tied = tied
        self.sideFiles = sideFiles
        self.sourceFolder = sourceFolder
        self.originals = originals
        self.sourceStore = sourceStore
    }

    /// The shards in the order they are made: file after file of the source, all shards that have a part of it, so that
    /// the source is read from start to end and its first files are needed no more as early as can be.
    public var order: [Int] {
        let files = shards.map { shard in Set(shard.tensors.map(\.sourceFile)) }
        var order: [Int] = []
        for file in source.files.indices {
            order += shards.indices.filter { files[$0].min() == file }
        }
        return order + shards.indices.filter { files[$0].isEmpty }
    }

    /// Source bytes of all tensors.
    public var byteCount: UInt64 { shards.reduce(0) { $0 + $1.byteCount } }

    /// Identity of input and options: the same plan gives the same store.
    public var digest: SHA256Digest {
        var hasher = SHA256()
        hasher.update(Array("\(laminaVersion) \(architecture) \(chunkBytes)\n".utf8))
        for file in sideFiles {
            hasher.update(Array("\(file.name) \(SHA256.digest(of: file.bytes))\n".utf8))
        }
        if let sourceStore { hasher.update(Array("\(sourceStore)\n".utf8)) }
        for file in source.files { hasher.update(Array("\(file.path) \(file.size)\n".utf8)) }
        for shard in shards {
            hasher.update(Array("\(shard.layer)\n".utf8))
            for job in shard.tensors {
                let step = job.quantization.step.map { " \(job.quantization.rate?.text ?? "") \($0)" } ?? ""
                hasher.update(
                    Array("\(job.name)\u{0}\(job.codec.name) \(job.layout.name) \(job.sourceOffset)\(step)\n".utf8))
            }
        }
        return hasher.finalize()
    }
}
