import Foundation
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
        /// A run was stopped after its first shard.
        case interrupted
        /// The same, but that shard was damaged since, and there is a leftover.
        case damaged
    }

    @Test(arguments: Beginning.allCases)
    func everyCrashLeavesNoStoreOrAWholeOne(_ beginning: Beginning) throws {
        try Fixtures.withScratchFolder(inMemory: true) { folder in
            // Small enough that all is tried, chunks large enough that most of it is not one chunk after another.
            let conversion = try SmallConversion(in: folder, chunkBytes: 1 << 15)
            let expected = try whole(conversion, in: folder)
            let disk = folder + "/disk"
            let store = disk + "/store"
            try FileManager.default.createDirectory(atPath: disk, withIntermediateDirectories: true)
            if beginning != .nothing { try interrupt(conversion, at: disk, isDamaged: beginning == .damaged) }
            var storeCount = 0
            let images = try CrashLoop(disk: disk).run { fileSystem in
                try conversion.run(to: store, in: fileSystem)
            } examine: { crash in
                guard FileManager.default.fileExists(atPath: store + "/manifest.json") else {
                    #expect(!crash.isAfterwards, "a finished store is durable: \(crash)")
                    try conversion.run(to: store, in: UnsyncedFileSystem())
                    #expect(try SmallConversion.contents(store) == expected, "\(crash)")
                    return
                }
                storeCount += 1
                #expect(try StoredTensors(at: store).damage.isEmpty, "\(crash)")
                let contents = try SmallConversion.contents(store)
                #expect(expected.allSatisfy { contents[$0.key] == $0.value }, "\(crash)")
            }
            #expect(storeCount > 10)
            #expect(images - storeCount > 10)
        }
    }

    /// What an uninterrupted conversion makes.
    private func whole(_ conversion: SmallConversion, in folder: String) throws -> [String: Data] {
        try conversion.run(to: folder + "/whole", in: UnsyncedFileSystem())
        return try SmallConversion.contents(folder + "/whole")
    }

    /// Leaves what a conversion leaves that is killed with its first shard recorded and the second one begun.
    private func interrupt(_ conversion: SmallConversion, at disk: String, isDamaged: Bool) throws {
        let recording = try CrashingFileSystem(recording: disk)
        try conversion.run(to: disk + "/store", in: recording)
        try FileManager.default.removeItem(atPath: disk)
        try FileManager.default.createDirectory(atPath: disk, withIntermediateDirectories: true)
        var last: CrashImage?
        recording.log.forEachPoint { _, state in
            let image = state.image(.kept)
            let partial = image.files["store/manifest.partial.json"].map { String(decoding: $0, as: UTF8.self) }
            if let partial, partial.contains("0000.h5"), !partial.contains("unused.h5") { last = image }
        }
        try #require(last).write(to: disk)
        guard isDamaged else { return }
        try Data([1]).write(to: URL(fileURLWithPath: disk + "/store/layers/.0000.h5.abc.tmp"))
        let shard = try #require(FileHandle(forWritingAtPath: disk + "/store/layers/0000.h5"))
        shard.seek(toFileOffset: 9000)
        shard.write(Data([0xAA, 0xBB]))
    }

    /// Power loss while originals are deleted, after the conversion or during it: every tensor is in its original or in a
    /// shard that decodes to it, and the same command run again finishes.
    @Test(arguments: [false, true])
    func everyCrashWhileDeletingLosesNothing(_ isProgressive: Bool) throws {
        // On a disk whose file system gives the numbers of files that are gone to new ones.
        try Fixtures.withScratchFolder { folder in
            let disk = folder + "/disk"
            let conversion = try SmallConversion(in: disk, chunkBytes: 1 << 15, isSplit: true)
            let expected = try whole(conversion, in: folder)
            let store = disk + "/store"
            let tensors = try StoredTensors(at: folder + "/whole").tensors
            var goneCount = 0
            let images = try CrashLoop(disk: disk).run { fileSystem in
                try conversion.convertAndDelete(to: store, progressively: isProgressive, in: fileSystem)
            } examine: { crash in
                let gone = conversion.names.indices.filter {
                    let bytes = FileManager.default.contents(atPath: conversion.source + "/" + conversion.names[$0])
                    return bytes != conversion.originals[conversion.names[$0]]
                }
                if !gone.isEmpty {
                    goneCount += 1
                    let stored = try StoredTensors(at: store)
                    #expect(stored.damage.isEmpty, "\(crash)")
                    let lost = tensors.filter { gone.contains($0.sourceFile) && !stored.tensors.contains($0) }
                    #expect(lost.isEmpty, "\(crash): lost \(lost.map(\.name))")
                }
                #expect(!crash.isAfterwards || gone.count == conversion.names.count, "deletion is durable: \(crash)")
                try conversion.convertAndDelete(to: store, progressively: isProgressive, in: crash.fileSystem)
                #expect(try SmallConversion.contents(store) == expected, "\(crash)")
                #expect(try FileManager.default.contentsOfDirectory(atPath: conversion.source).isEmpty, "\(crash)")
            }
            #expect(goneCount > 10)
            #expect(images - goneCount > 10)
        }
    }

    /// Power loss while originals are restored: what has its name has its bytes, and the next run completes it.
    @Test func everyCrashWhileRestoringLeavesWholeFiles() throws {
        try Fixtures.withScratchFolder(inMemory: true) { folder in
            let fixture = try RestoreFixture(in: folder, chunkBytes: 1 << 15)
            let originals = try fixture.originals()
            let disk = folder + "/disk"
            let target = disk + "/restored"
            try FileManager.default.createDirectory(atPath: disk, withIntermediateDirectories: true)
            let images = try CrashLoop(disk: disk).run { fileSystem in
                try fixture.restore(to: target, in: fileSystem, threads: 1)
            } examine: { crash in
                let found = try SmallConversion.contents(target).filter { originals[$0.key] != nil }
                #expect(found.allSatisfy { originals[$0.key] == $0.value }, "\(crash)")
                #expect(!crash.isAfterwards || found.count == originals.count, "restored files are durable: \(crash)")
                try fixture.restore(to: target, in: crash.fileSystem, threads: 1)
                #expect(try SmallConversion.contents(target) == originals, "\(crash)")
            }
            #expect(images > 30)
        }
    }

    /// Power loss while a store is replaced: the old one or the new one is there, whole.
    @Test func everyCrashWhileOverwritingLeavesAStore() throws {
        try Fixtures.withScratchFolder(inMemory: true) { folder in
            let (old, new) = (
                try SmallConversion(in: folder + "/old", chunkBytes: 1 << 20),
                try SmallConversion(in: folder + "/new", chunkBytes: 1 << 20, isSplit: true)
            )
            let disk = folder + "/disk"
            let store = disk + "/store"
            try FileManager.default.createDirectory(atPath: disk, withIntermediateDirectories: true)
            try old.run(to: store, in: UnsyncedFileSystem())
            let expected = [try SmallConversion.contents(store), try whole(new, in: folder)]
            var counts = [0, 0]
            try CrashLoop(disk: disk).run { fileSystem in
                let replacement = StoreReplacement(of: store, name: "store", parent: disk, in: fileSystem)
                try new.run(to: replacement.workPath, in: fileSystem)
                try replacement.swap()
                try replacement.removeOld()
            } examine: { crash in
                let contents = try SmallConversion.contents(store)
                let index = expected.firstIndex { whole in whole.allSatisfy { contents[$0.key] == $0.value } }
                counts[try #require(index, "\(crash)")] += 1
                #expect(!crash.isAfterwards || index == 1, "\(crash)")
                // As the next run begins: what is left of the old store goes first.
                let replacement = StoreReplacement(of: store, name: "store", parent: disk, in: crash.fileSystem)
                try replacement.check()
                let finding = try new.conversion(for: replacement.workPath, in: crash.fileSystem).find(
                    at: replacement.workPath)
                if index == 0 {
                    if case .noStore = finding { try new.run(to: replacement.workPath, in: crash.fileSystem) }
                    try replacement.swap()
                }
                try replacement.removeOld()
                #expect(try SmallConversion.contents(disk).count == expected[1].count + 1, "\(crash)")
                #expect(try SmallConversion.contents(store) == expected[1], "\(crash)")
            }
            #expect(counts.min() ?? 0 > 5)
        }
    }
}

