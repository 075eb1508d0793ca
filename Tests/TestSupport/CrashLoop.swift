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
    /// Images that differ only in the bytes of temporary files count as one. Returns how many there were.
    @discardableResult
    public func run(
        _ act: (any FileSystem) throws -> Void, examine: (Crash) throws -> Void
    ) throws -> Int {
        let recording = try CrashingFileSystem(recording: disk)
        let oldFiles = try OldFiles(in: disk)
        try act(DisguisingFileSystem(recording, oldFiles.disguises()))
        let log = recording.log
        let files = FileManager.default
        try files.moveItem(atPath: disk, toPath: disk + ".recorded")
        var seen: Set<CrashImage> = []
        try log.forEachPoint { point, state in
            for survival in CrashLoop.survivals {
                let isAfterwards = point == log.pointCount - 1
                let image = state.image(survival)
                guard seen.insert(image.withoutTemporaryBytes).inserted || isAfterwards else { continue }
                try files.createDirectory(atPath: disk, withIntermediateDirectories: false)
                try image.write(to: disk)
                try examine(
                    Crash(
                        point: point, survival: survival, isAfterwards: isAfterwards,
                        fileSystem: DisguisingFileSystem(UnsyncedFileSystem(), oldFiles.disguises())))
                try files.removeItem(atPath: disk)
            }
        }
        return seen.count
    }
}

extension CrashImage {
    fileprivate var withoutTemporaryBytes: CrashImage {
        var image = self
        for path in files.keys where path.hasSuffix(".tmp") { image.files[path] = [] }
        return image
    }
}

/// The files a crash loop begins with, which pass for the same ones in every image: by number and times, as they would on
/// a disk that is looked at again.
private struct OldFiles {
    private let disk: String
    private let paths: [String]

    init(in disk: String) throws {
        self.disk = disk
        paths = (FileManager.default.enumerator(atPath: disk)?.allObjects as? [String] ?? []).sorted()
    }

    /// Real numbers now, and those that are shown instead; a number that is freed and given again keeps its disguise.
    func disguises() -> [UInt64: UInt64] {
        var result: [UInt64: UInt64] = [:]
        for (index, path) in paths.enumerated() {
            let facts = RealFileSystem().facts(at: disk + "/" + path, followLinks: false)
            guard case .success(let facts) = facts, facts.isRegular else { continue }
            result[facts.inode] = 1 << 60 + UInt64(index)
        }
        return result
    }
}

/// Another file system, but some files show other numbers, and times that never change.
private struct DisguisingFileSystem<Base: FileSystem>: FileSystemDouble {
    let real: Base
    private let disguises: [UInt64: UInt64]

    init(_ real: Base, _ disguises: [UInt64: UInt64]) {
        self.real = real
        self.disguises = disguises
    }

    private func disguised(_ facts: FileFacts) -> FileFacts {
        guard let number = disguises[facts.inode] else { return facts }
        var facts = facts
        (facts.inode, facts.modified, facts.changed) = (number, 1, 1)
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
