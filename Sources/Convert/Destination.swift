import CommandLineSupport
import TensorCore

/// Where a folder may be made.
enum Destination {
    /// Throws `.cannotCreate` if `store` is the source, inside it or around it, or its folder is missing; `.io` if the
    /// disk is too small.
    static func check(
        _ store: String, source: String, expectedBytes: UInt64, in fileSystem: any FileSystem
    ) throws(LaminaError) {
        let parentPath = try check(store, apartFrom: source, in: fileSystem)
        if case .success(let free) = fileSystem.freeBytes(at: parentPath), free < expectedBytes {
            throw LaminaError(
                .io, parentFolder(of: store), "not enough disk space",
                expected: "about \(formattedBytes(expectedBytes))", found: "\(formattedBytes(free)) free")
        }
    }

    /// Returns the path of the folder that `folder` is or will be in. Throws `.cannotCreate` if that is missing, or if
    /// `folder` is `source`, inside it or around it.
    @discardableResult
    static func check(
        _ folder: String, apartFrom source: String, in fileSystem: any FileSystem
    ) throws(LaminaError) -> String {
        let parent = parentFolder(of: folder)
        guard case .success(let parentPath) = fileSystem.canonicalPath(parent),
            case .success(let facts) = fileSystem.facts(at: parentPath, followLinks: true), facts.isDirectory
        else {
            throw LaminaError(.cannotCreate, parent, "no such folder", hint: "create it first")
        }
        let name = folder.split(separator: "/").last.map(String.init) ?? ""
        let target: String
        if case .success(let existing) = fileSystem.canonicalPath(folder) {
            target = existing
        } else {
            target = (parentPath == "/" ? "" : parentPath) + "/" + name
        }
        if case .success(let sourcePath) = fileSystem.canonicalPath(source) {
            let nested = (target + "/").utf8.starts(with: (sourcePath + "/").utf8)
            let around = (sourcePath + "/").utf8.starts(with: (target + "/").utf8)
            guard !nested, !around else {
                throw LaminaError(
                    .cannotCreate, folder, "it and \(source) must be separate folders",
                    hint: "choose a place beside \(source)")
            }
        }
        return parentPath
    }

    private static func parentFolder(of path: String) -> String {
        let parts = path.split(separator: "/", omittingEmptySubsequences: true)
        let parent = parts.dropLast().joined(separator: "/")
        if path.hasPrefix("/") { return "/" + parent }
        return parent.isEmpty ? "." : parent
    }
}
