import TensorCore

/// What a program asked of the disk, in order, and what the disk may hold if the power fails after any part of it.
///
/// The rules are those of ALICE (Pillai and others, OSDI 2014) and of SQLite's crash tests: written bytes are certain
/// once their file was synced, names once their folder was; until then the disk has any of them, in sectors of 512
/// bytes, and a file may have its new size before it has its bytes.
public struct DurabilityLog: Sendable {
    /// A name in a folder.
    struct Entry: Hashable, Sendable {
        var directory: Int
        var name: String
    }

    enum Operation: Sendable {
        case write(file: Int, offset: Int, bytes: [UInt8])
        case truncate(file: Int, size: Int)
        case sync(node: Int)
        /// What names stand for from now on, all at once.
        case entries([(Entry, Int?)])
    }

    /// The folder that is logged.
    static let root = 0

    private(set) var operations: [Operation] = []
    private(set) var beginning = DiskState()
    private var nodeCount = 1

    /// How much can have happened before a crash: 0 for nothing, then one more each.
    public var pointCount: Int { operations.count + 1 }

    mutating func add(_ operation: Operation) { operations.append(operation) }

    /// A file (or a folder, without bytes) from before.
    mutating func addDurable(_ entry: Entry, _ bytes: [UInt8]?) -> Int {
        let node = newNode()
        beginning.names[entry] = node
        if let bytes { beginning.files[node] = DiskState.File(durable: bytes) } else { beginning.folders.insert(node) }
        return node
    }

    /// A new file. What it is, is known from the beginning; only its name can get lost.
    mutating func addFile(_ entry: Entry) -> Int {
        let node = newNode()
        beginning.files[node] = DiskState.File()
        add(.entries([(entry, node)]))
        return node
    }

    mutating func addDirectory(_ entry: Entry) -> Int {
        let node = newNode()
        beginning.folders.insert(node)
        add(.entries([(entry, node)]))
        return node
    }

    private mutating func newNode() -> Int {
        nodeCount += 1
        return nodeCount - 1
    }

    /// Calls `body` with what the disk is certain and not certain to hold, at every point in turn.
    public func forEachPoint(_ body: (_ point: Int, _ disk: DiskState) throws -> Void) rethrows {
        var disk = beginning
        try body(0, disk)
        for (index, operation) in operations.enumerated() {
            disk.apply(operation)
            try body(index + 1, disk)
        }
    }
}

/// A disk in the middle of things: what is certain, and what is still on its way.
public struct DiskState: Sendable {
    struct File: Sendable {
        enum Change: Sendable {
            case write(offset: Int, bytes: [UInt8])
            case truncate(size: Int)
        }

        var durable: [UInt8] = []
        /// Since the last sync, in order.
        var pending: [Change] = []
    }

    struct NameChange: Sendable {
        var entries: [(DurabilityLog.Entry, Int?)]
        /// The folders of these names that were not synced since.
        var unsynced: Set<Int>
    }

    var files: [Int: File] = [:]
    var folders: Set<Int> = [DurabilityLog.root]
    var names: [DurabilityLog.Entry: Int] = [:]
    var pendingNames: [NameChange] = []

    mutating func apply(_ operation: DurabilityLog.Operation) {
        switch operation {
        case .write(let file, let offset, let bytes):
            files[file]?.pending.append(.write(offset: offset, bytes: bytes))
        case .truncate(let file, let size):
            files[file]?.pending.append(.truncate(size: size))
        case .entries(let entries):
            pendingNames.append(NameChange(entries: entries, unsynced: Set(entries.map(\.0.directory))))
        case .sync(let node) where folders.contains(node):
            for index in pendingNames.indices { pendingNames[index].unsynced.remove(node) }
            settleNames()
        case .sync(let node):
            guard let pending = files[node]?.pending else { return }
            for change in pending { files[node]?.durable.apply(change) }
            files[node]?.pending = []
        }
    }

    /// Takes over name changes that are certain, as far as none before them is not.
    private mutating func settleNames() {
        while let first = pendingNames.first, first.unsynced.isEmpty {
            set(first, in: &names)
            pendingNames.removeFirst()
        }
    }

    private func set(_ change: NameChange, in names: inout [DurabilityLog.Entry: Int]) {
        for (entry, node) in change.entries { names[entry] = node }
    }

    // MARK: After the crash

    /// What becomes of that which is not certain.
    public enum Survival: Sendable, Hashable {
        /// Nothing of it is left.
        case dropped
        /// All of it got there in time.
        case kept
        /// Names and sizes did, bytes did not: they are zero.
        case zeros
        /// Bytes did, names did not.
        case nameless
        /// Sectors, sizes and names as dice fall; names in order if the seed is even, any of them if it is odd.
        case torn(seed: UInt64)
    }

