import LayerStore
import TensorCore

/// What a conversion tells while it runs.
public protocol ConversionObserver: AnyObject {
    /// `bytes` of the source are stored. Throw to stop; what is finished stays resumable.
    func stored(bytes: UInt64) throws(LaminaError)
    func finished(shard: Manifest.Shard, sourceBytes: UInt64, reused: Bool)
    /// An original was to be deleted progressively.
    func decided(on original: OriginalsDeletion.Entry)
    /// A shard could not be read from its source, and the conversion goes on with the others.
    func skipped(layer: String, because error: LaminaError)
}

/// The files a conversion reads.
public protocol ConversionSource: AnyObject {
    /// Throws `.malformed` if file `index` of the plan is not the one that was opened any more.
    func checkUnchanged(_ index: Int) throws(LaminaError)
    /// File `index` is read no more and may be deleted.
    func release(_ index: Int)
}

/// Runs a conversion plan.
public struct Conversion {
    /// How a conversion goes about its work; none of it changes the bytes it writes.
    public struct Options: Sendable {
        public var threads: Int
        /// Discard an interrupted run's work.
        public var restarts = false
        /// Go on with other shards when the source of one cannot be read; there is no store then.
        public var keepsGoing = false
        /// Delete originals while it runs, blobs of a Hugging Face cache only where that is said too.
        public var deletesProgressively = false
        public var deletesBlobs = false

        public init(threads: Int) { self.threads = threads }
    }

    public let plan: ConversionPlan
    public let options: Options
    public let kernels: KernelTable
    public let fileSystem: any FileSystem

    public init(plan: ConversionPlan, options: Options, kernels: KernelTable, fileSystem: any FileSystem) {
        self.plan = plan
        self.options = options
        self.kernels = kernels
        self.fileSystem = fileSystem
    }

    /// What is at a destination.
    public enum Finding: Sendable {
        /// No store, though maybe the beginning of one.
        case noStore
        /// One that this very plan made. A run that was killed while it removed its last traces is completed now:
        /// `wasUnfinished`.
        case completed(Store, wasUnfinished: Bool)
        case otherStore
    }

    /// Looks at `destination`. Throws `.locked`, `.damaged`, `.io`.
    public func find(at destination: String) throws(LaminaError) -> Finding {
        guard try fileSystem.exists(destination + "/" + Manifest.fileName) else { return .noStore }
        guard let (store, wasUnfinished) = try StoreWriter.sealed(by: plan, at: destination, fileSystem) else {
            return .otherStore
        }
        return .completed(store, wasUnfinished: wasUnfinished)
    }

    /// Sizes of the shards that an interrupted run recorded, by path. Throws `.io`.
    public func finishedShards(at destination: String) throws(LaminaError) -> [String: UInt64] {
        guard !options.restarts, let partial = try PartialManifest.read(in: destination, fileSystem),
            partial.plan == plan.digest
        else { return [:] }
        return Dictionary(partial.shards.map { ($0.path, $0.size) }, uniquingKeysWith: { first, _ in first })
    }

    /// Makes the store at `destination`. A source that changed while being read makes none.
    ///
    /// Throws `.cannotCreate`, `.locked`, `.io`, `.limit` and what reading the source throws; finished shards stay for
    /// the next run.
    public func run(
        to destination: String, source: any ConversionSource, observer: any ConversionObserver
    ) throws(LaminaError) -> Manifest {
        let pipeline = try BlockPipeline(
            jobs: plan.shards.flatMap(\.tensors), threads: options.threads, kernels: kernels)
        let writer = try StoreWriter(path: destination, plan: plan, restart: options.restarts, in: fileSystem)
        let work = ConversionWork(
            plan: plan, pipeline: pipeline, writer: writer, observer: observer,
            deletion: options.deletesProgressively
                ? try ProgressiveDeletion(
                    plan, writer, source: source, deletesBlobs: options.deletesBlobs, kernels: kernels, in: fileSystem)
                : nil)
        var failure: LaminaError?
        let order = plan.order
        for (place, index) in order.enumerated() {
            do throws(LaminaError) {
                try work.make(plan.shards[index], before: order.dropFirst(place + 1).first.map { plan.shards[$0] })
            } catch {
                guard options.keepsGoing, work.failedReading else { throw failure ?? error }
                observer.skipped(layer: plan.shards[index].layer, because: error)
                failure = failure ?? error
            }
        }
        try work.finish()
        if let failure { throw failure }
        for (index, original) in writer.originals.files.enumerated() where original.state == .present {
            try source.checkUnchanged(index)
        }
        return try writer.seal()
    }
}

/// A conversion under way: a shard is published while the next one is written.
private final class ConversionWork {
    private let plan: ConversionPlan
    private let pipeline: BlockPipeline
    private let writer: StoreWriter
    private let observer: any ConversionObserver
    private let deletion: ProgressiveDeletion?
    private var publishing: (task: BackgroundTask, bytes: UInt64)?
    /// The last error came from reading the source: the store's side of the disk works.
    private(set) var failedReading = false

    init(
        plan: ConversionPlan, pipeline: BlockPipeline, writer: StoreWriter, observer: any ConversionObserver,
        deletion: ProgressiveDeletion?
    ) {
        self.plan = plan
        self.pipeline = pipeline
        self.writer = writer
        self.observer = observer
        self.deletion = deletion
    }

    /// Makes one shard, or finds it made; `next` is read ahead. Throws what reading, writing and the observer throw.
    func make(_ shard: ConversionPlan.Shard, before next: ConversionPlan.Shard?) throws(LaminaError) {
        failedReading = false
        if let earlier = try writer.reuse(shard.path) {
            try finish()
            try observer.stored(bytes: shard.byteCount)
            try keep(earlier, bytes: shard.byteCount, reused: true)
            return
        }
        let task: BackgroundTask
        do throws(LaminaError) {
            task = try writer.writeShard(
                shard.path, layer: shard.layer, jobs: shard.tensors,
                following: next.flatMap { writer.mayReuse($0.path) ? nil : $0.tensors }, pipeline: pipeline
            ) { (bytes) throws(LaminaError) in try observer.stored(bytes: bytes) }
        } catch {
            let isOurs = error.subject.isEmpty || error.subject.utf8.starts(with: (writer.path + "/").utf8)
            failedReading = error.kind == .io && !isOurs
            // The shard before is whole: the next run need not make it again. What comes of it is not this error.
            if let (task, _) = publishing, let shard = try? task.value() { try? writer.record(shard) }
            publishing = nil
            throw error
        }
        try finish()
        publishing = (task, shard.byteCount)
    }

    /// Waits for the shard that is being published. Throws `.io`, and what deleting originals throws.
    func finish() throws(LaminaError) {
        guard let (task, bytes) = publishing else { return }
        publishing = nil
        try keep(try task.value(), bytes: bytes, reused: false)
    }

    private func keep(_ shard: Manifest.Shard, bytes: UInt64, reused: Bool) throws(LaminaError) {
        try writer.record(shard)
        observer.finished(shard: shard, sourceBytes: bytes, reused: reused)
        for entry in try deletion?.shardIsDurable(shard) ?? [] { observer.decided(on: entry) }
    }
}
