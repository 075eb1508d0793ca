import CSystem
import TensorCore

/// A file being written beside its final place: it gets its name only when complete and durable, and is removed
/// otherwise.
final class TemporaryFile {
    let file: OpenFile
    /// The same file past the page cache, where the file system can.
    private(set) lazy var direct: OpenFile? = try? OpenFile(
        file.path, [.write, .direct, .noFollow], in: file.fileSystem)
    private let finalPath: String
    private let directory: String
    private var isPublished = false

    /// Creates a file with an unpredictable name in `directory`, for `name`. Throws `.cannotCreate` or `.io`.
    init(directory: String, name: String, in fileSystem: any FileSystem) throws(LaminaError) {
        let token = String(lamina_random_bits(), radix: 36)
        self.directory = directory
        finalPath = directory + "/" + name
        file = try OpenFile(
            "\(directory)/.\(name).\(token)\(TemporaryFile.suffix)", [.createNew, .noFollow], in: fileSystem)
    }

    static let suffix = ".tmp"

    deinit {
        // Best effort: a leftover is recognised by its name and removed by the next run.
        if !isPublished { try? file.fileSystem.removeFile(file.path) }
    }

    /// Makes the bytes durable, then the name; with `isNew`, only if nothing has that name. Throws `.io`, `.cannotCreate`.
    func publish(isNew: Bool = false) throws(LaminaError) {
        try file.sync()
        try file.closeReportingErrors()
        if isNew {
            try file.fileSystem.moveNewFile(file.path, to: finalPath)
        } else {
            try file.fileSystem.moveFile(file.path, to: finalPath)
        }
        isPublished = true
        try file.fileSystem.syncDirectory(directory)
    }

    /// Removes what an interrupted run left in `directory`. Throws `.io`.
    static func removeLeftovers(in directory: String, _ fileSystem: any FileSystem) throws(LaminaError) {
        for name in try fileSystem.names(in: directory) where name.hasPrefix(".") && name.hasSuffix(suffix) {
            try fileSystem.removeFile(directory + "/" + name)
        }
    }

    /// Whether `name` is that of a temporary file for the file `final`.
    static func isLeftover(_ name: String, of final: String) -> Bool {
        let (bytes, prefix, suffix) = (Array(name.utf8), Array(".\(final).".utf8), Array(suffix.utf8))
        guard bytes.starts(with: prefix), bytes.reversed().starts(with: suffix.reversed()) else { return false }
        let token = bytes.dropFirst(prefix.count).dropLast(suffix.count)
        return bytes.count > prefix.count + suffix.count && !token.contains(UInt8(ascii: "."))
    }

    /// Writes a small file whole; with `isNew`, only if nothing has that name. Throws `.cannotCreate` or `.io`.
    static func write(
        _ bytes: [UInt8], to name: String, in directory: String, isNew: Bool = false, _ fileSystem: any FileSystem
    ) throws(LaminaError) {
        let temporary = try TemporaryFile(directory: directory, name: name, in: fileSystem)
        try bytes.withBytes { (buffer) throws(LaminaError) in try temporary.file.write(buffer, at: 0) }
        try temporary.publish(isNew: isNew)
    }
}
