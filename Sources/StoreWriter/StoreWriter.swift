import CSystem
import LayerStore
import TensorCore

/// Makes a store in a folder: finished shards are recorded in a partial manifest as they become durable, so that the
/// same conversion can be killed and run again; the manifest comes last.
public final class StoreWriter {
    public let path: String
    private let fileSystem: any FileSystem
    private let lock: WriterLock
    private let plan: ConversionPlan
    /// What is durable so far, in the order of the plan.
    private var partial: PartialManifest
    /// Shards of an interrupted run, whose digests must be checked before they count.
    private let earlier: [Manifest.Shard]
    /// The originals and what became of them.
    private(set) var originals: OriginalsRecord

    /// Claims `path` for a store made by `plan`. `restart` discards an interrupted run's work.
    ///
    /// Throws `.cannotCreate` if there is a store, or something that is none of ours; `.locked` if somebody else is
    /// writing there.
    init(path: String, plan: ConversionPlan, restart: Bool, in fileSystem: any FileSystem) throws(LaminaError) {
        self.path = path
        self.plan = plan
        self.fileSystem = fileSystem
        let digest = plan.digest
        try StoreWriter.prepare(path, fileSystem)
        lock = try WriterLock(path, in: fileSystem)
        // The lock's file tells later runs that what else is in the folder is ours.
        try fileSystem.syncDirectory(path)
        // Again under the lock: another writer may have sealed its store in between.
        try StoreWriter.refuseExistingStore(path, fileSystem)
        let interrupted = try PartialManifest.read(in: path, fileSystem)
        let recorded = try OriginalsRecord.read(in: path, fileSystem)
        try StoreWriter.checkContinuation(
            path, of: interrupted, recorded, digest: digest, restart: restart)
        let (originals, changed) = StoreWriter.merged(
            OriginalsRecord(plan: digest, folder: plan.sourceFolder, files: plan.originals), with: recorded)
        self.originals = originals
        earlier = try StoreWriter.unchanged(restart ? [] : interrupted?.shards ?? [], changed, originals, path: path)
        // Shards of the earlier run stay listed until this one has its own: originals may be gone on their account.
        partial = PartialManifest(
            plan: digest, source: plan.source, shards: earlier, sideFiles: [], steps: plan.steps)
        for folder in ["layers", "side", "side/source"] {
            try fileSystem.ensureDirectory(path + "/" + folder, followLinks: false)
        }
        for folder in ["", "/layers", "/side", "/side/source"] {
            try TemporaryFile.removeLeftovers(in: path + folder, fileSystem)
        }
        try writeSideFiles()
        // Before the record says what the files are now: a third run could not tell any more that a shard is older.
        if !changed.isEmpty { try partial.write(to: path, fileSystem) }
        try originals.write(to: path, fileSystem)
    }

    /// The store at `path` if `plan` made it; what a killed run left to remove is removed. Throws `.locked`, `.damaged`,
    /// `.io`.
    static func sealed(
        by plan: ConversionPlan, at path: String, _ fileSystem: any FileSystem
    ) throws(LaminaError) -> (store: Store, wasUnfinished: Bool)? {
        guard try OriginalsRecord.read(in: path, fileSystem)?.plan == plan.digest else { return nil }
        let traces = [PartialManifest.fileName, WriterLock.fileName]
        var wasUnfinished = false
        for name in traces where try fileSystem.exists(path + "/" + name) { wasUnfinished = true }
        if wasUnfinished { try removeTraces(of: try WriterLock(path, in: fileSystem), in: path, fileSystem) }
        return (try Store(path: path, in: fileSystem), wasUnfinished)
    }

    /// Notes what became of originals, durably. Throws `.io`, `.cannotCreate`.
    func record(_ originals: OriginalsRecord) throws(LaminaError) {
        try originals.write(to: path, fileSystem)
        self.originals = originals
    }

