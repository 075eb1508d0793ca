import CSystem
import Glibc

/// Facts about a file: what it is, and how to tell later whether it is still the same.
public struct FileFacts: Sendable, Equatable {
    public var device: UInt64
    public var inode: UInt64
    /// Bytes.
    public var size: UInt64
    public var links: UInt64
    /// Nanoseconds since 1970.
    public var modified: Int128
    public var changed: Int128
    public var isRegular: Bool
    public var isDirectory: Bool
    public var isSymbolicLink: Bool

    init(_ facts: lamina_file_facts) {
        device = facts.device
        inode = facts.inode
        size = facts.size
        links = facts.links
        modified = Int128(facts.modified_seconds) * 1_000_000_000 + Int128(facts.modified_nanoseconds)
        changed = Int128(facts.changed_seconds) * 1_000_000_000 + Int128(facts.changed_nanoseconds)
        isRegular = lamina_is_regular(facts.mode)
        isDirectory = lamina_is_directory(facts.mode)
        isSymbolicLink = lamina_is_symbolic_link(facts.mode)
    }
}

/// How to open a file.
public struct OpenMode: OptionSet, Sendable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    public static let read = OpenMode(rawValue: UInt32(LAMINA_OPEN_READ))
    /// Past the page cache; offsets, sizes and buffers must be multiples of 4096.
    public static let direct = OpenMode(rawValue: UInt32(LAMINA_OPEN_DIRECT))
    /// For reading and writing; fails if anything has that name.
    public static let createNew = OpenMode(rawValue: UInt32(LAMINA_OPEN_CREATE_NEW))
    /// An existing file, for reading and writing.
    public static let write = OpenMode(rawValue: UInt32(LAMINA_OPEN_WRITE))
    public static let noFollow = OpenMode(rawValue: UInt32(LAMINA_OPEN_NO_FOLLOW))
    public static let directory = OpenMode(rawValue: UInt32(LAMINA_OPEN_DIRECTORY))
    public static let lockFile = OpenMode(rawValue: UInt32(LAMINA_OPEN_LOCK_FILE))
}

/// The calls under every file operation of Lamina: the operating system's, one for one, so that a test double can
/// fail any of them. Loops over short counts and interrupted calls live above (`OpenFile`), where faults reach them.
///
/// Every call returns the value or a negated `errno`. Implementations are safe to call from any thread.
public protocol FileSystem: Sendable {
    func open(_ path: String, _ mode: OpenMode) -> Int32
    func close(_ descriptor: Int32) -> Int32
    func read(_ descriptor: Int32, into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) -> Int64
    func write(_ descriptor: Int32, from buffer: UnsafeRawBufferPointer, at offset: UInt64) -> Int64
    func truncate(_ descriptor: Int32, to size: UInt64) -> Int32
    func sync(_ descriptor: Int32) -> Int32
    func facts(of descriptor: Int32) -> Result<FileFacts, SystemError>
    func facts(at path: String, followLinks: Bool) -> Result<FileFacts, SystemError>
    func rename(_ from: String, to: String) -> Int32
    /// `rename`, but fails with `EEXIST` if there is something called `to`.
    func renameNew(_ from: String, to: String) -> Int32
    func unlink(_ path: String) -> Int32
    func makeDirectory(_ path: String) -> Int32
    func removeDirectory(_ path: String) -> Int32
    func lock(_ descriptor: Int32) -> Int32
    func dropCache(_ descriptor: Int32) -> Int32
    func adviseSequential(_ descriptor: Int32) -> Int32
    func freeBytes(at path: String) -> Result<UInt64, SystemError>
    func list(_ path: String) -> Result<[String], SystemError>
    /// Absolute, without links, `.` or `..`.
    func canonicalPath(_ path: String) -> Result<String, SystemError>
    /// Both names swap what they name, at once.
    func exchange(_ first: String, _ second: String) -> Int32

    // Names in an open folder, which nobody can lead elsewhere by putting a link in its place. A link of that name is
    // not followed: opening it fails, the other calls mean the link itself.
    func open(_ name: String, in directory: Int32, _ mode: OpenMode) -> Int32
    func facts(of name: String, in directory: Int32) -> Result<FileFacts, SystemError>
    func unlink(_ name: String, in directory: Int32) -> Int32
    func linkTarget(of name: String, in directory: Int32) -> Result<String, SystemError>
}

/// A failed system call's `errno`.
public struct SystemError: Error, Sendable, Equatable {
    public var code: Int32

    public init(code: Int32) { self.code = code }

    public static let noEntry = SystemError(code: ENOENT)

