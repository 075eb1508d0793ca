import Foundation
import Glibc
import LayerStore
import StoreWriter
import TensorCore
import TestSupport
import Testing

/// Quantizing under power loss and failing calls: there is no store or a whole one, the source is never touched, and the
/// same command run again makes the same bytes.
@Suite struct QuantizationFaultTests {
    private static let schemes: [any QuantizationScheme] = [BlockInt8(), EntropyCodedTiers()]

    @Test(arguments: schemes.indices)
    func everyCrashLeavesNoStoreOrAWholeOne(_ index: Int) throws {
        try Fixtures.withScratchFolder(inMemory: true) { folder in
            let scheme = QuantizationFaultTests.schemes[index]
            let quantization = try SmallQuantization(in: folder, scheme: scheme, chunkBytes: 1 << 15)
            try quantization.run(to: folder + "/whole", in: UnsyncedFileSystem())
            let expected = try SmallConversion.contents(folder + "/whole")
            let disk = folder + "/disk"
            let store = disk + "/store"
            try FileManager.default.createDirectory(atPath: disk, withIntermediateDirectories: true)
            var storeCount = 0
            let images = try CrashLoop(disk: disk).run { fileSystem in
                try quantization.run(to: store, in: fileSystem)
            } examine: { crash in
                guard FileManager.default.fileExists(atPath: store + "/manifest.json") else {
                    #expect(!crash.isAfterwards, "a finished store is durable: \(crash)")
                    try quantization.run(to: store, in: UnsyncedFileSystem())
                    #expect(try SmallConversion.contents(store) == expected, "\(crash)")
                    return
                }
                storeCount += 1
                #expect(try SmallQuantization.damage(store).isEmpty, "\(crash)")
                let contents = try SmallConversion.contents(store)
                #expect(expected.allSatisfy { contents[$0.key] == $0.value }, "\(crash)")
            }
            #expect(storeCount > 10)
            #expect(images - storeCount > 10)
        }
    }

    /// Every call fails once, or from then on.
    @Test(arguments: [(EIO, false), (EIO, true), (ENOSPC, false), (ENOSPC, true)])
    func everyFailingCallIsSurvived(_ error: Int32, _ isPersistent: Bool) throws {
        try Fixtures.withScratchFolder(inMemory: true) { folder in
            let quantization = try SmallQuantization(in: folder, scheme: EntropyCodedTiers(), chunkBytes: 1 << 20)
            let source = try SmallConversion.contents(folder + "/full")
            try quantization.run(to: folder + "/whole", in: UnsyncedFileSystem())
            let expected = try SmallConversion.contents(folder + "/whole")
            let store = folder + "/store"
            for number in 1... {
                let fault = FaultyFileSystem.Fault(number: number, error: error, isPersistent: isPersistent)
                let faulty = FaultyFileSystem(fault: fault)
                var failure: LaminaError?
                do throws(LaminaError) { try quantization.run(to: store, in: faulty) } catch { failure = error }
                let comment: Comment = "call \(number), error \(error)"
                if FileManager.default.fileExists(atPath: store + "/manifest.json") {
                    let left = try SmallConversion.contents(store)
                    #expect(expected.allSatisfy { left[$0.key] == $0.value }, comment)
                } else {
                    #expect(failure != nil, comment)
                    try quantization.run(to: store, in: UnsyncedFileSystem())
                    #expect(try SmallConversion.contents(store) == expected, comment)
                }
                try? FileManager.default.removeItem(atPath: store)
                if faulty.callCount < number {
                    #expect(failure == nil)
                    #expect(number > 80, "the loop reached the end of the run")
                    break
                }
            }
            #expect(try SmallConversion.contents(folder + "/full") == source)
        }
    }

    /// What an interrupted run left goes, however far it was; a folder that is none of ours stays.
    @Test(arguments: [UInt64(1), 20_000, 60_000])
    func unfinishedStoresAreRemoved(_ bytes: UInt64) throws {
        try Fixtures.withScratchFolder { folder in
            let quantization = try SmallQuantization(in: folder, scheme: BlockInt8())
            let store = folder + "/unfinished"
            #expect(throws: LaminaError.self) { try quantization.run(to: store, stopAfter: bytes) }
            let fileSystem = RealFileSystem()
            let source = try StoreSource(
                try Store(path: quantization.source, in: fileSystem), kernels: SmallConversion.kernels)
            let plan = quantization.plan(source)
            try #require(FileManager.default.fileExists(atPath: store + "/layers"))
            try StoreRemoval(of: store, in: fileSystem, hint: "").removeUnfinished(plan)
            #expect(!FileManager.default.fileExists(atPath: store))
            let other = folder + "/other/layers"
            try FileManager.default.createDirectory(atPath: other, withIntermediateDirectories: true)
            try Data("not ours".utf8).write(to: URL(fileURLWithPath: other + "/0000.h5"))
            try StoreRemoval(of: folder + "/other", in: fileSystem, hint: "").removeUnfinished(plan)
            #expect(FileManager.default.fileExists(atPath: other + "/0000.h5"))
        }
    }
}
