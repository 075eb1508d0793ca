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

    /// Makes the bytes durable, then the name. Throws `.io`.
    func publish() throws(LaminaError) {
        try file.sync()
        try file.closeReportingErrors()
        try file.fileSystem.moveFile(file.path, to: finalPath)
        isPublished = true
        try file.fileSystem.syncDirectory(directory)
    }

    /// Removes what an interrupted run left in `directory`. Throws `.io`.
    static func removeLeftovers(in directory: String, _ fileSystem: any FileSystem) throws(LaminaError) {
        for name in try fileSystem.names(in: directory) where name.hasPrefix(".") && name.hasSuffix(suffix) {
            try fileSystem.removeFile(directory + "/" + name)
        }
    }

    /// Writes a small file whole. Throws `.cannotCreate` or `.io`.
    static func write(
        _ bytes: [UInt8], to name: String, in directory: String, _ fileSystem: any FileSystem
    ) throws(LaminaError) {
        let temporary = try TemporaryFile(directory: directory, name: name, in: fileSystem)
        try bytes.withBytes { (buffer) throws(LaminaError) in try temporary.file.write(buffer, at: 0) }
        try temporary.publish()
    }
}