extension SmallConversion {
    /// The conversion that `run` runs.
    fileprivate func conversion(for store: String, in fileSystem: any FileSystem) throws(LaminaError) -> Conversion {
        Conversion(
            plan: plan(try open(for: store, in: fileSystem)), options: Conversion.Options(threads: 1),
            kernels: SmallConversion.kernels, fileSystem: fileSystem)
    }

    /// What `lamina-convert` does to convert and delete the originals, run once or again.
    fileprivate func convertAndDelete(
        to store: String, progressively: Bool, in fileSystem: any FileSystem
    ) throws(LaminaError) {
        if case .noStore = try conversion(for: store, in: fileSystem).find(at: store) {
            try run(to: store, in: fileSystem, progressively: progressively)
            if progressively { return }
        }
        var deletion = try OriginalsDeletion(
            of: try Store(path: store, in: fileSystem), permissions: OriginalsDeletion.Permissions())
        _ = try deletion.run(threads: 1, kernels: SmallConversion.kernels) { (_) throws(LaminaError) in }
    }
}

/// What a store, finished or not, says it holds, and whether it does.
private struct StoredTensors {
    let tensors: [Manifest.Tensor]
    let damage: [LaminaError]

    init(at path: String) throws {
        let real = RealFileSystem()
        let store: Store
        if try real.exists(path + "/" + Manifest.fileName) {
            store = try Store(path: path, in: real)
        } else {
            let partial = try #require(try PartialManifest.read(in: path, real))
            let manifest = Manifest(
                tool: Manifest.Tool(version: laminaVersion, zstd: "", hdf5: ""), architecture: "llama",
                chunkBytes: 1 << 15, source: partial.source, shards: partial.shards, tied: [],
                sideFiles: partial.sideFiles)
            store = Store(path: path, manifest: manifest, in: real)
        }
        let verification = Verification(store: store, level: .decode, kernels: SmallConversion.kernels)
        var damage = try verification.checkSideFiles()
        for shard in store.manifest.shards { damage += try verification.check(shard) { (_) throws(LaminaError) in } }
        self.damage = damage
        tensors = store.manifest.shards.flatMap(\.tensors)
    }
}
