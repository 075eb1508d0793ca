import Glibc
import Synchronization
import TensorCore

/// The real file system, except for the faults a test asks for. Counts every call that can fail. Nothing is really synced.
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

    /// A call that is about to be made.
    public struct Visit: Sendable {
        public var call: Call
        /// Of the file, or that a renamed file has before.
        public var path: String
        /// Of a read or write.
        public var bytes: Range<UInt64>?
    }

    /// What a rule does to a call.
    public enum Effect: Sendable {
        case fails(Int32)
        /// A read or write of fewer bytes.
        case isCut(to: Int)
    }

    public typealias Rule = @Sendable (Visit) -> Effect?

    public let real = UnsyncedFileSystem()
    private let fault: Fault?
    private let rule: Rule?
    private let paths = Mutex<[Int32: String]>([:])
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
        rule = nil
        self.calls = calls
        self.shortCount = shortCount
        self.interruptEvery = interruptEvery
    }

    /// Asks `rule` before every call.
    public init(rule: @escaping Rule) {
        fault = nil
        self.rule = rule
        calls = Set(Call.allCases)
        shortCount = nil
        interruptEvery = nil
    }

    /// Calls so far of the kinds that count.
    public var callCount: Int { counter.withLock { $0.calls } }

    private func effect(_ call: Call, _ path: String, bytes: Range<UInt64>? = nil) -> Effect? {
        guard calls.contains(call) else { return nil }
        let number = counter.withLock { state in
            state.calls += 1
            return state.calls
        }
        if let rule { return rule(Visit(call: call, path: path, bytes: bytes)) }
        guard let fault else { return nil }
        return number == fault.number || (fault.isPersistent && number > fault.number) ? .fails(fault.error) : nil
    }

    private func failure(_ call: Call, _ path: String) -> Int32? {
        guard case .fails(let error) = effect(call, path) else { return nil }
        return -error
    }

    private func path(of descriptor: Int32) -> String { paths.withLock { $0[descriptor] ?? "" } }

    private func opened(_ descriptor: Int32, _ path: String) -> Int32 {
        if descriptor >= 0 { paths.withLock { $0[descriptor] = path } }
        return descriptor
    }

    /// How many of `count` bytes are read or written, or a negated error.
    private func transfer(_ call: Call, _ descriptor: Int32, _ count: Int, at offset: UInt64) -> Int {
        if isInterrupted { return -Int(EINTR) }
        let limit = min(count, shortCount ?? count)
        switch effect(call, path(of: descriptor), bytes: offset..<(offset + UInt64(count))) {
        case .fails(let error): return -Int(error)
        case .isCut(let size): return min(limit, size)
        case nil: return limit
        }
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
        return failure(.open, path) ?? opened(real.open(path, mode), path)
    }

    public func close(_ descriptor: Int32) -> Int32 {
        let path = path(of: descriptor)
        // The descriptor is gone either way, as on Linux.
        let status = real.close(descriptor)
        return failure(.close, path) ?? status
    }

    public func read(_ descriptor: Int32, into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) -> Int64 {
        let count = transfer(.read, descriptor, buffer.count, at: offset)
        if count < 0 { return Int64(count) }
        return real.read(descriptor, into: UnsafeMutableRawBufferPointer(rebasing: buffer[0..<count]), at: offset)
    }

    public func write(_ descriptor: Int32, from buffer: UnsafeRawBufferPointer, at offset: UInt64) -> Int64 {
        let count = transfer(.write, descriptor, buffer.count, at: offset)
        if count < 0 { return Int64(count) }
        return real.write(descriptor, from: UnsafeRawBufferPointer(rebasing: buffer[0..<count]), at: offset)
    }

    public func truncate(_ descriptor: Int32, to size: UInt64) -> Int32 {
        failure(.truncate, path(of: descriptor)) ?? real.truncate(descriptor, to: size)
    }

    public func sync(_ descriptor: Int32) -> Int32 { failure(.sync, path(of: descriptor)) ?? real.sync(descriptor) }

    public func facts(of descriptor: Int32) -> Result<FileFacts, SystemError> {
        if let status = failure(.facts, path(of: descriptor)) { return .failure(SystemError(code: -status)) }
        return real.facts(of: descriptor)
    }

    public func facts(at path: String, followLinks: Bool) -> Result<FileFacts, SystemError> {
        if let status = failure(.facts, path) { return .failure(SystemError(code: -status)) }
        return real.facts(at: path, followLinks: followLinks)
    }

    public func rename(_ from: String, to: String) -> Int32 { failure(.rename, from) ?? real.rename(from, to: to) }
    public func renameNew(_ from: String, to: String) -> Int32 {
        failure(.rename, from) ?? real.renameNew(from, to: to)
    }
    public func unlink(_ path: String) -> Int32 { failure(.unlink, path) ?? real.unlink(path) }
    public func makeDirectory(_ path: String) -> Int32 { failure(.makeDirectory, path) ?? real.makeDirectory(path) }
    public func lock(_ descriptor: Int32) -> Int32 { failure(.lock, path(of: descriptor)) ?? real.lock(descriptor) }

    public func list(_ path: String) -> Result<[String], SystemError> {
        if let status = failure(.list, path) { return .failure(SystemError(code: -status)) }
        return real.list(path)
    }

    public func exchange(_ first: String, _ second: String) -> Int32 {
        failure(.rename, first) ?? real.exchange(first, second)
    }

    public func open(_ name: String, in directory: Int32, _ mode: OpenMode) -> Int32 {
        failure(.open, name) ?? opened(real.open(name, in: directory, mode), name)
    }

    public func facts(of name: String, in directory: Int32) -> Result<FileFacts, SystemError> {
        if let status = failure(.facts, name) { return .failure(SystemError(code: -status)) }
        return real.facts(of: name, in: directory)
    }

    public func unlink(_ name: String, in directory: Int32) -> Int32 {
        failure(.unlink, name) ?? real.unlink(name, in: directory)
    }

    public func linkTarget(of name: String, in directory: Int32) -> Result<String, SystemError> {
        if let status = failure(.open, name) { return .failure(SystemError(code: -status)) }
        return real.linkTarget(of: name, in: directory)
    }
}
