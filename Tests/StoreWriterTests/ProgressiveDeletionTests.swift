import Foundation
import Glibc
import LayerStore
import StoreWriter
import TensorCore
import TestSupport
import Testing

/// Originals that go while the conversion runs.
@Suite struct ProgressiveDeletionTests {
    private func remaining(_ conversion: SmallConversion) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: conversion.source).sorted()
    }

    /// The store a conversion without faults makes.
    private func reference(_ folder: String) throws -> [String: Data] {
        let conversion = try SmallConversion(in: folder + "/reference", chunkBytes: 1 << 20, isSplit: true)
        try conversion.run(to: folder + "/whole")
        return try SmallConversion.contents(folder + "/whole")
    }

    @Test func originalsGoAsSoonAsTheyAreStored() throws {
        try Fixtures.withScratchFolder { folder in
            let expected = try reference(folder)
            let conversion = try SmallConversion(in: folder, chunkBytes: 1 << 20, isSplit: true)
            let entries = try conversion.run(to: folder + "/store", progressively: true)
            #expect(entries.map(\.path).sorted() == conversion.names)
            #expect(try remaining(conversion).isEmpty)
            #expect(try SmallConversion.contents(folder + "/store") == expected)
        }
    }

    /// Every system call fails once, or from then on. At any moment each original is there, or recorded with its digest
    /// and all of its tensors in shards that the next run finds whole; and that run makes the store of a run without
    /// faults.
    @Test(arguments: [EIO, ENOSPC], [false, true])
    func everyFailingCallIsSurvived(_ error: Int32, _ isPersistent: Bool) throws {
        try Fixtures.withScratchFolder(inMemory: true) { folder in
            let expected = try reference(folder)
            for number in 1... {
                let conversion = try SmallConversion(in: folder, chunkBytes: 1 << 20, isSplit: true)
                let store = folder + "/store"
                let faulty = FaultyFileSystem(
                    fault: FaultyFileSystem.Fault(number: number, error: error, isPersistent: isPersistent))
                var failure: LaminaError?
                do throws(LaminaError) {
                    try conversion.run(to: store, in: faulty, progressively: true)
                } catch { failure = error }
                let present = Set(try remaining(conversion))
                for name in conversion.names where !present.contains(name) {
                    let file = try #require(try OriginalsRecord.read(in: store, RealFileSystem())?[name])
                    let original = try #require(conversion.originals[name])
                    #expect(file.state != .present && file.digest == SHA256.digest(of: [UInt8](original)))
                }
                if faulty.callCount < number {
                    #expect(failure == nil && present.isEmpty)
                    #expect(try SmallConversion.contents(store) == expected)
                    #expect(number > 150, "the loop reached the end of the conversion")
                    break
                }
                if !FileManager.default.fileExists(atPath: store + "/manifest.json") {
                    try conversion.run(to: store, progressively: true)
                    #expect(try remaining(conversion).isEmpty, "call \(number)")
                    #expect(try SmallConversion.contents(store) == expected, "call \(number)")
                }
                try FileManager.default.removeItem(atPath: store)
            }
        }
    }

    /// A conversion that stopped when it had deleted all originals but the last, which the second shard is made of.
    private func interrupted(in folder: String, _ store: String) throws -> SmallConversion {
        for number in 100... {
            let conversion = try SmallConversion(in: folder, chunkBytes: 1 << 20, isSplit: true)
            let fault = FaultyFileSystem.Fault(number: number, error: EIO, isPersistent: true)
            _ = try? conversion.run(to: store, in: FaultyFileSystem(fault: fault), progressively: true)
            if try remaining(conversion) == [conversion.names[2]] { return conversion }
            try #require(!FileManager.default.fileExists(atPath: store + "/manifest.json"))
            try FileManager.default.removeItem(atPath: store)
        }
        throw CancellationError()
    }

    /// What an interrupted run holds of deleted originals is never thrown away.
    @Test func workThatReplacesOriginalsIsKept() throws {
        try Fixtures.withScratchFolder(inMemory: true) { folder in
            let store = folder + "/store"
            let conversion = try interrupted(in: folder, store)
            let before = try SmallConversion.contents(store)
            let restart = #expect(throws: LaminaError.self) { try conversion.run(to: store, restart: true) }
            #expect(restart?.kind == .cannotCreate)
            #expect(restart?.problem.contains("all there is") == true)
            #expect(try SmallConversion.contents(store) == before)
            // A partial manifest that is lost: refused as well, and nothing of the folder changes.
            let partial = store + "/manifest.partial.json"
            let bytes = try Data(contentsOf: URL(fileURLWithPath: partial))
            try Data("{}".utf8).write(to: URL(fileURLWithPath: partial))
            #expect(throws: LaminaError.self) { try conversion.run(to: store) }
            #expect(FileManager.default.fileExists(atPath: store + "/layers/0000.h5"))
            try bytes.write(to: URL(fileURLWithPath: partial))
            // A shard that decayed meanwhile cannot be made again, and that is said.
            let shard = store + "/layers/0000.h5"
            let whole = try Data(contentsOf: URL(fileURLWithPath: shard))
            var damaged = whole
            damaged[20_000] ^= 1
            try damaged.write(to: URL(fileURLWithPath: shard))
            let lost = #expect(throws: LaminaError.self) { try conversion.run(to: store) }
            #expect(lost?.problem.contains("deleted when its tensors were stored") == true)
            #expect(try Data(contentsOf: URL(fileURLWithPath: shard)) == damaged)
            try whole.write(to: URL(fileURLWithPath: shard))
            try conversion.run(to: store)
            let expected = try reference(folder)
            #expect(try SmallConversion.contents(store) == expected)
        }
    }

    /// Shards of an interrupted run do not count if their source is another file now.
    @Test func aSourceReplacedBetweenRunsIsReadAgain() throws {
        try Fixtures.withScratchFolder { folder in
            let conversion = try SmallConversion(in: folder, chunkBytes: 1 << 20, isSplit: true)
            let store = folder + "/store"
            #expect(throws: LaminaError.self) { try conversion.run(to: store, stopAfter: 310_600) }
            var bytes = try #require(conversion.originals[conversion.names[0]])
            bytes[bytes.count - 10] ^= 0x11
            try bytes.write(to: URL(fileURLWithPath: conversion.source + "/" + conversion.names[0]))
            try conversion.run(to: store)
            let interrupted = try SmallConversion.contents(store)
            try conversion.run(to: folder + "/fresh")
            #expect(try SmallConversion.contents(folder + "/fresh") == interrupted)
        }
    }
}
