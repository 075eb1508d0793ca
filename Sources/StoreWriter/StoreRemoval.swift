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
        let own = [OriginalsRecord.fileName, PartialManifest.fileName, WriterLock.fileName]
        for file in old.shards.map(\.path) + old.sideFiles.map(\.path) + own {
            try fileSystem.removeFile(path + "/" + file)
        }
        for folder in ["/side/source", "/side", "/layers"] { try removeFolder(path + folder) }
        try fileSystem.syncDirectory(path)
        try fileSystem.removeFile(list)
        try removeFolder(path)
    }

    private func removeFolder(_ path: String) throws(LaminaError) {
        let status = fileSystem.removeDirectory(path)
        guard status >= 0 || status == -ENOENT else {
            throw LaminaError(
                .io, path, "cannot remove the store's folder: \(SystemError(code: -status).text)", hint: hint)
        }
    }
}
