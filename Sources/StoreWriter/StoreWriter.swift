import CSystem
import Glibc
import LayerStore
import TensorCore

/// Makes a store in a folder: finished shards are recorded in a partial manifest as they become durable, so that the
/// same conversion can be killed and run again; the manifest comes last.
public final class StoreWriter {
    static let lockName = ".lamina.lock"
    static let partialName = "manifest.partial.json"

    public let path: String
    private let fileSystem: any FileSystem
    private let lock: OpenFile
    /// What is converted and how: work of an interrupted run counts only if its plan is the same.
    private let plan: SHA256Digest
    private var shards: [Manifest.Shard] = []
    private var sideFiles: [Manifest.SideFile] = []
    /// Shards of an interrupted run, whose digests must be checked before they count.
    private var earlier: [Manifest.Shard] = []

    /// Claims `path` for a store made by `plan`. `restart` discards an interrupted run's work.
    ///
    /// Throws `.cannotCreate` if there is a store, or something that is none of ours; `.locked` if somebody else is
    /// writing there.
    public init(
        path: String, plan: SHA256Digest, restart: Bool, in fileSystem: any FileSystem
    ) throws(LaminaError) {
        self.path = path
        self.plan = plan
        self.fileSystem = fileSystem
        try StoreWriter.prepare(path, fileSystem)
        lock = try StoreWriter.claim(path, fileSystem)
        // Again under the lock: another writer may have sealed its store in between.
        try StoreWriter.refuseExistingStore(path, fileSystem)
        for folder in ["layers", "side", "side/source"] { try fileSystem.ensureDirectory(path + "/" + folder) }
        for folder in ["", "/layers", "/side", "/side/source"] {
            try TemporaryFile.removeLeftovers(in: path + folder, fileSystem)
        }
        earlier = try StoreWriter.readPartial(path, plan: plan, restart: restart, fileSystem)
    }

    /// Fails unless `path` is free, an empty folder or an interrupted conversion.
    private static func prepare(_ path: String, _ fileSystem: any FileSystem) throws(LaminaError) {
        guard try fileSystem.exists(path) else { return try fileSystem.ensureDirectory(path) }
        guard case .success(let facts) = fileSystem.facts(at: path, followLinks: false), facts.isDirectory else {
            throw LaminaError(
                .cannotCreate, path, "exists and is not a folder", hint: "choose another name for the store")
        }
        try refuseExistingStore(path, fileSystem)
        let ours: Set<String> = [lockName, partialName, "layers", "side"]
        let names = try fileSystem.names(in: path).filter { !$0.hasSuffix(TemporaryFile.suffix) }
        let foreign = names.filter { !ours.contains($0) }
        let isInterrupted = names.isEmpty || names.contains(lockName) || names.contains(partialName)
        guard foreign.isEmpty, isInterrupted else {
            throw LaminaError(
                .cannotCreate, path, "the folder is not empty and not an interrupted conversion",
                found: (foreign.isEmpty ? names : foreign).prefix(5).joined(separator: ", "),
                hint: "choose another name for the store, or empty the folder")
        }
    }

    private static func refuseExistingStore(_ path: String, _ fileSystem: any FileSystem) throws(LaminaError) {
        guard try fileSystem.exists(path + "/" + Manifest.fileName) else { return }
        throw LaminaError(
            .cannotCreate, path, "there is a layer store already",
            hint: "remove it first, or choose another name")
    }

    private static func claim(_ path: String, _ fileSystem: any FileSystem) throws(LaminaError) -> OpenFile {
        let location = path + "/" + lockName
        let lock = try OpenFile(location, [.lockFile, .noFollow], in: fileSystem)
        guard try lock.tryLock() else {
            let holder = (try? fileSystem.readWhole(location, limit: 4096)).map { String(decoding: $0, as: UTF8.self) }
            throw LaminaError(
                .locked, path, "another process is writing this store",
                found: holder ?? "a process that holds \(lockName)",
                hint: "wait for it to finish")
        }
        var host = [CChar](repeating: 0, count: 256)
        gethostname(&host, host.count - 1)
        let hostName = String(decoding: host.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        try lock.truncate(to: 0)
        try Array("process \(getpid()) on \(hostName)".utf8).withBytes { (bytes) throws(LaminaError) in
            try lock.write(bytes, at: 0)
        }
        return lock
    }

    private static func readPartial(
        _ path: String, plan: SHA256Digest, restart: Bool, _ fileSystem: any FileSystem
    ) throws(LaminaError) -> [Manifest.Shard] {
        let location = path + "/" + partialName
        guard !restart, try fileSystem.exists(location) else { return [] }
        let reader = ManifestReader(file: location)
        let bytes = try fileSystem.readWhole(location, limit: Manifest.maximumBytes)
        // A partial manifest is only a hint which digests to check: a bad one means starting over.
        guard let object = try? JSONValue.parse(bytes).object, let stated = object["plan"]?.string else { return [] }
        guard stated == plan.description else {
            throw LaminaError(
                .cannotCreate, path, "holds an interrupted conversion of another source, or with other options",
                hint: "give the same source and options, or --restart to discard it")
        }
        return (try? reader.list(object, "shards", reader.shard)) ?? []
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

    /// Notes a durable shard, in the order of the plan. Throws `.io`.
    func record(_ shard: Manifest.Shard) throws(LaminaError) {
        shards.append(shard)
        let partial: JSONValue = ["plan": .string(plan.description), "shards": .array(shards.map(\.json))]
        try TemporaryFile.write(partial.canonicalBytes(), to: StoreWriter.partialName, in: path, fileSystem)
    }

    /// Keeps a small file beside the weights; `name` is one or two plain path components. Throws `.io`.
    public func writeSideFile(_ name: String, _ bytes: [UInt8]) throws(LaminaError) {
        let parts = name.split(separator: "/")
        let folder = (["side"] + parts.dropLast().map(String.init)).joined(separator: "/")
        try TemporaryFile.write(bytes, to: String(parts.last ?? "unnamed"), in: path + "/" + folder, fileSystem)
        sideFiles.append(
            Manifest.SideFile(path: "side/" + name, size: UInt64(bytes.count), digest: SHA256.digest(of: bytes)))
    }

    /// Publishes the manifest: from here on there is a store. Then removes what only conversion needed. Throws `.io`.
    public func seal(
        architecture: String, chunkBytes: Int, source: Manifest.Source, tied: [Manifest.Tie]
    ) throws(LaminaError) -> Manifest {
        let manifest = Manifest(
            tool: Manifest.Tool(version: laminaVersion, zstd: zstdVersion, hdf5: HDF5File.libraryVersion),
            architecture: architecture, chunkBytes: chunkBytes, source: source, shards: shards, tied: tied,
            sideFiles: sideFiles.sorted { $0.path.utf8.lexicographicallyPrecedes($1.path.utf8) })
        try TemporaryFile.write(manifest.encoded(), to: Manifest.fileName, in: path, fileSystem)
        try fileSystem.removeFile(path + "/" + StoreWriter.partialName)
        try fileSystem.removeFile(path + "/" + StoreWriter.lockName)
        try fileSystem.syncDirectory(path)
        return manifest
    }
}

/// The libhdf5 in use, e.g. `1.10.8`.
public var hdf5Version: String { HDF5File.libraryVersion }
