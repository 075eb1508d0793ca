import Foundation
import Glibc

/// Files under Tests/Fixtures, and scratch folders.
public enum Fixtures {
    /// Tests/Fixtures.
    public static var folder: URL {
        URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("Fixtures")
    }

    /// The project's root.
    public static var project: URL { folder.deletingLastPathComponent().deletingLastPathComponent() }

    public static func path(_ relative: String) -> String { folder.appendingPathComponent(relative).path }

    public static func bytes(_ relative: String) throws -> [UInt8] {
        Array(try Data(contentsOf: folder.appendingPathComponent(relative)))
    }

    /// Golden checkpoints whose names begin with `prefix`, sorted.
    public static func models(_ prefix: String) -> [String] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: path("models"))) ?? []
        return names.filter { $0.hasPrefix(prefix) }.sorted()
    }

    /// The names of the folders in a folder of fixtures, sorted.
    public static func names(in folder: String) -> [String] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: path(folder))) ?? []
        return names.filter { !$0.contains(".") }.sorted()
    }

    /// Runs `body` with a new empty folder that is removed afterwards.
    ///
    /// `inMemory`: where the system has a file system for it, since tests that convert hundreds of times would otherwise
    /// wait for as many thousand syncs of a disk.
    public static func withScratchFolder<Value>(
        inMemory: Bool = false, _ body: (String) throws -> Value
    ) throws -> Value {
        let memory = "/dev/shm/"
        let parent = inMemory && access(memory, W_OK) == 0 ? memory : NSTemporaryDirectory()
        let folder = parent + "lamina-test-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        return try body(folder)
    }
}

/// The same sequence on every machine: a linear congruential generator, its high bits.
public struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: UInt64

    public init(seed: UInt64) { state = seed &* 2 &+ 1 }

    public mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        let high = state >> 32
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return high << 32 | state >> 32
    }
}