    /// An interrupted run's work may be thrown away only while the originals are there.
    private static func checkContinuation(
        _ path: String, of interrupted: PartialManifest?, _ recorded: OriginalsRecord?, digest: SHA256Digest,
        restart: Bool
    ) throws(LaminaError) {
        let deleted = recorded?.files.filter { $0.state != .present }.map(\.path) ?? []
        if !deleted.isEmpty, restart || interrupted == nil {
            throw LaminaError(
                .cannotCreate, path,
                restart
                    ? "originals were deleted already: what this folder holds of them is all there is"
                    : "originals were deleted already, but \(PartialManifest.fileName) is missing or damaged",
                found: deleted.prefix(5).joined(separator: ", "),
                hint: restart ? "complete the conversion without --restart" : "keep the folder; its shards are not lost"
            )
        }
        guard !restart, let interrupted, interrupted.plan != digest else { return }
        throw LaminaError(
            .cannotCreate, path, "holds an interrupted conversion of another source, or with other options",
            hint: deleted.isEmpty
                ? "give the same source and options, or --restart to discard it"
                : "give the same source and options, with the same version of Lamina: originals were deleted already")
    }

    /// The record of an earlier run, brought up to date: what was deleted stays so, what is there is what is read now.
    private static func merged(
        _ now: OriginalsRecord, with earlier: OriginalsRecord?
    ) -> (record: OriginalsRecord, changed: Set<Int>) {
        guard let earlier, earlier.plan == now.plan else { return (now, []) }
        var record = now
        var changed: Set<Int> = []
        for (index, file) in now.files.enumerated() {
            guard let before = earlier[file.path] else { continue }
            if before.state != .present {
                record.files[index] = before
            } else if before.identity != file.identity {
                changed.insert(index)
            }
        }
        return (record, changed)
    }

    /// The shards of an interrupted run that have nothing of the files `changed`, which are not what it read. Throws
    /// `.cannotCreate` if others cannot be made again, since a part of them was deleted.
    private static func unchanged(
        _ shards: [Manifest.Shard], _ changed: Set<Int>, _ originals: OriginalsRecord, path: String
    ) throws(LaminaError) -> [Manifest.Shard] {
        func uses(_ shard: Manifest.Shard, _ isMeant: (Int) -> Bool) -> Bool {
            shard.tensors.contains { isMeant($0.sourceFile) }
        }
        let stale = shards.filter { shard in uses(shard) { changed.contains($0) } }
        if let lost = stale.first(where: { shard in uses(shard) { originals.files[$0].state != .present } }) {
            throw LaminaError(
                .cannotCreate, path,
                "\(lost.path) was made of files that changed since and of others that were deleted",
                found: changed.sorted().prefix(5).map { originals.files[$0].path }.joined(separator: ", "),
                hint: "bring back the files as they were")
        }
        return shards.filter { shard in !uses(shard) { changed.contains($0) } }
    }

    /// Fails unless `path` is free, an empty folder or an interrupted conversion.
    private static func prepare(_ path: String, _ fileSystem: any FileSystem) throws(LaminaError) {
        guard try fileSystem.exists(path) else { return try fileSystem.ensureDirectory(path) }
        guard case .success(let facts) = fileSystem.facts(at: path, followLinks: false), facts.isDirectory else {
            throw LaminaError(
                .cannotCreate, path, "exists and is not a folder", hint: "choose another name for the store")
        }
        try refuseExistingStore(path, fileSystem)
        let ours: Set<String> = [
            WriterLock.fileName, PartialManifest.fileName, OriginalsRecord.fileName, "layers", "side",
        ]
        let names = try fileSystem.names(in: path).filter { !$0.hasSuffix(TemporaryFile.suffix) }
        let foreign = names.filter { !ours.contains($0) }
        let isInterrupted =
            names.isEmpty || names.contains(WriterLock.fileName) || names.contains(PartialManifest.fileName)
        guard foreign.isEmpty, isInterrupted else {
            throw LaminaError(
                .cannotCreate, path, "the folder is not empty and not an interrupted conversion",
                found: (foreign.isEmpty ? names : foreign).prefix(5).joined(separator: ", "),
                hint: "choose another name for the store, or empty the folder")
        }
        try fileSystem.ensureDirectory(path)
    }

    private static func refuseExistingStore(_ path: String, _ fileSystem: any FileSystem) throws(LaminaError) {
        guard try fileSystem.exists(path + "/" + Manifest.fileName) else { return }
        throw LaminaError(
            .cannotCreate, path, "there is a layer store already",
            hint: "remove it first, or choose another name")
    }

