import CSystem
import Glibc
import TensorCore

/// The right to write into a folder, held with a lock file until it is released or the process ends.
final class FolderLock {
    static let fileName = ".lamina.lock"

    private let folder: String
    private let file: OpenFile

    /// Takes the lock of `folder`; `purpose` is what another holder would be doing. Throws `.locked` naming the holder,
    /// `.cannotCreate`, `.io`.
    init(_ folder: String, purpose: String, in fileSystem: any FileSystem) throws(LaminaError) {
        self.folder = folder
        let location = folder + "/" + FolderLock.fileName
        file = try OpenFile(location, [.lockFile, .noFollow], in: fileSystem)
        let isTaken = try file.tryLock()
        // A holder that finished meanwhile has removed the file: what is locked then is a file without a name.
        guard isTaken, try FolderLock.isNamed(file, location) else {
            let holder = (try? fileSystem.readWhole(location, limit: 4096)).map { String(decoding: $0, as: UTF8.self) }
            throw LaminaError(
                .locked, folder, "another process is \(purpose)",
                found: holder ?? "a process that holds \(FolderLock.fileName)", hint: "wait for it to finish")
        }
        var host = [CChar](repeating: 0, count: 256)
        gethostname(&host, host.count - 1)
        let hostName = String(decoding: host.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        try file.truncate(to: 0)
        try Array("process \(getpid()) on \(hostName)".utf8).withBytes { (bytes) throws(LaminaError) in
            try file.write(bytes, at: 0)
        }
    }

    private static func isNamed(_ file: OpenFile, _ location: String) throws(LaminaError) -> Bool {
        switch file.fileSystem.facts(at: location, followLinks: false) {
        case .success(let named):
            let facts = try file.facts()
            return (named.device, named.inode) == (facts.device, facts.inode)
        case .failure(.noEntry): return false
        case .failure(let error): throw LaminaError(.io, location, "cannot examine: \(error.text)")
        }
    }

    /// Removes the lock file. Throws `.io`.
    func release() throws(LaminaError) { try file.fileSystem.removeFile(file.path) }
}
