import LayerStore
import TensorCore

/// Puts a new store where an old one is: the new one is made beside it, both swap places at once, and only then does
/// the old one go. Readers that have it open keep it.
public struct StoreReplacement {
    private let path: String
    private let fileSystem: any FileSystem
    /// Where the new store is made, and where the old one is after the swap.
    public let workPath: String

    /// For the store at `path`, whose folder's name is `name` in `parent`.
    public init(of path: String, name: String, parent: String, in fileSystem: any FileSystem) {
        self.path = path
        self.fileSystem = fileSystem
        workPath = "\(parent)/.\(name).overwrite"
    }

    /// Fails if the old store may not go: its originals were deleted, so it may be the only copy of them. Throws
    /// `.cannotCreate`, `.damaged`, `.io`.
    public func check() throws(LaminaError) {
        let deleted = try OriginalsRecord.read(in: path, fileSystem)?.files.filter { $0.state != .present } ?? []
        guard deleted.isEmpty else {
            throw LaminaError(
                .cannotCreate, path, "originals of this store were deleted: it may be the only copy of them",
                found: deleted.prefix(5).map(\.path).joined(separator: ", "),
                hint: "restore them first (lamina-convert restore), or remove the store by hand")
        }
    }

    /// Swaps the new store, which is complete, with the old one. Throws `.cannotCreate`, `.io`.
    public func swap() throws(LaminaError) {
        let status = fileSystem.exchange(workPath, path)
        guard status >= 0 else {
            throw LaminaError(
                .cannotCreate, path, "cannot swap the stores: \(SystemError(code: -status).text)",
                hint: "remove the old store by hand and rename \(workPath)")
        }
        let parts = workPath.split(separator: "/", omittingEmptySubsequences: false)
        try fileSystem.syncDirectory(parts.dropLast().joined(separator: "/"))
    }

    /// Removes the old store. Throws as `StoreRemoval`.
    public func removeOld() throws(LaminaError) { try removal.remove() }

    /// Goes on with a removal that was interrupted, if one was. Throws as `removeOld`.
    public func finishRemoval() throws(LaminaError) { try removal.finish() }

    private var removal: StoreRemoval {
        StoreRemoval(of: workPath, in: fileSystem, hint: "the new store is in place; look at what else is in there")
    }
}
