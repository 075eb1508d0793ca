import LayerStore
import TensorCore

/// What making a checkpoint tells while it runs.
public protocol CheckpointObserver: AnyObject {
    /// `bytes` of the files' total are done. Throw to stop; files that are finished stay.
    func processed(bytes: UInt64) throws(LaminaError)
    func finished(_ file: FinishedFile)
}

/// Makes the files of a checkpoint from a store, one at a time: each gets its name only when it is complete, durable and
/// read back. What is there already is recognised by its bytes, and never overwritten.
public struct CheckpointWriter {
    /// Whether the folder may hold anything else.
    public enum Neighbours: Sendable {
        case allowed
        case refused
    }

    private let store: Store
    private let files: [CheckpointFile]
    private let directory: String
    private let neighbours: Neighbours
    private let threads: Int
    private let kernels: KernelTable
    private let checkPool: WorkerPool
    private var fileSystem: any FileSystem { store.fileSystem }

    /// Makes `files`, in this order, in `directory`. Throws `.limit`.
    public init(
        _ files: [CheckpointFile], of store: Store, in directory: String, neighbours: Neighbours, threads: Int,
        kernels: KernelTable
    ) throws(LaminaError) {
        self.store = store
        self.files = files
        let trimmed = directory.utf8.count > 1 && directory.hasSuffix("/") ? String(directory.dropLast()) : directory
        self.directory = trimmed
        self.neighbours = neighbours
        self.threads = threads
        self.kernels = kernels
        // One reads, two hash.
        checkPool = try WorkerPool(threads: 3)
    }

    /// Bytes of all files.
    public var byteCount: UInt64 { files.reduce(0) { $0 + $1.size } }

    /// Which files are there; reads them, writes nothing. The digests of those that are not are `nil`.
    ///
    /// Throws `.cannotCreate` if a file is there and differs, or does not belong there; `.damaged`, `.io`.
    public func inspect(
        _ observer: any CheckpointObserver
    ) throws(LaminaError) -> [(file: CheckpointFile, digest: SHA256Digest?)] {
        var found: [(file: CheckpointFile, digest: SHA256Digest?)] = []
        guard try fileSystem.exists(directory) else { return files.map { ($0, nil) } }
        guard case .success(let facts) = fileSystem.facts(at: directory, followLinks: true), facts.isDirectory else {
            throw LaminaError(.cannotCreate, directory, "exists and is not a folder")
        }
        try refuseStrangers()
        for file in files { found.append((file, try digestIfThere(file, observer))) }
        return found
    }

    /// Makes every file that is not there. Returns all, in order.
    ///
    /// Throws `.cannotCreate` as `inspect`, `.locked` if somebody else writes there, `.io` with the figures if the disk
    /// is too small, `.damaged` naming file, layer, tensor and bytes of a store that does not give the source's bytes
    /// back; no file has its name then that is not complete.
    public func run(_ observer: any CheckpointObserver) throws(LaminaError) -> [FinishedFile] {
        try fileSystem.ensureDirectory(directory)
        let lock = try WriterLock(directory, in: fileSystem)
        let finished: [FinishedFile]
        do throws(LaminaError) {
            finished = try runLocked(observer)
        } catch {
            // The lock goes with the process; its file would only be in the way.
            try? lock.removeFile()
            throw error
        }
        try lock.removeFile()
        try fileSystem.syncDirectory(directory)
        return finished
    }

    private func runLocked(_ observer: any CheckpointObserver) throws(LaminaError) -> [FinishedFile] {
        for name in try fileSystem.names(in: directory) {
            guard files.contains(where: { TemporaryFile.isLeftover(name, of: $0.name) }) else { continue }
            try fileSystem.removeFile(directory + "/" + name)
        }
        let found = try inspect(observer)
        try checkSpace(found.filter { $0.digest == nil }.map(\.file))
        var finished: [FinishedFile] = []
        for (file, digest) in found {
            let written = if let digest { digest } else { try write(file, observer) }
            let result = FinishedFile(name: file.name, size: file.size, digest: written, wasThere: digest != nil)
            observer.finished(result)
            finished.append(result)
        }
        return finished
    }

    private func location(of file: CheckpointFile) -> String { directory + "/" + file.name }

    // MARK: What is there

    private func refuseStrangers() throws(LaminaError) {
        guard neighbours == .refused else { return }
        let strangers = try fileSystem.names(in: directory).filter { name in
            name != WriterLock.fileName
                && !files.contains { $0.name == name || TemporaryFile.isLeftover(name, of: $0.name) }
        }
        guard strangers.isEmpty else {
            throw LaminaError(
                .cannotCreate, directory, "the folder holds files that do not belong to this checkpoint",
                found: strangers.prefix(5).joined(separator: ", "), hint: "choose another folder, or empty it")
        }
    }

