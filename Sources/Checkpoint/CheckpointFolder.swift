import TensorCore

/// A Hugging Face checkpoint: a folder with `config.json` and files of weights, all of it untrusted.
public struct CheckpointFolder: Sendable {
    /// Real configs are kilobytes; indexes of large checkpoints tens of megabytes.
    public static let maximumConfigBytes = 16_000_000
    public static let maximumIndexBytes = 100_000_000

    public let path: String
    public let fileSystem: any FileSystem
    /// `config.json`, as found and parsed.
    public let configBytes: [UInt8]
    public let config: JSONObject
    public let configPath: String
    /// In the order of their names.
    public let files: [WeightFile]
    /// What the user should know but nothing fails for.
    public let warnings: [String]

    /// Opens the checkpoint at `path` and validates every header. `deleted` are files that are gone because all of their
    /// tensors are stored. Throws `.missing`, `.malformed`, `.io`.
    public init(
        path: String, deleted: [DeletedWeightFile] = [], in fileSystem: any FileSystem
    ) throws(LaminaError) {
        let folder = path.utf8.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path
        guard case .success(let facts) = fileSystem.facts(at: folder, followLinks: true) else {
            throw LaminaError(.missing, folder, "no such folder", hint: "give the folder that holds config.json")
        }
        guard facts.isDirectory else {
            throw LaminaError(.malformed, folder, "not a folder", hint: "give the folder that holds config.json")
        }
        let names = try fileSystem.names(in: folder)
        let resolver = try LinkResolver(folder: folder, in: fileSystem)
        self.path = folder
        self.fileSystem = fileSystem
        configPath = folder + "/config.json"
        let weights: WeightFiles
        do throws(LaminaError) {
            weights = try WeightFiles(
                folder: folder, names: names, deleted: deleted, resolver: resolver, in: fileSystem)
            guard names.contains("config.json") else {
                throw LaminaError(
                    .missing, folder, "the folder has no config.json", hint: "download the whole repository")
            }
            try resolver.check("config.json")
        } catch {
            throw HuggingFaceCache.explained(error, folder: folder, in: fileSystem)
        }
        configBytes = try fileSystem.readWhole(configPath, limit: CheckpointFolder.maximumConfigBytes)
        do throws(LaminaError) {
            guard let object = try JSONValue.parse(configBytes).object else {
                throw LaminaError(.malformed, "", "not a JSON object")
            }
            config = object
        } catch {
            throw error.about(configPath)
        }
        files = weights.files
        warnings = weights.warnings
    }

    /// A small file of the checkpoint, `nil` if it is not there. Throws `.malformed` for links out of the folder or a
    /// file above `limit` bytes, `.io`.
    public func sideFile(_ name: String, limit: Int) throws(LaminaError) -> [UInt8]? {
        guard try fileSystem.exists(path + "/" + name) else { return nil }
        try LinkResolver(folder: path, in: fileSystem).check(name)
        return try fileSystem.readWhole(path + "/" + name, limit: limit)
    }
}

/// Decides which symbolic links in a checkpoint folder are followed: those that stay in it, and those of a Hugging Face
/// cache, whose snapshots link into the sibling `blobs`. It compares resolved paths once; it does not protect against
/// someone who swaps a link between this check and the opening.
struct LinkResolver {
    private let folder: String
    private let fileSystem: any FileSystem
    private let allowed: [String]

    init(folder: String, in fileSystem: any FileSystem) throws(LaminaError) {
        self.folder = folder
        self.fileSystem = fileSystem
        guard case .success(let canonical) = fileSystem.canonicalPath(folder) else {
            throw LaminaError(.missing, folder, "cannot resolve the folder")
        }
        var allowed = [canonical + "/"]
        let parts = canonical.split(separator: "/")
        if parts.count >= 3, parts[parts.count - 2] == "snapshots" {
            allowed.append("/" + parts.dropLast(2).joined(separator: "/") + "/blobs/")
        }
        self.allowed = allowed
    }

    /// Throws `.missing` if `name` does not exist or is a dangling link, `.malformed` if it leads elsewhere or is no
    /// regular file.
    func check(_ name: String) throws(LaminaError) {
        let path = folder + "/" + name
        switch fileSystem.canonicalPath(path) {
        case .failure(let error) where error.code == SystemError.noEntry.code:
            throw LaminaError(.missing, path, "no such file")
        case .failure(let error):
            throw LaminaError(.malformed, path, "cannot be resolved: \(error.text)")
        case .success(let target):
            guard allowed.contains(where: { target.utf8.starts(with: $0.utf8) }) else {
                throw LaminaError(
                    .malformed, path, "links to a file outside the checkpoint", expected: "a file below \(allowed[0])",
                    found: target)
            }
        }
        guard case .success(let facts) = fileSystem.facts(at: path, followLinks: true), facts.isRegular else {
            throw LaminaError(.malformed, path, "not a regular file")
        }
    }
}
