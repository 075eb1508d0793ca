import CSystem
import TensorCore

/// Where results go: a file beside its final place, which it takes when all is written and durable, or
/// standard output.
public final class OutputFile {
    private let path: String
    private let folder: String
    private let replaces: Bool
    /// `nil` for standard output.
    private let file: OpenFile?
    private var isPublished = false

    /// Creates the file, so that what forbids it is known before the work is done. Throws `.cannotCreate` if `path` is
    /// taken, unless it `replaces` a file; `.io`.
    public init(_ path: String, replaces: Bool) throws(LaminaError) {
        self.path = path
        self.replaces = replaces
        let parts = path.split(separator: "/", omittingEmptySubsequences: false)
        let name = parts.last.map(String.init) ?? ""
        let parent = parts.dropLast().joined(separator: "/")
        folder = parts.count == 1 ? "." : parent.isEmpty ? "/" : parent
        guard path != "-" else {
            file = nil
            return
        }
        guard !name.isEmpty else { throw LaminaError(.cannotCreate, path, "not the name of a file") }
        try OutputFile.check(path, replaces: replaces)
        let token = String(lamina_random_bits(), radix: 36)
        do throws(LaminaError) {
            file = try OpenFile("\(folder)/.\(name).\(token).tmp", [.createNew, .noFollow], in: RealFileSystem())
        } catch {
            throw error.about(path)
        }
    }

    deinit {
        // Best effort: what is left has a name that says what it is.
        if let file, !isPublished { try? file.fileSystem.removeFile(file.path) }
    }

    private static func check(_ path: String, replaces: Bool) throws(LaminaError) {
        guard case .success(let facts) = RealFileSystem().facts(at: path, followLinks: false) else { return }
        guard facts.isRegular else {
            throw LaminaError(.cannotCreate, path, "exists and is not a regular file")
        }
        guard replaces else {
            throw LaminaError(.cannotCreate, path, "exists already", hint: "choose another name, or pass --force")
        }
    }

    /// Writes all of `text`. Throws `.io`, and `.cannotCreate` if the name has been taken meanwhile.
    public func publish(_ text: String) throws(LaminaError) {
        guard file != nil else { return try Console.out(text) }
        try publish { (file) throws(LaminaError) in
            try Array(text.utf8).withBytes { (bytes) throws(LaminaError) in try file.write(bytes, at: 0) }
        }
    }

    /// Has `body` write the file, which cannot be standard output. Throws what it throws, and as above.
    public func publish(_ body: (OpenFile) throws(LaminaError) -> Void) throws(LaminaError) {
        guard let file else { throw LaminaError(.usage, path, "this cannot go to standard output") }
        try body(file)
        try file.sync()
        try file.closeReportingErrors()
        try OutputFile.check(path, replaces: replaces)
        try file.fileSystem.moveFile(file.path, to: path)
        isPublished = true
        try file.fileSystem.syncDirectory(folder)
    }
}
