import LayerStore
import TensorCore

/// What an interrupted conversion knows of originals that it deleted on the way.
public struct InterruptedConversion: Sendable {
    /// An original that is gone, with all of its tensors in shards that were proven.
    public struct DeletedOriginal: Sendable {
        public var file: Manifest.Source.File
        /// Every byte of it that belongs to no tensor.
        public var otherBytes: [UInt8]
        /// In the order of their bytes.
        public var tensors: [Manifest.Tensor]
    }

    /// In the order of the source's files; empty where nothing was deleted, or nothing interrupted.
    public let deleted: [DeletedOriginal]

    /// Looks at what is in the folder of a store. Throws `.damaged` if what stands for a deleted original is not whole, `.io`.
    public init(at path: String, in fileSystem: any FileSystem) throws(LaminaError) {
        guard let record = try OriginalsRecord.read(in: path, fileSystem) else {
            deleted = []
            return
        }
        let gone = Set(record.files.filter { $0.state != .present }.map(\.path))
        let known: (source: Manifest.Source, shards: [Manifest.Shard], side: [Manifest.SideFile])
        if try fileSystem.exists(path + "/" + Manifest.fileName) {
            let manifest = try Store(path: path, in: fileSystem).manifest
            known = (manifest.source, manifest.shards, manifest.sideFiles)
        } else if let partial = try PartialManifest.read(in: path, fileSystem) {
            known = (partial.source, partial.shards, partial.sideFiles)
        } else {
            deleted = []
            return
        }
        var deleted: [DeletedOriginal] = []
        for (index, file) in known.source.files.enumerated() where gone.contains(file.path) {
            let tensors = known.shards.flatMap(\.tensors).filter { $0.sourceFile == index }
            deleted.append(
                DeletedOriginal(
                    file: file,
                    otherBytes: try InterruptedConversion.bytes(of: file.header, known.side, path, fileSystem),
                    tensors: tensors.sorted {
                        ($0.sourceOffset, $0.byteCount) < ($1.sourceOffset, $1.byteCount)
                    }))
        }
        self.deleted = deleted
    }

    private static func bytes(
        of header: String, _ side: [Manifest.SideFile], _ path: String, _ fileSystem: any FileSystem
    ) throws(LaminaError) -> [UInt8] {
        let location = path + "/" + header
        let bytes = try fileSystem.readWhole(location, limit: Manifest.maximumBytes)
        guard let entry = side.first(where: { $0.path.utf8.elementsEqual(header.utf8) }),
            SHA256.digest(of: bytes) == entry.digest
        else {
            throw LaminaError(
                .damaged, location, "the file is not what the interrupted conversion wrote",
                hint: "it stands for an original that was deleted; bring back a copy of it")
        }
        return bytes
    }
}