    /// The SHA-256 of a file that is there, `nil` if nothing is. Throws `.cannotCreate` if it is not what it should be.
    private func digestIfThere(
        _ file: CheckpointFile, _ observer: any CheckpointObserver
    ) throws(LaminaError) -> SHA256Digest? {
        let path = location(of: file)
        guard try fileSystem.exists(path) else { return nil }
        let differs = LaminaError(
            .cannotCreate, path, "is there already and is not what the store holds",
            hint: "move it away, or choose another folder")
        // A link to the right bytes is as good as they are.
        guard case .success(let facts) = fileSystem.facts(at: path, followLinks: true), facts.isRegular,
            facts.size == file.size
        else { throw differs }
        let opened = try OpenFile(path, .read, in: fileSystem)
        opened.adviseSequential()
        guard let digest = try digest(of: opened, as: file, observer), file.digest == nil || file.digest == digest
        else { throw differs }
        return digest
    }

    private func digest(
        of opened: OpenFile, as file: CheckpointFile, _ observer: any CheckpointObserver
    ) throws(LaminaError) -> SHA256Digest? {
        switch file.content {
        case .small(let bytes):
            let expected = SHA256.digest(of: try bytes.load(from: store))
            let digest = try opened.digest()
            try observer.processed(bytes: file.size)
            return digest == expected ? digest : nil
        case .weights(let layout, let other):
            let check = WeightFileCheck(
                layout: layout, other: try other.load(from: store), store: store, kernels: kernels, pool: checkPool)
            return try check.digest(of: opened) { (bytes) throws(LaminaError) in
                try observer.processed(bytes: bytes)
            }
        }
    }

    private func checkSpace(_ files: [CheckpointFile]) throws(LaminaError) {
        let needed = files.reduce(UInt64(0)) { $0 + $1.size }
        guard case .success(let free) = fileSystem.freeBytes(at: directory), free < needed else { return }
        throw LaminaError(
            .io, directory, "not enough disk space", expected: "\(needed) bytes for \(files.count) files",
            found: "\(free) bytes free")
    }

    // MARK: Writing

    private func write(
        _ file: CheckpointFile, _ observer: any CheckpointObserver
    ) throws(LaminaError) -> SHA256Digest {
        switch file.content {
        case .small(let content):
            let bytes = try content.load(from: store)
            try TemporaryFile.write(bytes, to: file.name, in: directory, isNew: true, fileSystem)
            try observer.processed(bytes: file.size)
            return SHA256.digest(of: bytes)
        case .weights(let layout, let other):
            let writer = try WeightFileWriter(
                layout, other: try other.load(from: store), of: store, threads: threads, kernels: kernels)
            return try write(file, with: writer, observer)
        }
    }

    private func write(
        _ file: CheckpointFile, with writer: WeightFileWriter, _ observer: any CheckpointObserver
    ) throws(LaminaError) -> SHA256Digest {
        let temporary = try TemporaryFile(directory: directory, name: file.name, in: fileSystem)
        // Writing and reading back count for half a byte each.
        let digest = try writer.write(to: temporary) { (bytes) throws(LaminaError) in
            try observer.processed(bytes: bytes - bytes / 2)
        }
        if let known = file.digest, known != digest {
            throw LaminaError(
                .damaged, location(of: file), "what the store gives back is not the original that was deleted",
                expected: known.description, found: digest.description)
        }
        try readBack(temporary, file, expected: digest, observer)
        try temporary.publish(isNew: true)
        return digest
    }

    /// Reads a written file from the disk. Throws `.io` if it is not what was written.
    private func readBack(
        _ temporary: TemporaryFile, _ file: CheckpointFile, expected: SHA256Digest, _ observer: any CheckpointObserver
    ) throws(LaminaError) {
        let written = temporary.file
        try written.sync()
        written.dropCache()
        written.adviseSequential()
        let digest = RunningDigest()
        try FileScan(file: written, direct: temporary.direct, size: file.size, pool: checkPool).run(
            [digest]
        ) { (bytes) throws(LaminaError) in try observer.processed(bytes: bytes / 2) }
        let found = digest.finish()
        guard found == expected else {
            throw LaminaError(
                .io, location(of: file), "what was read back differs from what was written",
                expected: expected.description, found: found.description,
                hint: "the disk or the memory of this machine is faulty")
        }
        // The whole checkpoint in the page cache would only push out what is used.
        written.dropCache()
    }
}
