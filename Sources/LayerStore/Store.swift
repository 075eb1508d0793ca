import TensorCore

/// A layer store opened for reading: its manifest, and on demand its shards' headers and side files.
public struct Store: Sendable {
    public let path: String
    public let manifest: Manifest
    public let fileSystem: any FileSystem

    /// Opens the store at `path`. Throws `.missing` without a manifest, `.damaged` or `.malformed` for a bad one, `.io`.
    public init(path: String, in fileSystem: any FileSystem) throws(LaminaError) {
        let trimmed = path.utf8.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path
        let file = trimmed + "/" + Manifest.fileName
        let bytes: [UInt8]
        do throws(LaminaError) {
            bytes = try fileSystem.readWhole(file, limit: Manifest.maximumBytes)
        } catch {
            guard error.kind == .missing else { throw error }
            throw LaminaError(
                .missing, trimmed, "no layer store here: it has no \(Manifest.fileName)",
                hint:
                    "make one with: lamina-convert SOURCE STORE; an interrupted conversion is completed by the same command"
            )
        }
        self.path = trimmed
        self.fileSystem = fileSystem
        manifest = try Manifest(bytes, file: file)
    }

    /// A store as `manifest` has it, whether or not it is published: what a conversion has made so far.
    public init(path: String, manifest: Manifest, in fileSystem: any FileSystem) {
        self.path = path
        self.manifest = manifest
        self.fileSystem = fileSystem
    }

    /// The path of a file named in the manifest.
    public func location(of relativePath: String) -> String { path + "/" + relativePath }

    /// A side file's bytes, `nil` if the store has none of that name. Throws `.damaged` if they are not what the
    /// manifest says.
    public func sideFile(_ name: String, limit: Int = 100_000_000) throws(LaminaError) -> [UInt8]? {
        let relativePath = "side/" + name
        guard let entry = manifest.sideFiles.first(where: { $0.path.utf8.elementsEqual(relativePath.utf8) }) else {
            return nil
        }
        let location = location(of: relativePath)
        let bytes: [UInt8]
        do throws(LaminaError) {
            bytes = try fileSystem.readWhole(location, limit: limit)
        } catch {
            guard error.kind == .missing else { throw error }
            throw LaminaError(.damaged, location, "the file is missing", hint: "lamina-verify names all damage")
        }
        let digest = SHA256.digest(of: bytes)
        guard digest == entry.digest else {
            throw LaminaError(
                .damaged, location, "the file's SHA-256 differs", expected: entry.digest.description,
                found: digest.description)
        }
        return bytes
    }

    /// Opens a shard's file for reading; `direct` bypasses the page cache. Throws `.damaged` if it is missing.
    public func open(_ shard: Manifest.Shard, direct: Bool = false) throws(LaminaError) -> OpenFile {
        let location = location(of: shard.path)
        do throws(LaminaError) {
            return try OpenFile(location, direct ? [.read, .direct] : .read, in: fileSystem)
        } catch {
            guard error.kind == .missing else { throw error }
            throw LaminaError(
                .damaged, location, "the file is missing", hint: "lamina-verify names all damage", layer: shard.layer)
        }
    }

    /// A shard's header, checked against the manifest. Throws `.damaged` or `.malformed`, `.io`.
    public func header(of shard: Manifest.Shard, file: OpenFile) throws(LaminaError) -> ShardHeader {
        do throws(LaminaError) {
            return try readHeader(of: shard, file: file)
        } catch {
            var located = error
            located.layer = shard.layer
            throw located
        }
    }

    private func readHeader(of shard: Manifest.Shard, file: OpenFile) throws(LaminaError) -> ShardHeader {
        let facts = try file.facts()
        guard facts.isRegular, facts.size == shard.size else {
            throw LaminaError(
                .damaged, file.path, "the file has the wrong size", expected: "\(shard.size) bytes",
                found: "\(facts.size)")
        }
        let fixed = try Store.bytes(of: file, count: ShardHeader.fixedSize)
        let (userBlock, _) = try ShardHeader.sizes(fixed: fixed, file: file.path, fileSize: facts.size)
        let block = try Store.bytes(of: file, count: Int(userBlock))
        let header = try ShardHeader(userBlock: block, file: file.path, fileSize: facts.size)
        guard header.tensors.count == shard.tensors.count else {
            throw LaminaError(
                .malformed, file.path, "the shard and the manifest list different numbers of tensors",
                expected: "\(shard.tensors.count)", found: "\(header.tensors.count)")
        }
        for (stored, listed) in zip(header.tensors, shard.tensors) {
            let agrees =
                stored.name.utf8.elementsEqual(listed.storedName.utf8) && stored.dtype == listed.dtype
                && stored.shape == listed.shape && stored.geometry.layout == listed.layout
                && stored.codec.name == listed.codec
            guard agrees else {
                throw LaminaError(
                    .malformed, file.path, "the shard and the manifest disagree about a tensor", tensor: listed.name)
            }
        }
        return header
    }

    /// The first `count` bytes, through a page-aligned buffer so that files opened for direct I/O work too.
    private static func bytes(of file: OpenFile, count: Int) throws(LaminaError) -> [UInt8] {
        let buffer = try AlignedBuffer(count: roundedUp(count, to: AlignedBuffer.alignment))
        let read = try file.read(into: buffer.bytes, at: 0)
        return Array(buffer.bytes[0..<min(read, count)])
    }
}
