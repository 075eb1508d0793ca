import Glibc

/// A folder opened once: what is done to names in it happens in this very folder, whatever is renamed or linked to its
/// path meanwhile. Links of these names are never followed.
public struct OpenFolder: Sendable {
    private let folder: OpenFile

    public var path: String { folder.path }
    var fileSystem: any FileSystem { folder.fileSystem }

    /// Opens the folder at `path`, which must not be a link itself. Throws `.missing`, `.io`.
    public init(_ path: String, in fileSystem: any FileSystem) throws(LaminaError) {
        folder = try OpenFile(path, [.read, .directory, .noFollow], in: fileSystem)
    }

    /// Opens a file of the folder. Throws as `OpenFile`.
    public func open(_ name: String, _ mode: OpenMode) throws(LaminaError) -> OpenFile {
        try OpenFile(name, mode, in: self)
    }

    func open(descriptorOf name: String, _ mode: OpenMode) -> Int32 {
        folder.withDescriptor { fileSystem.open(name, in: $0, mode) }
    }

    /// Device, inode, size, … of the folder itself. Throws `.io`.
    public func facts() throws(LaminaError) -> FileFacts { try folder.facts() }

    /// What `name` is; `nil` if there is nothing of that name. Throws `.io`.
    public func facts(of name: String) throws(LaminaError) -> FileFacts? {
        switch folder.withDescriptor({ fileSystem.facts(of: name, in: $0) }) {
        case .success(let facts): return facts
        case .failure(let error) where error.code == ENOENT: return nil
        case .failure(let error): throw LaminaError(.io, location(of: name), "cannot examine: \(error.text)")
        }
    }

    /// Where the link `name` points to, as it is written. Throws `.io`.
    public func linkTarget(of name: String) throws(LaminaError) -> String {
        switch folder.withDescriptor({ fileSystem.linkTarget(of: name, in: $0) }) {
        case .success(let target): return target
        case .failure(let error): throw LaminaError(.io, location(of: name), "cannot read the link: \(error.text)")
        }
    }

    /// Removes a file or link; fine if it is gone already. Throws `.io`.
    public func remove(_ name: String) throws(LaminaError) {
        let status = folder.withDescriptor { fileSystem.unlink(name, in: $0) }
        if status < 0, status != -ENOENT {
            throw LaminaError(.io, location(of: name), "cannot remove: \(SystemError(code: -status).text)")
        }
    }

    /// Makes removals durable. Throws `.io`.
    public func sync() throws(LaminaError) { try folder.sync() }

    func location(of name: String) -> String { path + "/" + name }
}
