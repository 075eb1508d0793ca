import LayerStore
import TensorCore

/// Deletes what a store was made from, once everything that could be wrong with that was looked at: the store read back
/// from the disk and decoded to the bytes it was made from, the originals read again and equal to it.
public struct OriginalsDeletion {
    /// What the user allows.
    public struct Permissions: Sendable {
        /// Files in a Hugging Face cache that the folder's links stand for.
        public var blobs = false
        /// Originals of a store that does not hold every bit of them.
        public var lossy = false
        /// Originals of a store that another version of Lamina made.
        public var otherVersion = false

        public init() {}
    }

    /// One original and its fate.
    public struct Entry: Sendable {
        public var path: String
        public var outcome: OriginalOutcome
        /// Of the whole file, once it was read for deletion.
        public var digest: SHA256Digest?
    }

    private let store: Store
    private var remover: OriginalsRemover
    private let lock: WriterLock
    private let fileSystem: any FileSystem

    /// Claims the store. Throws `.missing` if nothing is known of its originals or they are not there, `.malformed` for a
    /// store whose originals may not be deleted without more permissions, `.locked`, `.damaged`, `.io`.
    public init(of store: Store, permissions: Permissions) throws(LaminaError) {
        self.store = store
        fileSystem = store.fileSystem
        try OriginalsDeletion.check(
            lossy: store.manifest.lossyTensors, version: store.manifest.tool.version, path: store.path, permissions)
        lock = try WriterLock(store.path, in: fileSystem)
        try TemporaryFile.removeLeftovers(in: store.path, fileSystem)
        guard let record = try OriginalsRecord.read(in: store.path, fileSystem) else {
            throw LaminaError(
                .missing, store.path, "nothing is known of the originals: the store has no \(OriginalsRecord.fileName)",
                hint: "remove them by hand if you are sure; lamina-verify --decode proves the store")
        }
        guard record.files.map(\.path) == store.manifest.source.files.map(\.path) else {
            throw LaminaError(
                .damaged, store.path, "the record of the originals is not of this store",
                hint: "nothing was deleted")
        }
        remover = try OriginalsRemover(
            record, storePath: store.path, deletesBlobs: permissions.blobs, in: fileSystem)
    }

    /// Throws `.malformed` if the originals are more than the store holds, or the store is not this version's.
    static func check(
        lossy: [Manifest.Tensor], version: String, path: String, _ permissions: Permissions
    ) throws(LaminaError) {
        if let lossy = lossy.first, !permissions.lossy {
            throw LaminaError(
                .malformed, path,
                "the store is lossy: its originals are the only copy at full precision", found: lossy.codec,
                hint: "--allow-lossy deletes them all the same", tensor: lossy.name)
        }
        guard version == laminaVersion || permissions.otherVersion else {
            throw LaminaError(
                .malformed, path, "the store was made by another version of Lamina", expected: laminaVersion,
                found: version, hint: "--allow-other-version lets this version judge it")
        }
    }

    /// Bytes that a deletion reads: the store twice, and the originals.
    public var byteCount: UInt64 {
        2 * store.manifest.shards.reduce(0) { $0 + $1.size } + store.manifest.source.files.reduce(0) { $0 + $1.size }
    }

    /// What would be deleted, by all that can be seen without reading. Throws `.io`.
    public func preview() throws(LaminaError) -> [Entry] {
        var entries: [Entry] = []
        for index in remover.record.files.indices { entries.append(entry(index, try remover.preview(index))) }
        return entries
    }

    private func entry(_ index: Int, _ outcome: OriginalOutcome) -> Entry {
        let file = remover.record.files[index]
        return Entry(path: file.path, outcome: outcome, digest: file.digest)
    }

    /// Gives the store up again, with nothing done. Throws `.io`.
    public func release() throws(LaminaError) { try lock.removeFile() }

    /// Proves the store, then the originals, notes the intent, and removes one after the other. An interrupted run is
    /// completed by the next. Throws `.damaged` naming the first damage of the store before anything is deleted, `.io`
    /// at the first file that cannot be removed, and what `progress` throws, which gets the bytes read from any thread.
    public mutating func run(
        threads: Int, kernels: KernelTable, progress: @escaping @Sendable (Int) throws(LaminaError) -> Void
    ) throws(LaminaError) -> [Entry] {
        try remover.checkIndependence(
            store.manifest.shards.map(\.path) + store.manifest.sideFiles.map(\.path) + [Manifest.fileName])
        try prove(threads: threads, kernels: kernels, progress: progress)
        var outcomes: [OriginalOutcome] = []
        for index in remover.record.files.indices {
            let contents = try OriginalContents(index, of: store)
            outcomes.append(try remover.prepare(index, contents, progress: progress))
        }
        try remover.writeRecord()
        for index in outcomes.indices {
            guard case .deleted = outcomes[index] else { continue }
            outcomes[index] = try remover.remove(index)
        }
        try remover.writeRecord()
        try lock.removeFile()
        return outcomes.indices.map { entry($0, outcomes[$0]) }
    }

    /// Every shard from the disk, every tensor decoded, every side file. Throws `.damaged` or `.malformed`.
    private func prove(
        threads: Int, kernels: KernelTable, progress: @escaping @Sendable (Int) throws(LaminaError) -> Void
    ) throws(LaminaError) {
        let verification = Verification(store: store, level: .decode, kernels: kernels)
        var damage = try verification.checkSideFiles()
        damage += try ParallelVerification(verification, progress: progress).shards(threads: threads)
        guard var first = damage.first else { return }
        first.hint = "nothing was deleted; lamina-verify names all damage"
        throw first
    }
}

extension OriginalsDeletion {
    /// Per source file of a plan: the bytes that deleting it would free, 0 if it would stay or `counts` is false of it.
    /// Throws `.missing`, `.malformed`, `.io`.
    public static func freedBytes(
        _ plan: ConversionPlan, deletesBlobs: Bool, in fileSystem: any FileSystem,
        where counts: (OriginalsRecord.File) -> Bool
    ) throws(LaminaError) -> [UInt64] {
        let folder = try OriginalsFolder(plan.sourceFolder, deletesBlobs: deletesBlobs, in: fileSystem)
        var freed: [UInt64] = []
        for file in plan.originals {
            guard counts(file), case .delete(let bytes) = try folder.decide(file) else {
                freed.append(0)
                continue
            }
            freed.append(bytes)
        }
        return freed
    }
}

extension OriginalContents {
    /// Entry `index` of the store's source files. Throws `.damaged`, `.malformed`.
    init(_ index: Int, of store: Store) throws(LaminaError) {
        let name = String(store.manifest.source.files[index].header.dropFirst("side/".count))
        guard let header = try store.sideFile(name, limit: .max) else {
            throw LaminaError(
                .malformed, store.path, "the bytes between the tensors of an original are not stored", found: name)
        }
        self.init(index, of: store.manifest, otherBytes: header)
    }
}
