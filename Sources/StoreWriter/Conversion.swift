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

    public init(
        architecture: String, chunkBytes: Int, source: Manifest.Source, shards: [Shard], tied: [Manifest.Tie],
        sideFiles: [(name: String, bytes: [UInt8])]
    ) {
        self.architecture = architecture
        self.chunkBytes = chunkBytes
        self.source = source
        self.shards = shards
        self.tied = tied
        self.sideFiles = sideFiles
    }

    /// Source bytes of all tensors.
    public var byteCount: UInt64 { shards.reduce(0) { $0 + $1.byteCount } }

    /// What the store will take, estimated from the codecs' ratios on trained weights; raw and integer data count in
    /// full.
    public var expectedStoreBytes: UInt64 {
        var total = 0.0
        for tensor in shards.flatMap(\.tensors) {
            let share: Double =
                switch tensor.codec.name {
                case "exp-huf", "exp-tier": 0.68
                case "fp16-huf", "fp32-planes": 0.87
                default: 1
                }
            total += Double(tensor.byteCount) * share + 8192
        }
        return UInt64(total) + sideFiles.reduce(0) { $0 + UInt64($1.bytes.count) }
    }

    /// Identity of input and options: the same plan gives the same store.
    public var digest: SHA256Digest {
        var hasher = SHA256()
        hasher.update(Array("\(laminaVersion) \(architecture) \(chunkBytes)\n".utf8))
        for file in sideFiles {
            hasher.update(Array("\(file.name) \(SHA256.digest(of: file.bytes))\n".utf8))
        }
        for file in source.files { hasher.update(Array("\(file.path) \(file.size)\n".utf8)) }
        for shard in shards {
            hasher.update(Array("\(shard.layer)\n".utf8))
            for job in shard.tensors {
                hasher.update(Array("\(job.name)\u{0}\(job.codec.name) \(job.layout.name) \(job.sourceOffset)\n".utf8))
            }
        }
        return hasher.finalize()
    }
}

/// What a conversion tells while it runs.
public protocol ConversionObserver: AnyObject {
    /// `bytes` of the source are stored. Throw to stop; what is finished stays resumable.
    func stored(bytes: UInt64) throws(LaminaError)
    func finished(shard: Manifest.Shard, sourceBytes: UInt64, reused: Bool)
}

/// Runs a conversion plan.
public struct Conversion {
    public let plan: ConversionPlan
    public let threads: Int
    public let kernels: KernelTable
    public let fileSystem: any FileSystem

    public init(plan: ConversionPlan, threads: Int, kernels: KernelTable, fileSystem: any FileSystem) {
        self.plan = plan
        self.threads = threads
        self.kernels = kernels
        self.fileSystem = fileSystem
    }

    /// Makes the store at `destination`. `sourceUnchanged` is asked before the manifest is written: a source that
    /// changed while being read makes no store.
    ///
    /// Throws `.cannotCreate`, `.locked`, `.io`, `.limit` and what reading the source throws; finished shards stay for
    /// the next run.
    public func run(
        to destination: String, restart: Bool, observer: any ConversionObserver,
        sourceUnchanged: () throws(LaminaError) -> Void
    ) throws(LaminaError) -> Manifest {
        let pipeline = try BlockPipeline(jobs: plan.shards.flatMap(\.tensors), threads: threads, kernels: kernels)
        let writer = try StoreWriter(path: destination, plan: plan.digest, restart: restart, in: fileSystem)
        var publishing: (task: BackgroundTask, bytes: UInt64)?
        func finishPublishing() throws(LaminaError) {
            guard let (task, bytes) = publishing else { return }
            publishing = nil
            let shard = try task.value()
            try writer.record(shard)
            observer.finished(shard: shard, sourceBytes: bytes, reused: false)
        }
        for (index, shard) in plan.shards.enumerated() {
            if let earlier = try writer.reuse(shard.path) {
                try finishPublishing()
                try writer.record(earlier)
                try observer.stored(bytes: shard.byteCount)
                observer.finished(shard: earlier, sourceBytes: shard.byteCount, reused: true)
                continue
            }
            let next = plan.shards.dropFirst(index + 1).first.flatMap { writer.mayReuse($0.path) ? nil : $0.tensors }
            let task = try writer.writeShard(
                shard.path, layer: shard.layer, jobs: shard.tensors, following: next, pipeline: pipeline
            ) { (bytes) throws(LaminaError) in try observer.stored(bytes: bytes) }
            try finishPublishing()
            publishing = (task, shard.byteCount)
        }
        try finishPublishing()
        for file in plan.sideFiles { try writer.writeSideFile(file.name, file.bytes) }
        try sourceUnchanged()
        return try writer.seal(
            architecture: plan.architecture, chunkBytes: plan.chunkBytes, source: plan.source, tied: plan.tied)
    }
}