    /// The system's own words.
    public var text: String {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { buffer in
            guard let base = buffer.baseAddress, let text = lamina_error_text(code, base, buffer.count) else {
                return "error \(code)"
            }
            return String(cString: text)
        }
    }
}

/// The operating system's calls.
public struct RealFileSystem: FileSystem {
    public init() {}

    public func open(_ path: String, _ mode: OpenMode) -> Int32 { lamina_open(path, mode.rawValue) }
    public func close(_ descriptor: Int32) -> Int32 { lamina_close(descriptor) }

    public func read(_ descriptor: Int32, into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) -> Int64 {
        lamina_read_at(descriptor, buffer.baseAddress, buffer.count, offset)
    }

    public func write(_ descriptor: Int32, from buffer: UnsafeRawBufferPointer, at offset: UInt64) -> Int64 {
        lamina_write_at(descriptor, buffer.baseAddress, buffer.count, offset)
    }

    public func truncate(_ descriptor: Int32, to size: UInt64) -> Int32 { lamina_truncate(descriptor, size) }
    public func sync(_ descriptor: Int32) -> Int32 { lamina_sync(descriptor) }

    public func facts(of descriptor: Int32) -> Result<FileFacts, SystemError> {
        var facts = lamina_file_facts()
        let status = lamina_facts_of_descriptor(descriptor, &facts)
        return status < 0 ? .failure(SystemError(code: -status)) : .success(FileFacts(facts))
    }

    public func facts(at path: String, followLinks: Bool) -> Result<FileFacts, SystemError> {
        var facts = lamina_file_facts()
        let status = lamina_facts_of_path(path, followLinks, &facts)
        return status < 0 ? .failure(SystemError(code: -status)) : .success(FileFacts(facts))
    }

    public func rename(_ from: String, to: String) -> Int32 { lamina_rename(from, to) }
    public func renameNew(_ from: String, to: String) -> Int32 { lamina_rename_new(from, to) }
    public func unlink(_ path: String) -> Int32 { lamina_unlink(path) }
    public func makeDirectory(_ path: String) -> Int32 { lamina_make_directory(path) }
    public func removeDirectory(_ path: String) -> Int32 { lamina_remove_directory(path) }
    public func lock(_ descriptor: Int32) -> Int32 { lamina_lock(descriptor) }
    public func dropCache(_ descriptor: Int32) -> Int32 { lamina_drop_cache(descriptor) }
    public func adviseSequential(_ descriptor: Int32) -> Int32 { lamina_advise_sequential(descriptor) }

    public func freeBytes(at path: String) -> Result<UInt64, SystemError> {
        var bytes: UInt64 = 0
        let status = lamina_free_bytes(path, &bytes)
        return status < 0 ? .failure(SystemError(code: -status)) : .success(bytes)
    }

    public func list(_ path: String) -> Result<[String], SystemError> {
        var names: [String] = []
        let status = withUnsafeMutablePointer(to: &names) { names in
            lamina_list_directory(
                path,
                { name, context in
                    guard let name, let context else { return }
                    context.assumingMemoryBound(to: [String].self).pointee.append(String(cString: name))
                }, names)
        }
        return status < 0 ? .failure(SystemError(code: -status)) : .success(names.sorted())
    }

    public func canonicalPath(_ path: String) -> Result<String, SystemError> {
        guard let resolved = realpath(path, nil) else { return .failure(SystemError(code: errno)) }
        defer { free(resolved) }
        return .success(String(cString: resolved))
    }

    public func exchange(_ first: String, _ second: String) -> Int32 { lamina_exchange(first, second) }

    public func open(_ name: String, in directory: Int32, _ mode: OpenMode) -> Int32 {
        lamina_open_in(directory, name, mode.rawValue)
    }

    public func facts(of name: String, in directory: Int32) -> Result<FileFacts, SystemError> {
        var facts = lamina_file_facts()
        let status = lamina_facts_in(directory, name, &facts)
        return status < 0 ? .failure(SystemError(code: -status)) : .success(FileFacts(facts))
    }

    public func unlink(_ name: String, in directory: Int32) -> Int32 { lamina_unlink_in(directory, name) }

    public func linkTarget(of name: String, in directory: Int32) -> Result<String, SystemError> {
        var buffer = [UInt8](repeating: 0, count: Int(PATH_MAX))
        let count = buffer.withUnsafeMutableBytes {
            lamina_read_link_in(directory, name, $0.bindMemory(to: CChar.self).baseAddress, $0.count)
        }
        guard count >= 0 else { return .failure(SystemError(code: Int32(-count))) }
        guard count < buffer.count else { return .failure(SystemError(code: ENAMETOOLONG)) }
        return .success(String(decoding: buffer[0..<Int(count)], as: UTF8.self))
    }
}
