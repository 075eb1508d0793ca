import Glibc

/// An open file: the loops over short counts and interruptions, and errors that name the file.
///
/// Closed when the last reference goes; `closeReportingErrors` is for written files, whose close can fail.
public final class OpenFile: @unchecked Sendable {
    // Sendable: the descriptor is only replaced by `closeReportingErrors`, which the single owner of a written file
    // calls; positioned reads and writes are safe from any thread.
    public let path: String
    public let fileSystem: any FileSystem
    private var descriptor: Int32

    /// Opens `path`. Throws `.missing` if it is not there, `.cannotCreate` for failures to create, else `.io`.
    public convenience init(_ path: String, _ mode: OpenMode, in fileSystem: any FileSystem) throws(LaminaError) {
        try self.init(path, mode, in: fileSystem) { fileSystem.open(path, mode) }
    }

    /// Opens `name` in an open folder, never through a link. Throws as for a path.
    convenience init(_ name: String, _ mode: OpenMode, in folder: OpenFolder) throws(LaminaError) {
        try self.init(folder.location(of: name), mode, in: folder.fileSystem) {
            folder.open(descriptorOf: name, mode)
        }
    }

    private init(
        _ path: String, _ mode: OpenMode, in fileSystem: any FileSystem, opening: () -> Int32
    ) throws(LaminaError) {
        self.path = path
        self.fileSystem = fileSystem
        var status: Int32
        repeat { status = opening() } while status == -EINTR
        descriptor = status
        guard status >= 0 else {
            let creates = mode.contains(.createNew) || mode.contains(.lockFile)
            let isAbsent = (status == -ENOENT || status == -ENOTDIR) && !creates
            let full = status == -ENOSPC || status == -EDQUOT || status == -EIO
            let kind: LaminaError.Kind = isAbsent ? .missing : creates && !full ? .cannotCreate : .io
            throw LaminaError(kind, path, isAbsent ? "no such file" : "cannot open: \(SystemError(code: -status).text)")
        }
    }

    /// Hands out the descriptor while the file is certain to be open.
    func withDescriptor<Value>(_ body: (Int32) -> Value) -> Value {
        withExtendedLifetime(self) { body(descriptor) }
    }

    deinit {
        if descriptor >= 0 { _ = fileSystem.close(descriptor) }
    }

    private func failure(_ call: String, _ status: Int64, bytes: ByteRange? = nil) -> LaminaError {
        LaminaError(.io, path, "\(call) failed: \(SystemError(code: Int32(-status)).text)", bytes: bytes)
    }

    /// Size, identity and times. Throws `.io`.
    public func facts() throws(LaminaError) -> FileFacts {
        switch fileSystem.facts(of: descriptor) {
        case .success(let facts): return facts
        case .failure(let error): throw failure("stat", -Int64(error.code))
        }
    }

    /// Reads until `buffer` is full or the file ends; returns the bytes read. Throws `.io`.
    public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(LaminaError) -> Int {
        var done = 0
        while done < buffer.count {
            let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
            let count = fileSystem.read(descriptor, into: rest, at: offset + UInt64(done))
            if count == -Int64(EINTR) || count == -Int64(EAGAIN) { continue }
            guard count >= 0 else {
                throw failure("read", count, bytes: offset..<(offset + UInt64(buffer.count)))
            }
            if count == 0 { break }
            done += Int(count)
        }
        return done
    }