    /// A shard that an interrupted run left complete: its bytes are read and must have the recorded digest; else `nil`
    /// and it is written again. Throws `.io`.
    public func reuse(_ relativePath: String) throws(LaminaError) -> Manifest.Shard? {
        guard let shard = earlier.first(where: { $0.path == relativePath }),
            try fileSystem.exists(path + "/" + relativePath)
        else { return nil }
        let file = try OpenFile(path + "/" + relativePath, [.read, .noFollow], in: fileSystem)
        guard try file.facts().size == shard.size else { return nil }
        let digest = try file.digest()
        return digest == shard.digest ? shard : nil
    }

    /// Whether an interrupted run may have left this shard; `reuse` finds out.
    func mayReuse(_ relativePath: String) -> Bool { earlier.contains { $0.path == relativePath } }

    /// Writes a shard and returns the work of publishing it, which runs beside the writing of the next one; `record` its
    /// result. Throws as `ShardWriter.write`.
    func writeShard(
        _ relativePath: String, layer: String, jobs: [TensorJob], following: [TensorJob]?, pipeline: BlockPipeline,
        progress: (UInt64) throws(LaminaError) -> Void
    ) throws(LaminaError) -> BackgroundTask {
        let name = String(relativePath.dropFirst("layers/".count))
        let writer = ShardWriter(directory: path + "/layers", fileName: name, fileSystem: fileSystem)
        let written = try writer.write(jobs, following: following, pipeline: pipeline, progress: progress)
        return BackgroundTask { () throws(LaminaError) in
            let digest = try written.publish()
            return Manifest.Shard(
                path: relativePath, layer: layer, size: written.size, digest: digest, tensors: written.tensors)
        }
    }

    /// Notes a durable shard. Throws `.io`.
    func record(_ shard: Manifest.Shard) throws(LaminaError) {
        var known = Dictionary(uniqueKeysWithValues: partial.shards.map { ($0.path, $0) })
        known[shard.path] = shard
        partial.shards = plan.shards.compactMap { known[$0.path] }
        try partial.write(to: path, fileSystem)
    }

    /// Keeps the small files beside the weights: before the first shard, since together with shards they stand for
    /// originals that are deleted progressively. Throws `.io`.
    private func writeSideFiles() throws(LaminaError) {
        for (name, bytes) in plan.sideFiles {
            let parts = name.split(separator: "/")
            let folder = (["side"] + parts.dropLast().map(String.init)).joined(separator: "/")
            try TemporaryFile.write(bytes, to: String(parts.last ?? "unnamed"), in: path + "/" + folder, fileSystem)
            partial.sideFiles.append(
                Manifest.SideFile(path: "side/" + name, size: UInt64(bytes.count), digest: SHA256.digest(of: bytes)))
        }
        partial.sideFiles.sort { $0.path.utf8.lexicographicallyPrecedes($1.path.utf8) }
    }

    /// A manifest of what is durable so far.
    var manifest: Manifest {
        Manifest(
            tool: Manifest.Tool(version: laminaVersion, zstd: zstdVersion, hdf5: HDF5File.libraryVersion),
            architecture: plan.architecture, chunkBytes: plan.chunkBytes, source: plan.source, shards: partial.shards,
            tied: plan.tied, sideFiles: partial.sideFiles)
    }

    /// Publishes the manifest: from here on there is a store. Then removes what only conversion needed. Throws `.io`.
    func seal() throws(LaminaError) -> Manifest {
        let manifest = manifest
        try TemporaryFile.write(manifest.encoded(), to: Manifest.fileName, in: path, fileSystem)
        try StoreWriter.removeTraces(of: lock, in: path, fileSystem)
        return manifest
    }

    private static func removeTraces(
        of lock: WriterLock, in path: String, _ fileSystem: any FileSystem
    ) throws(LaminaError) {
        try fileSystem.removeFile(path + "/" + PartialManifest.fileName)
        try lock.removeFile()
        try fileSystem.syncDirectory(path)
    }
}

/// The libhdf5 in use, e.g. `1.10.8`.
public var hdf5Version: String { HDF5File.libraryVersion }
