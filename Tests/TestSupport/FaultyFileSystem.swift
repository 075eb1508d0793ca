import Glibc
import Synchronization
import TensorCore

/// The real file system, except for the faults a test asks for. Counts every call that can fail.
public final class FaultyFileSystem: FileSystemDouble {
    /// What happens instead of a call.
    public struct Fault: Sendable {
        /// Which call, counted from 1 over all kinds named in `calls`.
        public var number: Int
        public var error: Int32
        /// From then on, or once.
        public var isPersistent: Bool

        public init(number: Int, error: Int32, isPersistent: Bool) {
            self.number = number
            self.error = error
            self.isPersistent = isPersistent
        }
    }

    /// Kinds of calls.
    public enum Call: Sendable, CaseIterable {
        case open, close, read, write, truncate, sync, facts, rename, unlink, makeDirectory, list, lock
    }

    public let real = RealFileSystem()
    private let fault: Fault?
    private let calls: Set<Call>
    /// At most this many bytes per read or write.
    private let shortCount: Int?
    /// Every n-th read or write is interrupted first.
    private let interruptEvery: Int?
    private let counter = Mutex<(calls: Int, transfers: Int)>((0, 0))

    public init(
        fault: Fault? = nil, calls: Set<Call> = Set(Call.allCases), shortCount: Int? = nil, interruptEvery: Int? = nil
    ) {
        self.fault = fault
        self.calls = calls
        self.shortCount = shortCount
        self.interruptEvery = interruptEvery
    }

    /// Calls so far of the kinds that count.
    public var callCount: Int { counter.withLock { $0.calls } }

    private func failure(_ call: Call) -> Int32? {
        guard calls.contains(call) else { return nil }
        let number = counter.withLock { state in
            state.calls += 1
            return state.calls
        }
        guard let fault else { return nil }
        return number == fault.number || (fault.isPersistent && number > fault.number) ? -fault.error : nil
    }

    private var isInterrupted: Bool {
        guard let interruptEvery else { return false }
        return counter.withLock { state in
            state.transfers += 1
            return state.transfers % interruptEvery == 0
        }
    }

    public func open(_ path: String, _ mode: OpenMode) -> Int32 {
        // Short counts of any size are no direct I/O: this is then a file system without it.
        if shortCount != nil, mode.contains(.direct) { return -EINVAL }
        return failure(.open) ?? real.open(path, mode)
    }

    public func close(_ descriptor: Int32) -> Int32 {
        // The descriptor is gone either way, as on Linux.
        let status = real.close(descriptor)
        return failure(.close) ?? status
    }

    public func read(_ descriptor: Int32, into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) -> Int64 {
        if isInterrupted { return -Int64(EINTR) }
        if let status = failure(.read) { return Int64(status) }
        let count = min(buffer.count, shortCount ?? buffer.count)
        return real.read(descriptor, into: UnsafeMutableRawBufferPointer(rebasing: buffer[0..<count]), at: offset)
    }

    public func write(_ descriptor: Int32, from buffer: UnsafeRawBufferPointer, at offset: UInt64) -> Int64 {
        if isInterrupted { return -Int64(EINTR) }
        if let status = failure(.write) { return Int64(status) }
        let count = min(buffer.count, shortCount ?? buffer.count)
        return real.write(descriptor, from: UnsafeRawBufferPointer(rebasing: buffer[0..<count]), at: offset)
    }

    public func truncate(_ descriptor: Int32, to size: UInt64) -> Int32 {
        failure(.truncate) ?? real.truncate(descriptor, to: size)
    }

    public func sync(_ descriptor: Int32) -> Int32 { failure(.sync) ?? real.sync(descriptor) }

    public func facts(of descriptor: Int32) -> Result<FileFacts, SystemError> {
        if let status = failure(.facts) { return .failure(SystemError(code: -status)) }
        return real.facts(of: descriptor)
    }

    public func facts(at path: String, followLinks: Bool) -> Result<FileFacts, SystemError> {
        if let status = failure(.facts) { return .failure(SystemError(code: -status)) }
        return real.facts(at: path, followLinks: followLinks)
    }

    public func rename(_ from: String, to: String) -> Int32 { failure(.rename) ?? real.rename(from, to: to) }
    public func renameNew(_ from: String, to: String) -> Int32 { failure(.rename) ?? real.renameNew(from, to: to) }
    public func unlink(_ path: String) -> Int32 { failure(.unlink) ?? real.unlink(path) }
    public func makeDirectory(_ path: String) -> Int32 { failure(.makeDirectory) ?? real.makeDirectory(path) }
    public func lock(_ descriptor: Int32) -> Int32 { failure(.lock) ?? real.lock(descriptor) }

    public func list(_ path: String) -> Result<[String], SystemError> {
        if let status = failure(.list) { return .failure(SystemError(code: -status)) }
        return real.list(path)
    }

    public func exchange(_ first: String, _ second: String) -> Int32 {
        failure(.rename) ?? real.exchange(first, second)
    }

    public func open(_ name: String, in directory: Int32, _ mode: OpenMode) -> Int32 {
        failure(.open) ?? real.open(name, in: directory, mode)
    }

    public func facts(of name: String, in directory: Int32) -> Result<FileFacts, SystemError> {
        if let status = failure(.facts) { return .failure(SystemError(code: -status)) }
        return real.facts(of: name, in: directory)
    }

    public func unlink(_ name: String, in directory: Int32) -> Int32 {
        failure(.unlink) ?? real.unlink(name, in: directory)
    }

    public func linkTarget(of name: String, in directory: Int32) -> Result<String, SystemError> {
        if let status = failure(.open) { return .failure(SystemError(code: -status)) }
        return real.linkTarget(of: name, in: directory)
    }
}
