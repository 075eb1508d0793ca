import LayerStore
import TensorCore

/// Where the files are that a store was made from, what they were when they were read, and what became of them:
/// `originals.json` in the store's folder.
///
/// It is about one machine's files, so it is no part of the store: the manifest does not list it, the root digest does
/// not cover it, and without it a store is whole. Only deletion of originals needs it.
public struct OriginalsRecord: Sendable, Equatable {
    public static let fileName = "originals.json"
    private static let format = "lamina-originals"
    private static let version = 1

    /// The conversion's plan: the same source and options give the same.
    public var plan: SHA256Digest
    /// The checkpoint's folder, absolute and without links.
    public var folder: String
    /// In the order of the manifest's source files.
    public var files: [File]

    public init(plan: SHA256Digest, folder: String, files: [File]) {
        self.plan = plan
        self.folder = folder
        self.files = files
    }

    /// What became of an original. The intent is durable before the first file goes.
    public enum State: String, Sendable {
        case present
        case deleting
        case deleted
    }

    /// One original.
    public struct File: Sendable, Equatable {
        /// Its name in the folder.
        public var path: String
        /// What it was when it was read; of the link's target if it is a link.
        public var identity: Identity
        /// The file it stands for if it is a link, as in a Hugging Face cache: absolute, without links.
        public var target: String?
        /// SHA-256 of all its bytes; computed where deletion is asked for.
        public var digest: SHA256Digest?
        public var state: State
        /// When the state was recorded, in seconds since 1970.
        public var time: Int

        public init(path: String, identity: Identity, target: String? = nil) {
            self.path = path
            self.identity = identity
            self.target = target
            digest = nil
            state = .present
            time = 0
        }
    }

    /// What tells whether a file is still the one that was read.
    public struct Identity: Sendable, Equatable {
        public var device: UInt64
        public var inode: UInt64
        /// Bytes.
        public var size: UInt64
        /// Nanoseconds since 1970.
        public var modified: Int
        public var changed: Int

        public init(_ facts: FileFacts) {
            device = facts.device
            inode = facts.inode
            size = facts.size
            modified = Int(truncatingIfNeeded: facts.modified)
            changed = Int(truncatingIfNeeded: facts.changed)
        }

        public init(device: UInt64, inode: UInt64, size: UInt64, modified: Int, changed: Int) {
            self.device = device
            self.inode = inode
            self.size = size
            self.modified = modified
            self.changed = changed
        }

        /// What is different now, in words; `nil` if nothing is.
        func difference(to now: Identity) -> String? {
            if now.device != device || now.inode != inode { return "replaced by another file since it was converted" }
            if now.size != size { return "has another size than when it was converted" }
            if now.modified != modified { return "written to since it was converted" }
            if now.changed != changed { return "touched since it was converted" }
            return nil
        }
    }

    /// The file of that name.
    public subscript(path: String) -> File? { files.first { $0.path.utf8.elementsEqual(path.utf8) } }
}

extension OriginalsRecord {
    /// Reads the record of the store in `folder`; `nil` if there is none. Throws `.damaged`, `.io`.
    public static func read(in folder: String, _ fileSystem: any FileSystem) throws(LaminaError) -> OriginalsRecord? {
        let location = folder + "/" + fileName
        guard try fileSystem.exists(location) else { return nil }
        let bytes = try fileSystem.readWhole(location, limit: 64 << 20)
        do throws(LaminaError) {
            return try OriginalsRecord(bytes, file: location)
        } catch {
            throw LaminaError(
                .damaged, location, error.problem, expected: error.expected, found: error.found,
                hint: "the store itself may be whole (lamina-verify); what became of the originals is not known")
        }
    }

    private init(_ bytes: [UInt8], file: String) throws(LaminaError) {
        guard let object = try JSONValue.parse(bytes).object else {
            throw LaminaError(.damaged, file, "not a JSON object")
        }
        try object.checkDigest(file: file)
        let reader = ManifestReader(file: file)
        guard try reader.string(object, "format") == OriginalsRecord.format else {
            throw LaminaError(.damaged, file, "this is not a record of originals")
        }
        _ = try reader.integer(object, "version", in: OriginalsRecord.version...OriginalsRecord.version)
        plan = try reader.digest(object, "plan")
        folder = try reader.string(object, "folder")
        files = try reader.list(object, "files") { (entry) throws(LaminaError) in try File(entry, reader) }
    }

    /// Canonical JSON with its own digest, as a manifest's.
    func encoded() -> [UInt8] {
        JSONObject([
            ("format", .string(OriginalsRecord.format)), ("version", JSONValue(OriginalsRecord.version)),
            ("plan", .string(plan.description)), ("folder", .string(folder)), ("files", .array(files.map(\.json))),
        ]).bytesWithDigest()
    }

    /// Makes the record durable in the store at `store`. Throws `.io`, `.cannotCreate`.
    func write(to store: String, _ fileSystem: any FileSystem) throws(LaminaError) {
        try TemporaryFile.write(encoded(), to: OriginalsRecord.fileName, in: store, fileSystem)
    }
}

extension OriginalsRecord.File {
    fileprivate var json: JSONValue {
        var members: [(key: String, value: JSONValue)] = [
            ("path", .string(path)), ("device", JSONValue(identity.device)), ("inode", JSONValue(identity.inode)),
            ("size", JSONValue(identity.size)), ("modified", JSONValue(identity.modified)),
            ("changed", JSONValue(identity.changed)), ("state", .string(state.rawValue)), ("time", JSONValue(time)),
        ]
        if let target { members.append(("target", .string(target))) }
        if let digest { members.append(("sha256", .string(digest.description))) }
        return .object(JSONObject(members))
    }

    fileprivate init(_ object: JSONObject, _ reader: ManifestReader) throws(LaminaError) {
        path = try reader.string(object, "path")
        identity = OriginalsRecord.Identity(
            device: try reader.unsigned(object, "device"), inode: try reader.unsigned(object, "inode"),
            size: try reader.unsigned(object, "size"),
            modified: try reader.integer(object, "modified", in: Int.min...Int.max),
            changed: try reader.integer(object, "changed", in: Int.min...Int.max))
        target = object["target"]?.string
        digest = object["sha256"] == nil ? nil : try reader.digest(object, "sha256")
        guard let state = OriginalsRecord.State(rawValue: try reader.string(object, "state")) else {
            throw LaminaError(.damaged, "", "unknown state of an original", found: object["state"]?.summary)
        }
        self.state = state
        time = try reader.integer(object, "time", in: 0...Int.max)
    }
}