    /// Files and folders below the root, as they are found after the crash.
    public func image(_ survival: Survival) -> CrashImage {
        var generator = SeededGenerator(seed: 0)
        if case .torn(let seed) = survival { generator = SeededGenerator(seed: seed) }
        var names = names
        for change in survivingNames(survival, &generator) { set(change, in: &names) }
        var image = CrashImage()
        var children: [Int: [(name: String, node: Int)]] = [:]
        // Sorted: the dice must fall the same way on every run.
        for (entry, node) in names.sorted(by: { ($0.key.directory, $0.key.name) < ($1.key.directory, $1.key.name) }) {
            children[entry.directory, default: []].append((entry.name, node))
        }
        var open = [(path: "", node: DurabilityLog.root)]
        while let folder = open.popLast() {
            for (name, node) in children[folder.node] ?? [] {
                let path = folder.path.isEmpty ? name : folder.path + "/" + name
                if let file = files[node] {
                    image.files[path] = file.bytes(after: survival, &generator)
                } else {
                    image.folders.append(path)
                    open.append((path, node))
                }
            }
        }
        return image
    }

    private func survivingNames(_ survival: Survival, _ generator: inout SeededGenerator) -> [NameChange] {
        switch survival {
        case .dropped, .nameless: return pendingNames.filter(\.unsynced.isEmpty)
        case .kept, .zeros: return pendingNames
        case .torn(let seed) where seed % 2 == 0:
            let count = Int.random(in: 0...pendingNames.count, using: &generator)
            return pendingNames.enumerated().filter { $0.offset < count || $0.element.unsynced.isEmpty }.map(\.element)
        case .torn:
            return pendingNames.filter { $0.unsynced.isEmpty || Bool.random(using: &generator) }
        }
    }
}

extension DiskState.File {
    private static let sector = 512

    func bytes(after survival: DiskState.Survival, _ generator: inout SeededGenerator) -> [UInt8] {
        var result = durable
        switch survival {
        case .dropped: break
        case .kept, .nameless: for change in pending { result.apply(change) }
        case .zeros:
            for change in pending {
                switch change {
                case .write(let offset, let bytes):
                    result.resize(to: max(result.count, offset + bytes.count))
                case .truncate(let size): result.resize(to: size)
                }
            }
        case .torn: tear(&result, &generator)
        }
        return result
    }

    private func tear(_ result: inout [UInt8], _ generator: inout SeededGenerator) {
        // Of three files one has lost little, one half, one most.
        let odds = UInt64.random(in: 1...3, using: &generator)
        for change in pending {
            guard case .write(let offset, let bytes) = change else {
                if generator.next() % 4 < odds { result.apply(change) }
                continue
            }
            if generator.next() % 4 < odds { result.resize(to: max(result.count, offset + bytes.count)) }
            var begin = 0
            while begin < bytes.count {
                let rest = Self.sector - (offset + begin) % Self.sector
                let end = min(bytes.count, begin + rest)
                if generator.next() % 4 < odds {
                    result.apply(.write(offset: offset + begin, bytes: Array(bytes[begin..<end])))
                }
                begin = end
            }
        }
    }
}

extension [UInt8] {
    fileprivate mutating func resize(to size: Int) {
        if size < count { removeLast(count - size) } else { append(contentsOf: repeatElement(0, count: size - count)) }
    }

    fileprivate mutating func apply(_ change: DiskState.File.Change) {
        switch change {
        case .truncate(let size): resize(to: size)
        case .write(let offset, let bytes):
            if count < offset + bytes.count { resize(to: offset + bytes.count) }
            replaceSubrange(offset..<(offset + bytes.count), with: bytes)
        }
    }
}

/// What is on a disk after a crash.
public struct CrashImage: Sendable, Hashable {
    /// Bytes by path.
    public internal(set) var files: [String: [UInt8]] = [:]
    /// Paths, parents first.
    public internal(set) var folders: [String] = []

    /// Makes it so in `folder`, which is empty. Throws `.cannotCreate`, `.io`.
    public func write(to folder: String) throws(LaminaError) {
        let real = RealFileSystem()
        for path in folders { try real.ensureDirectory(folder + "/" + path) }
        for (path, bytes) in files {
            let file = try OpenFile(folder + "/" + path, .createNew, in: real)
            try bytes.withBytes { (buffer) throws(LaminaError) in try file.write(buffer, at: 0) }
        }
    }
}
