import Glibc
import LayerStore
import TensorCore

/// Removes a store: its manifest first, so that half of it is none. Files that are not part of it stay, and the folder
/// with them.
public struct StoreRemoval {
    /// The manifest of a store that is being removed.
    private static let listName = "manifest.removed.json"

    private let path: String
    private let fileSystem: any FileSystem
    private let hint: String

    /// `hint` says what to do about a folder that cannot be removed.
    public init(of path: String, in fileSystem: any FileSystem, hint: String) {
        self.path = path
        self.fileSystem = fileSystem
        self.hint = hint
    }

    /// Under another name the manifest lists what is still to be removed. Throws `.io`, `.damaged`.
    public func remove() throws(LaminaError) {
        if try fileSystem.exists(path + "/" + Manifest.fileName) {
            try fileSystem.moveFile(path + "/" + Manifest.fileName, to: path + "/" + Self.listName)
            try fileSystem.syncDirectory(path)
        }
        try finish()
    }

    /// Goes on with a removal that was interrupted, if one was. Throws as `remove`.
    public func finish() throws(LaminaError) {
        let list = path + "/" + Self.listName
        guard try fileSystem.exists(list) else { return }
        let old = try Manifest(try fileSystem.readWhole(list, limit: Manifest.maximumBytes), file: list)
        try removeFiles(old.shards.map(\.path) + old.sideFiles.map(\.path))
        try fileSystem.syncDirectory(path)
        try fileSystem.removeFile(list)
        try removeFolder(path)
    }

    /// Removes what an unfinished run of `plan` left, which nobody is to go on with; a folder without a writer's lock is
    /// none of ours. Throws `.locked` if somebody is writing there, `.io`.
    public func removeUnfinished(_ plan: ConversionPlan) throws(LaminaError) {
        guard try fileSystem.exists(path + "/" + WriterLock.fileName) else { return }
        let lock = try WriterLock(path, in: fileSystem)
        defer { withExtendedLifetime(lock) {} }
        for folder in ["", "/layers", "/side", "/side/source"] where try fileSystem.exists(path + folder) {
            try TemporaryFile.removeLeftovers(in: path + folder, fileSystem)
        }
        try removeFiles(plan.shards.map(\.path) + plan.sideFiles.map { "side/" + $0.name })
        try removeFolder(path)
    }

    /// Removes `files`, what is beside them in every store, and their folders.
    private func removeFiles(_ files: [String]) throws(LaminaError) {
        for file in files + [OriginalsRecord.fileName, PartialManifest.fileName, WriterLock.fileName] {
            try fileSystem.removeFile(path + "/" + file)
        }
        for folder in ["/side/source", "/side", "/layers"] { try removeFolder(path + folder) }
    }

    private func removeFolder(_ path: String) throws(LaminaError) {
        let status = fileSystem.removeDirectory(path)
        guard status >= 0 || status == -ENOENT else {
            throw LaminaError(
                .io, path, "cannot remove the store's folder: \(SystemError(code: -status).text)", hint: hint)
        }
    }
}
