import CKernels
import TensorCore

/// Proves a store intact, or names everything in it that is not.
public struct Verification: Sendable {
    /// How much is read.
    public enum Level: String, Sendable {
        /// Manifest, side files, sizes and shard headers.
        case quick
        /// All bytes: chunk checksums and the shards' SHA-256.
        case full
        /// And every tensor decoded and compared with the digest of its source; of a quantized one, which has none that
        /// its values could have, every panel looked at.
        case decode
    }

    public let store: Store
    public let level: Level
    /// Constant for the life of the process, so any thread may read it.
    public nonisolated(unsafe) let kernels: KernelTable

    public init(store: Store, level: Level, kernels: KernelTable) {
        self.store = store
        self.level = level
        self.kernels = kernels
    }

    /// Bytes a run reads.
    public var byteCount: UInt64 {
        let all = store.manifest.shards.reduce(UInt64(0)) { $0 + $1.size }
        switch level {
        case .quick: return 0
        case .full: return all
        case .decode: return 2 * all
        }
    }

    /// Everything that is wrong with the side files. Throws `.io`.
    public func checkSideFiles() throws(LaminaError) -> [LaminaError] {
        var damage: [LaminaError] = []
        for file in store.manifest.sideFiles {
            try collect(&damage) { (_) throws(LaminaError) in
                _ = try store.sideFile(String(file.path.dropFirst("side/".count)))
            }
        }
        return damage
    }

    /// Files in the store that its manifest does not list: nothing reads them.
    public func unlistedFiles() throws(LaminaError) -> [String] {
        let listed = Set(store.manifest.shards.map(\.path) + store.manifest.sideFiles.map(\.path))
        var unlisted: [String] = []
        for folder in ["layers", "side", "side/source"] {
            guard try store.fileSystem.exists(store.location(of: folder)) else { continue }
            for name in try store.fileSystem.names(in: store.location(of: folder)) {
                let path = folder + "/" + name
                if !listed.contains(path), path != "side/source" { unlisted.append(path) }
            }
        }
        return unlisted
    }

    /// Everything that is wrong with one shard; safe to call for several shards at once. Throws `.io` only for a system
    /// that fails, not for damage.
    public func check(
        _ shard: Manifest.Shard, progress: (Int) throws(LaminaError) -> Void
    ) throws(LaminaError) -> [LaminaError] {
        var damage: [LaminaError] = []
        try collect(&damage) { (damage) throws(LaminaError) in
            let file = try openForReading(shard)
            let header = try store.header(of: shard, file: file)
            guard level != .quick else { return }
            let names = SourceNames(shard, header)
            let digest = try ShardScan(header: header).run(file, progress: progress) {
                (tensor, chunk, record) throws(LaminaError) in
                damage.append(
                    LaminaError(
                        .damaged, file.path, "chunk \(chunk) has the wrong checksum", layer: shard.layer,
                        tensor: names.name(of: tensor),
                        bytes: record.offset..<(record.offset + UInt64(record.storedSize))))
            }
            if digest != shard.digest, damage.isEmpty {
                damage.append(
                    LaminaError(
                        .damaged, file.path, "bytes outside the chunks differ: the file's SHA-256 is wrong",
                        expected: shard.digest.description, found: digest.description, layer: shard.layer))
            }
            guard level == .decode else { return }
            damage += try checkTensors(shard, header, file, progress: progress)
        }
        return damage
    }

    /// What the page cache holds of the file is dropped first: what is proved is what the disk holds. Still through the
    /// cache, whose read-ahead measured a third faster than direct reads of one window after another.
    private func openForReading(_ shard: Manifest.Shard) throws(LaminaError) -> OpenFile {
        let file = try store.open(shard)
        file.dropCache()
        file.adviseSequential()
        return file
    }

    private func checkTensors(
        _ shard: Manifest.Shard, _ header: ShardHeader, _ file: OpenFile, progress: (Int) throws(LaminaError) -> Void
    ) throws(LaminaError) -> [LaminaError] {
        var damage: [LaminaError] = []
        let source = try SourceBytes(tensors: header.tensors, kernels: kernels)
        for (record, tensor) in zip(header.tensors, shard.tensors) {
            var hasher = SHA256()
            do throws(LaminaError) {
                try source.read(record, from: file) { (bytes) throws(LaminaError) in hasher.update(bytes) }
            } catch {
                guard error.kind == .damaged || error.kind == .malformed else { throw error }
                var located = error
                located.layer = shard.layer
                located.tensor = tensor.name
                damage.append(located)
                continue
            }
            let digest = hasher.finalize()
            if record.codec.isLossless, digest != tensor.digest {
                damage.append(
                    LaminaError(
                        .damaged, file.path, "the decoded tensor differs from its source",
                        expected: tensor.digest.description, found: digest.description, layer: shard.layer,
                        tensor: tensor.name))
            }
            try progress(Int(record.storedBytes))
        }
        return damage
    }

    /// Runs `body`; damage and malformed content are collected, other errors thrown.
    private func collect(
        _ damage: inout [LaminaError], _ body: (inout [LaminaError]) throws(LaminaError) -> Void
    ) throws(LaminaError) {
        do throws(LaminaError) {
            try body(&damage)
        } catch {
            guard error.kind == .damaged || error.kind == .malformed else { throw error }
            damage.append(error)
        }
    }
}

/// The checkpoint's names for a shard's tensors, whose own have `*` for the layer.
private struct SourceNames {
    private let names: [[UInt8]: String]

    init(_ shard: Manifest.Shard, _ header: ShardHeader) {
        let pairs = zip(header.tensors, shard.tensors).map { (Array($0.name.utf8), $1.name) }
        names = Dictionary(pairs, uniquingKeysWith: { first, _ in first })
    }

    func name(of tensor: TensorRecord) -> String { names[Array(tensor.name.utf8)] ?? tensor.name }
}
