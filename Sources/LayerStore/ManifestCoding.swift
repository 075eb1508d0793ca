import TensorCore

extension Manifest {
    /// The manifest's file: canonical JSON with its own digest under `digest`, and a line feed.
    public func encoded() -> [UInt8] {
        (json.object ?? JSONObject()).bytesWithDigest()
    }

    private var json: JSONValue {
        [
            "format": .string(Manifest.format),
            "version": JSONValue(Manifest.version),
            "tool": [
                "name": "lamina", "version": .string(tool.version), "zstd": .string(tool.zstd),
                "hdf5": .string(tool.hdf5),
            ],
            "architecture": .string(architecture),
            "chunk_bytes": JSONValue(chunkBytes),
            "source": ["files": .array(source.files.map(\.json))],
            "shards": .array(shards.map(\.json)),
            "tied": .array(tied.map { ["name": .string($0.name), "target": .string($0.target)] }),
            "side": .array(sideFiles.map(\.json)),
            "root_digest": .string(rootDigest.description),
        ]
    }

    /// Reads a manifest, checking its digest first and every path, size and reference after. Throws `.damaged` for a
    /// wrong digest, `.malformed` for a right one over impossible content or another version.
    public init(_ bytes: [UInt8], file: String) throws(LaminaError) {
        let document: JSONValue
        do throws(LaminaError) {
            document = try JSONValue.parse(bytes)
        } catch {
            throw LaminaError(.damaged, file, error.problem)
        }
        guard let object = document.object, object["format"]?.string == Manifest.format else {
            throw LaminaError(.damaged, file, "this is not the manifest of a layer store")
        }
        try object.checkDigest(file: file)
        let reader = ManifestReader(file: file)
        guard let version = object["version"]?.integer, version == Manifest.version else {
            throw LaminaError(
                .malformed, file, "this store has another format version", expected: "\(Manifest.version)",
                found: object["version"]?.summary ?? "none", hint: "use the Lamina that wrote it, or convert again")
        }
        let tool = try reader.object(object, "tool")
        self.init(
            tool: Tool(
                version: try reader.string(tool, "version"), zstd: try reader.string(tool, "zstd"),
                hdf5: try reader.string(tool, "hdf5")),
            architecture: try reader.string(object, "architecture"),
            chunkBytes: try reader.integer(object, "chunk_bytes", in: 1...ShardHeader.maximumChunkBytes),
            source: Source(files: try reader.list(try reader.object(object, "source"), "files", reader.sourceFile)),
            shards: try reader.list(object, "shards", reader.shard),
            tied: try reader.list(object, "tied", reader.tie),
            sideFiles: try reader.list(object, "side", reader.sideFile))
        try checkReferences(file: file)
        guard object["root_digest"]?.string == rootDigest.description else {
            throw LaminaError(.malformed, file, "the root digest contradicts the files' digests")
        }
    }

    private func checkReferences(file: String) throws(LaminaError) {
        var paths: Set<[UInt8]> = []
        for path in shards.map(\.path) + sideFiles.map(\.path) {
            guard paths.insert(Array(path.utf8)).inserted else {
                throw LaminaError(.malformed, file, "the file \(path) is listed twice")
            }
        }
        var names: Set<[UInt8]> = []
        for tensor in shards.flatMap(\.tensors) {
            guard names.insert(Array(tensor.name.utf8)).inserted else {
                throw LaminaError(.malformed, file, "the tensor is listed twice", tensor: tensor.name)
            }
            guard source.files.indices.contains(tensor.sourceFile) else {
                throw LaminaError(.malformed, file, "the tensor's source file is not listed", tensor: tensor.name)
            }
        }
        for tie in tied where !names.contains(Array(tie.target.utf8)) {
            throw LaminaError(
                .malformed, file, "the tensor is tied to \(tie.target), which is not stored", tensor: tie.name)
        }
    }
}

extension Manifest.Source.File {
    /// Also the form in a partial manifest.
    public var json: JSONValue {
        var members: [(key: String, value: JSONValue)] = [
            ("path", .string(path)), ("size", JSONValue(size)), ("header", .string(header)),
            ("data_offset", JSONValue(dataOffset)),
        ]
        if format != .safetensors { members.append(("format", .string(format.rawValue))) }
        return .object(JSONObject(members))
    }
}

extension Manifest.SideFile {
    /// Also the form in a partial manifest.
    public var json: JSONValue {
        ["path": .string(path), "size": JSONValue(size), "sha256": .string(digest.description)]
    }
}

extension Manifest.Shard {
    /// Also the form of a finished shard in a partial manifest.
    public var json: JSONValue {
        [
            "path": .string(path), "layer": .string(layer), "size": JSONValue(size),
            "sha256": .string(digest.description), "tensors": .array(tensors.map(\.json)),
        ]
    }
}

extension Manifest.Tensor {
    fileprivate var json: JSONValue {
        var members: [(key: String, value: JSONValue)] = [
            ("name", .string(name)), ("stored_name", .string(storedName)), ("dtype", .string(dtype.rawValue)),
            ("shape", .array(shape.dimensions.map { JSONValue($0) })), ("layout", .string(layout.name)),
            ("codec", .string(codec)), ("source_file", JSONValue(sourceFile)),
            ("source_offset", JSONValue(sourceOffset)), ("sha256", .string(digest.description)),
        ]
        if let unusedBecause { members.append(("unused_because", .string(unusedBecause))) }
        if let quantization { members.append(("quantization", quantization.json)) }
        return .object(JSONObject(members))
    }
}

extension Manifest.Quantization {
    fileprivate var json: JSONValue {
        var members: [(key: String, value: JSONValue)] = [("relative_error", JSONValue(relativeError))]
        if let signalToNoise { members.append(("snr_db", JSONValue(signalToNoise))) }
        if let step { members.append(("step", JSONValue(step))) }
        return .object(JSONObject(members))
    }
}
