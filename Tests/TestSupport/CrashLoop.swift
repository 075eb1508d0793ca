import Foundation
import TensorCore

/// Does something once, then puts back what the disk may hold after a power loss at any point of it.
public struct CrashLoop {
    /// A crash to look at.
    public struct Crash: CustomStringConvertible {
        /// Operations that were done before it.
        public let point: Int
        public let survival: DiskState.Survival
        /// Everything was done.
        public let isAfterwards: Bool
        /// For going on: what was there from the beginning keeps its identity, as it does on a real disk.
        public let fileSystem: any FileSystem

        public var description: String { "crash at \(point), \(survival)" }
    }

    private let disk: String

    /// For what happens in the folder `disk`.
    public init(disk: String) { self.disk = disk }

    private static let survivals: [DiskState.Survival] =
        [.dropped, .kept, .zeros, .nameless] + (0..<8).map { .torn(seed: $0) }

    /// Runs `act`, then calls `examine` for each different image at each point in turn, with the image in the folder.
    /// Returns how many there were.
    public func run(
        _ act: (any FileSystem) throws -> Void, examine: (Crash) throws -> Void
    ) throws -> Int {
        let recording = try CrashingFileSystem(recording: disk)
        let beginning = try FileIdentities(in: disk)
        try act(recording)
        let log = recording.log
        let files = FileManager.default
        try files.moveItem(atPath: disk, toPath: disk + ".recorded")
        var seen: Set<CrashImage> = []
        try log.forEachPoint { point, state in
            for survival in CrashLoop.survivals {
                let isAfterwards = point == log.pointCount - 1
                let image = state.image(survival)
                guard seen.insert(image).inserted || isAfterwards else { continue }
                try files.createDirectory(atPath: disk, withIntermediateDirectories: false)
                try image.write(to: disk)
                try examine(
                    Crash(
                        point: point, survival: survival, isAfterwards: isAfterwards,
                        fileSystem: DisguisingFileSystem(try FileIdentities(in: disk).matched(with: beginning))))
                try files.removeItem(atPath: disk)
            }
        }
        return seen.count
    }
}

/// Which file is which: what tells whether a file was replaced or written to.
private struct FileIdentities {
    private var facts: [String: FileFacts] = [:]

    init(in folder: String) throws {
        let paths = FileManager.default.enumerator(atPath: folder)
        while let path = paths?.nextObject() as? String {
            facts[path] = try RealFileSystem().facts(at: folder + "/" + path, followLinks: false).get()
        }
    }

    /// By inode now: the facts of the file that had the same path before.
    func matched(with earlier: FileIdentities) -> [UInt64: FileFacts] {
        var result: [UInt64: FileFacts] = [:]
        for (path, now) in facts { result[now.inode] = earlier.facts[path] }
        return result
    }
}

/// The real file system, but some files pass as others; nothing is really synced.
private struct DisguisingFileSystem: FileSystemDouble {
    let real = UnsyncedFileSystem()
    private let disguises: [UInt64: FileFacts]

    init(_ disguises: [UInt64: FileFacts]) { self.disguises = disguises }

    private func disguised(_ facts: FileFacts) -> FileFacts {
        guard let disguise = disguises[facts.inode] else { return facts }
        var facts = facts
        (facts.inode, facts.modified, facts.changed) = (disguise.inode, disguise.modified, disguise.changed)
        return facts
    }

    func facts(of descriptor: Int32) -> Result<FileFacts, SystemError> { real.facts(of: descriptor).map(disguised) }

    func facts(at path: String, followLinks: Bool) -> Result<FileFacts, SystemError> {
        real.facts(at: path, followLinks: followLinks).map(disguised)
    }

    func facts(of name: String, in directory: Int32) -> Result<FileFacts, SystemError> {
        real.facts(of: name, in: directory).map(disguised)
    }
}
