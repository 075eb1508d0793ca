import Foundation
import Glibc
import LayerStore
import StoreWriter
import TensorCore
import TestSupport
import Testing

/// Power loss at every point of a conversion: there is no store or a whole one, and the same conversion run again
/// makes the same bytes.
@Suite struct CrashTests {
    /// How a conversion begins.
    enum Beginning: CaseIterable {
        case nothing
        /// A run that was stopped after its first shard.
        case interrupted
        /// The same, but that shard was damaged since, and there is a leftover.
        case damaged
    }

    private static let survivals: [DiskState.Survival] =
        [.dropped, .kept, .zeros, .nameless] + (0..<4).map { .torn(seed: $0) }

    @Test(arguments: Beginning.allCases)
    func everyCrashLeavesNoStoreOrAWholeOne(_ beginning: Beginning) throws {
        try Fixtures.withScratchFolder { folder in
            let conversion = try SmallConversion(in: folder, chunkBytes: 1 << 15)
            try conversion.run(to: folder + "/whole", in: UnsyncedFileSystem())
            let expected = try SmallConversion.contents(folder + "/whole")
            let disk = folder + "/disk"
            try prepare(disk, beginning, conversion)
            let recording = try CrashingFileSystem(recording: disk)
            try conversion.run(to: disk + "/store", in: recording)
            let log = recording.log
            #expect(log.pointCount > 60, "the conversion was logged")

            let image = folder + "/image"
            var seen: Set<CrashImage> = []
            var storeCount = 0
            try log.forEachPoint { point, disk in
                for survival in CrashTests.survivals {
                    let found = disk.image(survival)
                    // A finished conversion is there whatever survives; the same image need not be looked at twice.
                    guard seen.insert(found).inserted || point == log.pointCount - 1 else { continue }
                    mkdir(image, 0o700)
                    try found.write(to: image)
                    let isStore = try check(image + "/store", against: expected, conversion, "\(point) \(survival)")
                    if isStore { storeCount += 1 }
                    if point == log.pointCount - 1 { #expect(isStore, "a finished store is durable: \(survival)") }
                    try FileManager.default.removeItem(atPath: image)
                }
            }
            #expect(storeCount > 0 && storeCount < seen.count)
        }
    }

    private func prepare(_ disk: String, _ beginning: Beginning, _ conversion: SmallConversion) throws {
        mkdir(disk, 0o700)
        guard beginning != .nothing else { return }
        #expect(throws: LaminaError.self) {
            try conversion.run(to: disk + "/store", in: UnsyncedFileSystem(), stopAfter: 302_000)
        }
        guard beginning == .damaged else { return }
        try Data([1]).write(to: URL(fileURLWithPath: disk + "/store/layers/.0000.h5.abc.tmp"))
        let shard = try #require(FileHandle(forWritingAtPath: disk + "/store/layers/0000.h5"))
        shard.seek(toFileOffset: 9000)
        shard.write(Data([0xAA, 0xBB]))
    }

    /// Whether there is a store, which must then be `expected`; if there is none, the conversion is run again.
    private func check(
        _ path: String, against expected: [String: Data], _ conversion: SmallConversion, _ comment: Comment
    ) throws -> Bool {
        do {
            let store = try Store(path: path, in: RealFileSystem())
            #expect(try damage(store).isEmpty, comment)
            let contents = try SmallConversion.contents(path)
            for (name, bytes) in expected { #expect(contents[name] == bytes, comment) }
            return true
        } catch let error as LaminaError {
            #expect(error.kind == .missing, comment)
            do {
                try conversion.run(to: path, in: UnsyncedFileSystem())
            } catch {
                Issue.record("\(comment): \(error)")
            }
            #expect(try SmallConversion.contents(path) == expected, comment)
            return false
        }
    }

    private func damage(_ store: Store) throws(LaminaError) -> [LaminaError] {
        let verification = Verification(store: store, level: .decode, kernels: SmallConversion.kernels)
        var damage = try verification.checkSideFiles()
        for shard in store.manifest.shards { damage += try verification.check(shard) { (_) throws(LaminaError) in } }
        return damage
    }
}
