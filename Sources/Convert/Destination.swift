import CommandLineSupport
import StoreWriter
import TensorCore

/// Where a store, or a checkpoint out of one, is to be made.
struct Destination {
    /// As the user wrote it.
    let path: String
    /// The folder it is in, absolute and without links.
    let parent: String
    let name: String
    private let fileSystem: any FileSystem

    /// Throws `.cannotCreate` if the folder it is to be in is missing.
    init(_ folder: String, in fileSystem: any FileSystem) throws(LaminaError) {
        let around = parentFolder(of: folder)
        guard case .success(let parentPath) = fileSystem.canonicalPath(around),
            case .success(let facts) = fileSystem.facts(at: parentPath, followLinks: true), facts.isDirectory
        else {
            throw LaminaError(.cannotCreate, around, "no such folder", hint: "create it first")
        }
        path = folder
        parent = parentPath
        name = folder.split(separator: "/").last.map(String.init) ?? ""
        self.fileSystem = fileSystem
    }

    /// Throws `.cannotCreate` if it is `source`, inside it or around it.
    func checkSeparation(from source: String) throws(LaminaError) {
        let target: String
        if case .success(let existing) = fileSystem.canonicalPath(path) {
            target = existing
        } else {
            target = (parent == "/" ? "" : parent) + "/" + name
        }
        guard case .success(let sourcePath) = fileSystem.canonicalPath(source) else { return }
        let nested = (target + "/").utf8.starts(with: (sourcePath + "/").utf8)
        let around = (sourcePath + "/").utf8.starts(with: (target + "/").utf8)
        guard !nested, !around else {
            throw LaminaError(
                .cannotCreate, path, "it and \(source) must be separate folders",
                hint: "choose a place beside \(source)")
        }
    }

    /// Free bytes where the store will be; `nil` if the system does not say.
    var freeBytes: UInt64? {
        guard case .success(let free) = fileSystem.freeBytes(at: parent) else { return nil }
        return free
    }

    /// The device the store will be on.
    var device: UInt64? {
        guard case .success(let facts) = fileSystem.facts(at: parent, followLinks: true) else { return nil }
        return facts.device
    }

    /// Throws `.io` if `bytes` more do not fit on the disk.
    func checkSpace(for bytes: UInt64) throws(LaminaError) {
        guard let free = freeBytes, free < bytes else { return }
        throw LaminaError(
            .io, parent, "not enough disk space", expected: "about \(formattedBytes(bytes)) free",
            found: "\(formattedBytes(free)) free",
            hint: "make room, or choose another disk; --delete-progressively needs less")
    }

    /// How an existing store there is replaced.
    var replacement: StoreReplacement {
        StoreReplacement(of: path, name: name, parent: parent, in: fileSystem)
    }
}
