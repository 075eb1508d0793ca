import CKernels
import Foundation
import Glibc
import LayerStore
import StoreWriter
import TensorCore
import TestSupport
import Testing

@Suite struct ConversionTests {
    private func verify(_ path: String) throws -> [LaminaError] {
        let store = try Store(path: path, in: RealFileSystem())
        let verification = Verification(store: store, level: .decode, kernels: SmallConversion.kernels)
        var damage = try verification.checkSideFiles()
        for shard in store.manifest.shards { damage += try verification.check(shard) { (_) throws(LaminaError) in } }
        return damage
    }

    /// Equal bytes for any thread count and instruction set; decoded tensors equal the source.
    @Test(arguments: [4096, 1 << 20])
    func bytesDoNotDependOnThreadsOrKernels(_ chunkBytes: Int) throws {
        try Fixtures.withScratchFolder { folder in
            let conversion = try SmallConversion(in: folder, chunkBytes: chunkBytes)
            try conversion.run(to: folder + "/one")
            #expect(try verify(folder + "/one").isEmpty)
            let expected = try SmallConversion.contents(folder + "/one")
            #expect(
                expected.keys.sorted() == [
                    "layers/0000.h5", "layers/unused.h5", "manifest.json", "side/config.json",
                    "side/source/model.safetensors.header",
                ])
            let tables = [LAMINA_ISA_PORTABLE, LAMINA_ISA_AVX2, LAMINA_ISA_AVX512, LAMINA_ISA_NEON]
            for (index, isa) in tables.enumerated() {
                try conversion.run(
                    to: folder + "/\(index)", threads: index + 1, kernels: try #require(lamina_kernels_for(isa)))
                #expect(try SmallConversion.contents(folder + "/\(index)") == expected)
            }
        }
    }

    @Test(arguments: [511, 1000, 4096])
    func shortCountsAndInterruptionsChangeNothing(_ shortCount: Int) throws {
        try Fixtures.withScratchFolder { folder in
            let conversion = try SmallConversion(in: folder)
            try conversion.run(to: folder + "/a")
            try conversion.run(to: folder + "/b", in: FaultyFileSystem(shortCount: shortCount, interruptEvery: 3))
            #expect(try SmallConversion.contents(folder + "/a") == SmallConversion.contents(folder + "/b"))
        }
    }

    @Test func interruptedConversionsAreCompleted() throws {
        try Fixtures.withScratchFolder { folder in
            let conversion = try SmallConversion(in: folder)
            try conversion.run(to: folder + "/whole")
            let expected = try SmallConversion.contents(folder + "/whole")
            for bytes: UInt64 in [0, 5000, 100_000, 310_000] {
                let store = folder + "/store\(bytes)"
                #expect(throws: LaminaError.self) { try conversion.run(to: store, stopAfter: bytes) }
                let unfinished = #expect(throws: LaminaError.self) { try Store(path: store, in: RealFileSystem()) }
                #expect(unfinished?.kind == .missing)
                // A planted leftover and a damaged finished shard must not survive.
                try Data([1]).write(to: URL(fileURLWithPath: store + "/layers/.0000.h5.abc.tmp"))
                if let shard = FileHandle(forWritingAtPath: store + "/layers/0000.h5") {
                    shard.seek(toFileOffset: 9000)
                    shard.write(Data([0xAA, 0xBB]))
                }
                try conversion.run(to: store)
                #expect(try SmallConversion.contents(store) == expected)
            }
        }
    }

    @Test func destinationsAreNeverOverwritten() throws {
        try Fixtures.withScratchFolder { folder in
            let conversion = try SmallConversion(in: folder)
            try conversion.run(to: folder + "/store")
            let before = try SmallConversion.contents(folder + "/store")
            func kind(_ name: String) -> LaminaError.Kind? {
                do throws(LaminaError) {
                    try conversion.run(to: folder + "/" + name)
                    return nil
                } catch { return error.kind }
            }
            #expect(kind("store") == .cannotCreate)
            #expect(kind("source/model.safetensors") == .cannotCreate)
            symlink(folder + "/store", folder + "/link")
            #expect(kind("link") == .cannotCreate)
            mkdir(folder + "/full", 0o700)
            try Data([1]).write(to: URL(fileURLWithPath: folder + "/full/precious"))
            #expect(kind("full") == .cannotCreate)
            #expect(kind("absent/store") == .cannotCreate)
            mkdir(folder + "/empty", 0o700)
            #expect(kind("empty") == nil)
            #expect(try SmallConversion.contents(folder + "/store") == before)
        }
    }

    @Test func aSecondWriterStopsAtOnce() throws {
        try Fixtures.withScratchFolder { folder in
            let conversion = try SmallConversion(in: folder)
            #expect(throws: LaminaError.self) { try conversion.run(to: folder + "/store", stopAfter: 5000) }
            let holder = try OpenFile(folder + "/store/.lamina.lock", .lockFile, in: RealFileSystem())
            #expect(try holder.tryLock())
            let error = #expect(throws: LaminaError.self) { try conversion.run(to: folder + "/store") }
            #expect(error?.kind == .locked)
            #expect(error?.found?.contains("process \(getpid())") == true)
        }
    }
}