    /// Fills `buffer`; a file that ends before is an error. Throws `.io` for a failed call, `.damaged` for a short file.
    public func readExactly(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(LaminaError) {
        let count = try read(into: buffer, at: offset)
        guard count == buffer.count else {
            throw LaminaError(
                .damaged, path, "the file ends too early",
                expected: "\(buffer.count) bytes at \(offset)", found: "\(count)",
                bytes: offset..<(offset + UInt64(buffer.count)))
        }
    }

    /// Writes all of `buffer`. Throws `.io`, with the space left if the disk is full.
    public func write(_ buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(LaminaError) {
        var done = 0
        while done < buffer.count {
            let rest = UnsafeRawBufferPointer(rebasing: buffer[done...])
            let count = fileSystem.write(descriptor, from: rest, at: offset + UInt64(done))
            if count == -Int64(EINTR) || count == -Int64(EAGAIN) { continue }
            guard count >= 0 else {
                throw failure("write", count, bytes: offset..<(offset + UInt64(buffer.count)))
            }
            // A write of nothing that is no error would loop for ever.
            guard count > 0 else { throw LaminaError(.io, path, "write made no progress") }
            done += Int(count)
        }
    }

    /// Writes `buffer`, aligned to pages like `offset`, to a file opened for direct I/O. False if the file system wants
    /// it otherwise after all, or took a part that is no whole page: then the caller writes all of it the usual way.
    /// Throws `.io`.
    public func writeWholePages(_ buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(LaminaError) -> Bool {
        var done = 0
        while done < buffer.count {
            let rest = UnsafeRawBufferPointer(rebasing: buffer[done...])
            let count = fileSystem.write(descriptor, from: rest, at: offset + UInt64(done))
            if count == -Int64(EINTR) || count == -Int64(EAGAIN) { continue }
            if count == -Int64(EINVAL) || (count >= 0 && (count == 0 || Int(count) % AlignedBuffer.alignment != 0)) {
                return false
            }
            guard count >= 0 else { throw failure("write", count, bytes: offset..<(offset + UInt64(buffer.count))) }
            done += Int(count)
        }
        return true
    }

    /// Reads the whole pages `buffer` from `offset`, both at page boundaries, of a file opened for direct I/O, until
    /// the first `needed` bytes are there. False if that did not work, for whatever reason: the caller then reads the usual
    /// way, which says what is wrong.
    public func readWholePages(
        into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64, needed: Int
    ) -> Bool {
        var done = 0
        while done < needed {
            let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
            let count = fileSystem.read(descriptor, into: rest, at: offset + UInt64(done))
            if count == -Int64(EINTR) || count == -Int64(EAGAIN) { continue }
            guard count > 0 else { return false }
            done += Int(count)
            // Only the end of the file may be within a page.
            if done < needed, Int(count) % AlignedBuffer.alignment != 0 { return false }
        }
        return true
    }

    public func truncate(to size: UInt64) throws(LaminaError) {
        try check("truncate", fileSystem.truncate(descriptor, to: size))
    }

    /// Makes everything written durable. A failure is final: the kernel may have dropped the data, so never retry.
    public func sync() throws(LaminaError) { try check("fsync", fileSystem.sync(descriptor)) }

    /// Closes a written file and reports a failure, which can be the first news of lost data.
    public func closeReportingErrors() throws(LaminaError) {
        let closing = descriptor
        descriptor = -1
        let status = fileSystem.close(closing)
        // On Linux the descriptor is gone after EINTR; everything was synced before.
        if status != -EINTR { try check("close", status) }
    }

    /// Whether the exclusive lock was obtained; false if somebody else holds it. Throws `.io`.
    public func tryLock() throws(LaminaError) -> Bool {
        let status = fileSystem.lock(descriptor)
        if status == -EWOULDBLOCK { return false }
        try check("lock", status)
        return true
    }

    /// Asks the kernel to forget cached pages, so that what is read next comes from the disk. Best effort.
    public func dropCache() { _ = fileSystem.dropCache(descriptor) }

    /// Tells the kernel that reads go from start to end. Best effort.
    public func adviseSequential() { _ = fileSystem.adviseSequential(descriptor) }

    private func check(_ call: String, _ status: Int32) throws(LaminaError) {
        if status < 0 { throw failure(call, Int64(status)) }
    }
}

extension FileSystem {
    /// A whole file of at most `limit` bytes; it must be a regular file. Throws `.missing`, `.io`, `.malformed` (no
    /// regular file, or too large).
    public func readWhole(_ path: String, limit: Int) throws(LaminaError) -> [UInt8] {
        let file = try OpenFile(path, .read, in: self)
        let facts = try file.facts()
        guard facts.isRegular else { throw LaminaError(.malformed, path, "not a regular file") }
        guard facts.size <= UInt64(limit) else {
            throw LaminaError(
                .malformed, path, "the file is too large", expected: "at most \(limit) bytes", found: "\(facts.size)")
        }
        var bytes = [UInt8](repeating: 0, count: Int(facts.size))
        let count = try bytes.withMutableBytes { (buffer) throws(LaminaError) in
            try file.read(into: buffer, at: 0)
        }
        guard count == bytes.count else {
            throw LaminaError(.io, path, "the file became shorter while being read")
        }
        return bytes
    }

    /// Whether anything has that name, links not followed. Throws `.io`.
    public func exists(_ path: String) throws(LaminaError) -> Bool {
        switch facts(at: path, followLinks: false) {
        case .success: return true
        // What is too long for a name is nobody's.
        case .failure(let error) where [ENOENT, ENOTDIR, ENAMETOOLONG].contains(error.code): return false
        case .failure(let error): throw LaminaError(.io, path, "cannot examine: \(error.text)")
        }
    }

    /// The names in a folder, sorted. Throws `.missing` or `.io`.
    public func names(in path: String) throws(LaminaError) -> [String] {
        switch list(path) {
        case .success(let names): return names
        case .failure(let error) where error.code == ENOENT || error.code == ENOTDIR:
            throw LaminaError(.missing, path, "no such folder")
        case .failure(let error): throw LaminaError(.io, path, "cannot list: \(error.text)")
        }
    }

    /// Makes renames and new names in a folder durable. Throws `.io`.
    public func syncDirectory(_ path: String) throws(LaminaError) {
        let directory = try OpenFile(path, [.read, .directory], in: self)
        try directory.sync()
    }

    /// Creates a folder, durably; fine if it is there already, or a link to one unless links are not followed. Throws
    /// `.cannotCreate`, `.io`.
    public func ensureDirectory(_ path: String, followLinks: Bool = true) throws(LaminaError) {
        let status = makeDirectory(path)
        if status < 0, status != -EEXIST {
            throw LaminaError(.cannotCreate, path, "cannot create the folder: \(SystemError(code: -status).text)")
        }
        guard case .success(let facts) = facts(at: path, followLinks: followLinks), facts.isDirectory else {
            throw LaminaError(.cannotCreate, path, "exists and is not a folder")
        }
        // Files synced in a folder are lost with it if its own name is not synced; one that is there already may be
        // from a run that was killed before it came to that.
        try syncDirectory(parentFolder(of: path))
    }

    /// Removes a file; fine if it is gone already. Throws `.io`.
    public func removeFile(_ path: String) throws(LaminaError) {
        let status = unlink(path)
        if status < 0, status != -ENOENT {
            throw LaminaError(.io, path, "cannot remove: \(SystemError(code: -status).text)")
        }
    }

    public func moveFile(_ from: String, to: String) throws(LaminaError) {
        let status = rename(from, to: to)
        if status < 0 {
            throw LaminaError(.io, to, "cannot rename \(from): \(SystemError(code: -status).text)")
        }
    }

    /// `moveFile`, but never in the place of something else. Throws `.cannotCreate` if `to` is there, `.io`.
    public func moveNewFile(_ from: String, to: String) throws(LaminaError) {
        let status = renameNew(from, to: to)
        if status == -EINVAL || status == -ENOSYS {
            // Not on this file system: then as close to it as can be.
            guard try !exists(to) else { throw LaminaError(.cannotCreate, to, "is there already") }
            return try moveFile(from, to: to)
        }
        guard status != -EEXIST else { throw LaminaError(.cannotCreate, to, "is there already") }
        if status < 0 {
            throw LaminaError(.io, to, "cannot rename \(from): \(SystemError(code: -status).text)")
        }
    }
}

extension OpenFile {
    /// SHA-256 of the whole file, read in order through one buffer; `progress` gets the bytes read. Throws `.io`.
    public func digest(
        progress: (Int) throws(LaminaError) -> Void = { (_) throws(LaminaError) in }
    ) throws(LaminaError) -> SHA256Digest {
        let buffer = try AlignedBuffer(count: 1 << 20)
        var hasher = SHA256()
        var offset: UInt64 = 0
        while true {
            let count = try read(into: buffer.bytes, at: offset)
            hasher.update(UnsafeRawBufferPointer(rebasing: buffer.bytes[0..<count]))
            offset += UInt64(count)
            try progress(count)
            if count < buffer.bytes.count { return hasher.finalize() }
        }
    }
}

/// The folder that the last part of `path` is in, as it is written: `.` where it has one part only.
public func parentFolder(of path: String) -> String {
    let parts = path.split(separator: "/", omittingEmptySubsequences: true)
    let parent = parts.dropLast().joined(separator: "/")
    if path.hasPrefix("/") { return "/" + parent }
    return parent.isEmpty ? "." : parent
}
