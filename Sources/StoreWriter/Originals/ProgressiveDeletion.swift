import LayerStore
import TensorCore

/// Deletes originals while a conversion runs: each as soon as every tensor in it is in shards that are durable and were
/// read back from the disk and decoded to what was read.
final class ProgressiveDeletion {
    private let writer: StoreWriter
    private let plan: ConversionPlan
    private let source: any ConversionSource
    private let kernels: KernelTable
    private let fileSystem: any FileSystem
    private var remover: OriginalsRemover
    /// Per source file: the shards that hold a part of it and are not proven yet.
    private var waiting: [Set<String>]
    /// Files not decided on yet.
    private var pending: Set<Int>

    /// Throws as `OriginalsRemover`.
    init(
        _ plan: ConversionPlan, _ writer: StoreWriter, source: any ConversionSource, deletesBlobs: Bool,
        kernels: KernelTable, in fileSystem: any FileSystem
    ) throws(LaminaError) {
        self.plan = plan
        self.writer = writer
        self.source = source
        self.kernels = kernels
        self.fileSystem = fileSystem
        remover = try OriginalsRemover(
            writer.originals, storePath: writer.path, deletesBlobs: deletesBlobs, in: fileSystem)
        waiting = plan.source.files.map { _ in [] }
        for shard in plan.shards {
            for tensor in shard.tensors { waiting[tensor.sourceFile].insert(shard.path) }
        }
        pending = Set(plan.source.files.indices)
    }

    /// `shard` is durable and recorded: proves it, and deletes the originals that need nothing else. Returns what
    /// happened to them. Throws `.damaged`, `.io`.
    func shardIsDurable(_ shard: Manifest.Shard) throws(LaminaError) -> [OriginalsDeletion.Entry] {
        try prove(shard)
        for index in waiting.indices { waiting[index].remove(shard.path) }
        var entries: [OriginalsDeletion.Entry] = []
        for index in pending.sorted() where waiting[index].isEmpty {
            pending.remove(index)
            let outcome = try delete(index)
            let file = remover.record.files[index]
            entries.append(OriginalsDeletion.Entry(path: file.path, outcome: outcome, digest: file.digest))
        }
        return entries
    }

    private func prove(_ shard: Manifest.Shard) throws(LaminaError) {
        let store = Store(path: writer.path, manifest: writer.manifest, in: fileSystem)
        let verification = Verification(store: store, level: .decode, kernels: kernels)
        try remover.checkIndependence([shard.path])
        guard var damage = try verification.check(shard, progress: { (_) throws(LaminaError) in }).first else { return }
        damage.hint = "originals of it were not deleted; run the same command again to write the shard anew"
        throw damage
    }

    private func delete(_ index: Int) throws(LaminaError) -> OriginalOutcome {
        // Where an earlier run began to delete it, it need not be open, or there.
        if remover.record.files[index].state == .present { try source.checkUnchanged(index) }
        // An open file keeps its space when its name goes.
        source.release(index)
        let store = Store(path: writer.path, manifest: writer.manifest, in: fileSystem)
        let contents = try OriginalContents(index, of: store)
        let outcome = try remover.prepare(index, contents) { (_) throws(LaminaError) in }
        guard case .deleted = outcome else { return outcome }
        try writer.record(remover.record)
        let removed = try remover.remove(index)
        try writer.record(remover.record)
        return removed
    }
}
