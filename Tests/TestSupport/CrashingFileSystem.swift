import Glibc
import Synchronization
import TensorCore

/// The real file system, with a log of everything a power loss could undo: `log` says what the disk may hold after a
/// crash at any point. Nothing is really synced, so that recording is fast.
///
/// Only what happens below one folder is logged; what was there at the beginning counts as durable.
public final class CrashingFileSystem: FileSystemDouble {
    public let real = RealFileSystem()
    private let state: Mutex<State>

    private struct State {
        var log = DurabilityLog()
        /// Files and folders that exist, by inode: a number is given again only when its file is gone.
        var nodes: [UInt64: Int] = [:]
        var descriptors: [Int32: Int] = [:]
    }

    /// Logs what happens below `folder`, an existing folder. Throws `.missing`, `.io`.
    public init(recording folder: String) throws(LaminaError) {
        var state = State()
        guard case .success(let facts) = real.facts(at: folder, followLinks: true) else {
            throw LaminaError(.missing, folder, "no such folder")
        }
        state.nodes[facts.inode] = DurabilityLog.root
        try CrashingFileSystem.importContents(of: folder, as: DurabilityLog.root, into: &state, real)
        self.state = Mutex(state)
    }

    private static func importContents(
        of folder: String, as directory: Int, into state: inout State, _ real: RealFileSystem
    ) throws(LaminaError) {
        for name in try real.names(in: folder) {
            let path = folder + "/" + name
            guard case .success(let facts) = real.facts(at: path, followLinks: false),
                facts.isRegular || facts.isDirectory
            else { continue }
            let bytes = facts.isRegular ? try real.readWhole(path, limit: 1 << 30) : nil
            let node = state.log.addDurable(DurabilityLog.Entry(directory: directory, name: name), bytes)
            state.nodes[facts.inode] = node
            if facts.isDirectory { try importContents(of: path, as: node, into: &state, real) }
        }
    }

    /// What happened so far.
    public var log: DurabilityLog { state.withLock { $0.log } }

    // MARK: Calls that are logged

    public func open(_ path: String, _ mode: OpenMode) -> Int32 {
        state.withLock { state in
            // A lock's file may be there already.
            let earlier = real.facts(at: path, followLinks: false)
            return opened(real.open(path, mode), mode, existed: (try? earlier.get()) != nil, &state) {
                entry(path, $0)
            }
        }
    }

    public func open(_ name: String, in directory: Int32, _ mode: OpenMode) -> Int32 {
        state.withLock { state in
            let earlier = real.facts(of: name, in: directory)
            return opened(real.open(name, in: directory, mode), mode, existed: (try? earlier.get()) != nil, &state) {
                entry(name, in: directory, $0)
            }
        }
    }

    private func opened(
        _ descriptor: Int32, _ mode: OpenMode, existed: Bool, _ state: inout State,
        entry: (State) -> DurabilityLog.Entry?
    ) -> Int32 {
        guard descriptor >= 0, case .success(let facts) = real.facts(of: descriptor) else { return descriptor }
        if !existed, let entry = entry(state) { state.nodes[facts.inode] = state.log.addFile(entry) }
        state.descriptors[descriptor] = state.nodes[facts.inode]
        return descriptor
    }

    public func close(_ descriptor: Int32) -> Int32 {
        state.withLock { state in
            state.descriptors[descriptor] = nil
            return real.close(descriptor)
        }
    }

    public func write(_ descriptor: Int32, from buffer: UnsafeRawBufferPointer, at offset: UInt64) -> Int64 {
        state.withLock { state in
            let count = real.write(descriptor, from: buffer, at: offset)
            if count > 0, let file = state.descriptors[descriptor] {
                state.log.add(.write(file: file, offset: Int(offset), bytes: Array(buffer[0..<Int(count)])))
            }
            return count
        }
    }

    public func truncate(_ descriptor: Int32, to size: UInt64) -> Int32 {
        state.withLock { state in
            let status = real.truncate(descriptor, to: size)
            if status >= 0, let file = state.descriptors[descriptor] {
                state.log.add(.truncate(file: file, size: Int(size)))
            }
            return status
        }
    }

    public func sync(_ descriptor: Int32) -> Int32 {
        state.withLock { state in
            if let node = state.descriptors[descriptor] { state.log.add(.sync(node: node)) }
            return 0
        }
    }

    public func rename(_ from: String, to: String) -> Int32 { renamed(from, to, by: real.rename) }
    public func renameNew(_ from: String, to: String) -> Int32 { renamed(from, to, by: real.renameNew) }

    private func renamed(_ from: String, _ to: String, by rename: (String, String) -> Int32) -> Int32 {
        state.withLock { state in
            let node = node(from, state)
            let status = rename(from, to)
            if status >= 0, let node, let from = entry(from, state), let to = entry(to, state) {
                state.log.add(.entries([(from, nil), (to, node)]))
            }
            return status
        }
    }

    public func exchange(_ first: String, _ second: String) -> Int32 {
        state.withLock { state in
            let nodes = (node(first, state), node(second, state))
            let status = real.exchange(first, second)
            if status >= 0, let one = entry(first, state), let two = entry(second, state) {
                state.log.add(.entries([(one, nodes.1), (two, nodes.0)]))
            }
            return status
        }
    }

    public func unlink(_ path: String) -> Int32 {
        state.withLock { removed(real.unlink(path), entry(path, $0), &$0) }
    }

    public func unlink(_ name: String, in directory: Int32) -> Int32 {
        state.withLock { removed(real.unlink(name, in: directory), entry(name, in: directory, $0), &$0) }
    }

    public func removeDirectory(_ path: String) -> Int32 {
        state.withLock { removed(real.removeDirectory(path), entry(path, $0), &$0) }
    }

    private func removed(_ status: Int32, _ entry: DurabilityLog.Entry?, _ state: inout State) -> Int32 {
        if status >= 0, let entry { state.log.add(.entries([(entry, nil)])) }
        return status
    }

    public func makeDirectory(_ path: String) -> Int32 {
        state.withLock { state in
            let status = real.makeDirectory(path)
            if status >= 0, let entry = entry(path, state),
                case .success(let facts) = real.facts(at: path, followLinks: false)
            {
                state.nodes[facts.inode] = state.log.addDirectory(entry)
            }
            return status
        }
    }

    // MARK: Names

    private func node(_ path: String, _ state: State) -> Int? {
        guard case .success(let facts) = real.facts(at: path, followLinks: false) else { return nil }
        return state.nodes[facts.inode]
    }

    /// `nil` outside the folder that is logged.
    private func entry(_ path: String, _ state: State) -> DurabilityLog.Entry? {
        guard let slash = path.lastIndex(of: "/"),
            case .success(let facts) = real.facts(at: String(path[...slash]), followLinks: true),
            let directory = state.nodes[facts.inode]
        else { return nil }
        return DurabilityLog.Entry(directory: directory, name: String(path[path.index(after: slash)...]))
    }

    private func entry(_ name: String, in descriptor: Int32, _ state: State) -> DurabilityLog.Entry? {
        state.descriptors[descriptor].map { DurabilityLog.Entry(directory: $0, name: name) }
    }
}

/// The real file system without its waiting: for runs whose durability is not the question.
public struct UnsyncedFileSystem: FileSystemDouble {
    public let real = RealFileSystem()
    public init() {}
    public func sync(_ descriptor: Int32) -> Int32 { 0 }
}
