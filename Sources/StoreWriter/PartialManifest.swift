import LayerStore
import TensorCore

/// What an unfinished conversion has made durable: enough to go on without the originals it needs no more.
///
/// Its digests say what the files must be, not that they are: whoever goes on checks them.
public struct PartialManifest: Sendable {
    static let fileName = "manifest.partial.json"

    /// What is converted and how: work of an interrupted run counts only if its plan is the same.
    public var plan: SHA256Digest
    public var source: Manifest.Source
    public var shards: [Manifest.Shard]
    public var sideFiles: [Manifest.SideFile]
    /// Steps that were found by coding samples: who goes on need not, and cannot where originals are gone.
    public var steps: [SolvedStep]

    public init(
        plan: SHA256Digest, source: Manifest.Source, shards: [Manifest.Shard], sideFiles: [Manifest.SideFile],
        steps: [SolvedStep] = []
    ) {
        self.plan = plan
        self.source = source
        self.shards = shards
        self.sideFiles = sideFiles
        self.steps = steps
    }

    /// Reads what is in `folder`; `nil` if there is nothing, or nothing that can be believed: then the work starts over.
    /// Throws `.io`.
    public static func read(
        in folder: String, _ fileSystem: any FileSystem
    ) throws(LaminaError) -> PartialManifest? {
        let location = folder + "/" + fileName
        guard try fileSystem.exists(location) else { return nil }
        let bytes = try fileSystem.readWhole(location, limit: Manifest.maximumBytes)
        return try? PartialManifest(bytes, file: location)
    }

    private init(_ bytes: [UInt8], file: String) throws(LaminaError) {
        guard let object = try JSONValue.parse(bytes).object else {
            throw LaminaError(.damaged, file, "not a JSON object")
        }
        try object.checkDigest(file: file)
        let reader = ManifestReader(file: file)
        plan = try reader.digest(object, "plan")
        source = Manifest.Source(files: try reader.list(object, "source", reader.sourceFile))
        shards = try reader.list(object, "shards", reader.shard)
        sideFiles = try reader.list(object, "side", reader.sideFile)
        steps =
            object["steps"] == nil
            ? [] : try reader.list(object, "steps") { (entry) throws(LaminaError) in try SolvedStep(entry, reader) }
    }

    func encoded() -> [UInt8] {
        var members: [(key: String, value: JSONValue)] = [
            ("plan", .string(plan.description)), ("source", .array(source.files.map(\.json))),
            ("shards", .array(shards.map(\.json))), ("side", .array(sideFiles.map(\.json))),
        ]
        if !steps.isEmpty { members.append(("steps", .array(steps.map(\.json)))) }
        return JSONObject(members).bytesWithDigest()
    }

    /// Makes it durable. Throws `.io`, `.cannotCreate`.
    func write(to folder: String, _ fileSystem: any FileSystem) throws(LaminaError) {
        try TemporaryFile.write(encoded(), to: PartialManifest.fileName, in: folder, fileSystem)
    }
}
