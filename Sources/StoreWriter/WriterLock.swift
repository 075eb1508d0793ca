import Glibc
import LayerStore
import TensorCore

/// The right to write in a folder, held by one process at a time: a lock on a file in it, which goes with the process that
/// holds it however that ends.
final class WriterLock {
    static let fileName = ".lamina.lock"

    private let file: OpenFile

    /// Claims `folder`. Throws `.locked` naming who has it, `.cannotCreate`, `.io`.
    init(_ folder: String, in fileSystem: any FileSystem) throws(LaminaError) {
        let location = folder + "/" + WriterLock.fileName
        file = try OpenFile(location, [.lockFile, .noFollow], in: fileSystem)
        let isHeld = try file.tryLock()
        guard isHeld, try WriterLock.isNamed(file, in: fileSystem) else {
            let holder = (try? fileSystem.readWhole(location, limit: 4096)).map { String(decoding: $0, as: UTF8.self) }
            throw LaminaError(
                .locked, folder, "another process is writing in this folder",
                found: holder ?? "a process that holds \(WriterLock.fileName)",
                hint: "wait for it to finish")
        }
        var host = [CChar](repeating: 0, count: 256)
        gethostname(&host, host.count - 1)
        let hostName = String(decoding: host.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        try file.truncate(to: 0)
        try Array("process \(getpid()) on \(hostName)".utf8).withBytes { (bytes) throws(LaminaError) in
            try file.write(bytes, at: 0)
        }
    }

    /// A lock on a file that its last holder removed meanwhile keeps nobody out.
    private static func isNamed(_ file: OpenFile, in fileSystem: any FileSystem) throws(LaminaError) -> Bool {
        let own = try file.facts()
        switch fileSystem.facts(at: file.path, followLinks: false) {
        case .success(let named): return named.device == own.device && named.inode == own.inode
        case .failure(let error) where error == .noEntry: return false
        case .failure(let error): throw LaminaError(.io, file.path, "cannot examine: \(error.text)")
        }
    }

    /// Removes the lock's file; the lock itself goes with this object. Throws `.io`.
    func removeFile() throws(LaminaError) { try file.fileSystem.removeFile(file.path) }
}
