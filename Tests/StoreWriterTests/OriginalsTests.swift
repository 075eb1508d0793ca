import Foundation
import Glibc
import LayerStore
import TensorCore
import TestSupport
import Testing

@testable import StoreWriter

/// Originals go when, and only when, everything says that they may.
@Suite struct OriginalsTests {
    private func remaining(_ conversion: SmallConversion) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: conversion.source).sorted()
    }

    private func delete(
        _ store: String, _ permissions: OriginalsDeletion.Permissions = OriginalsDeletion.Permissions(),
        in fileSystem: any FileSystem = RealFileSystem()
    ) throws(LaminaError) -> [OriginalsDeletion.Entry] {
        var deletion = try OriginalsDeletion(
            of: try Store(path: store, in: fileSystem), permissions: permissions)
        return try deletion.run(threads: 2, kernels: SmallConversion.kernels) { (_) throws(LaminaError) in }
    }

    private func isDeleted(_ entry: OriginalsDeletion.Entry) -> Bool {
        if case .deleted = entry.outcome { true } else { false }
    }

    /// Makes a store of a source in three files.
    private func withStore(_ body: (_ folder: String, _ conversion: SmallConversion, _ store: String) throws -> Void)
        throws
    {
        try Fixtures.withScratchFolder(inMemory: true) { folder in
            let conversion = try SmallConversion(in: folder, chunkBytes: 1 << 20, isSplit: true)
            try conversion.run(to: folder + "/store")
            try body(folder, conversion, folder + "/store")
        }
    }

    @Test func provenOriginalsAreDeletedAndRecorded() throws {
        try withStore { _, conversion, store in
            let before = try SmallConversion.contents(store)
            let entries = try delete(store)
            #expect(entries.map(\.path) == conversion.names)
            #expect(entries.allSatisfy(isDeleted))
            #expect(try remaining(conversion).isEmpty)
            #expect(try SmallConversion.contents(store) == before)
            let record = try #require(try OriginalsRecord.read(in: store, RealFileSystem()))
            for file in record.files {
                #expect(file.state == .deleted && file.time > 1_700_000_000)
                let original = try #require(conversion.originals[file.path])
                #expect(file.digest == SHA256.digest(of: [UInt8](original)))
            }
            #expect(try delete(store).allSatisfy { $0.outcome == .gone })
        }
    }

    /// A flipped bit, a missing shard, a damaged side file: nothing is deleted.
    @Test func aDamagedStoreDeletesNothing() throws {
        try withStore { _, conversion, store in
            for name in [
                "layers/0000.h5", "layers/unused.h5", "side/config.json", "side/source/\(conversion.names[0]).header",
            ] {
                let path = store + "/" + name
                let whole = try Data(contentsOf: URL(fileURLWithPath: path))
                var damaged = whole
                damaged[whole.count / 2] ^= 4
                try damaged.write(to: URL(fileURLWithPath: path))
                let error = #expect(throws: LaminaError.self) { try delete(store) }
                #expect(error?.kind == .damaged && error?.subject.hasSuffix(name) == true, "\(name)")
                try FileManager.default.removeItem(atPath: path)
                #expect(throws: LaminaError.self) { try delete(store) }
                try whole.write(to: URL(fileURLWithPath: path))
                #expect(try remaining(conversion) == conversion.names)
            }
            #expect(try delete(store).allSatisfy(isDeleted))
        }
    }

    /// What was changed since it was converted stays, with the reason; the others go.
    @Test(arguments: ["touched", "edited", "replaced", "appended", "linked", "symbolic", "folder", "gone"])
    func aFileThatIsNotWhatWasConvertedStays(_ change: String) throws {
        try withStore { folder, conversion, store in
            let path = conversion.source + "/" + conversion.names[1]
            let original = try #require(conversion.originals[conversion.names[1]])
            var expected: (reason: String, isChanged: Bool) = ("", true)
            switch change {
            case "touched":
                #expect(utimes(path, nil) == 0)
                expected.reason = "since it was converted"
            case "edited":
                let handle = try #require(FileHandle(forWritingAtPath: path))
                handle.seek(toFileOffset: 5000)
                handle.write(Data([1]))
                expected.reason = "written to"
            case "replaced":
                // The old one stays under another name, so that its inode is not used again.
                #expect(rename(path, folder + "/moved") == 0)
                try original.write(to: URL(fileURLWithPath: path))
                expected.reason = "replaced by another file"
            case "appended":
                let handle = try #require(FileHandle(forWritingAtPath: path))
                handle.seekToEndOfFile()
                handle.write(Data([1]))
                expected.reason = "another size"
            case "linked":
                #expect(link(path, folder + "/other") == 0)
                expected = ("2 names", false)
            case "symbolic":
                #expect(rename(path, folder + "/moved") == 0 && symlink(folder + "/moved", path) == 0)
                expected.reason = "not a regular file"
            case "folder":
                #expect(unlink(path) == 0 && mkdir(path, 0o700) == 0)
                expected.reason = "not a regular file"
            default: #expect(unlink(path) == 0)
            }
            let entries = try delete(store)
            #expect(isDeleted(entries[0]) && isDeleted(entries[2]))
            if change == "gone" {
                #expect(entries[1].outcome == .gone)
            } else {
                guard case .kept(let reason, let isChanged) = entries[1].outcome else {
                    Issue.record("\(entries[1])")
                    return
                }
                #expect(reason.contains(expected.reason) && isChanged == expected.isChanged, "\(reason)")
                #expect(try remaining(conversion) == [conversion.names[1]])
            }
        }
    }

    /// A writer that leaves size and times as they were is found by the bytes.
    @Test func bytesAreComparedNotOnlyTimes() throws {
        try withStore { _, conversion, store in
            let path = conversion.source + "/" + conversion.names[0]
            for offset in [2, 9000] {
                var bytes = try #require(conversion.originals[conversion.names[0]])
                bytes[offset] ^= 1
                try bytes.write(to: URL(fileURLWithPath: path))
                var record = try #require(try OriginalsRecord.read(in: store, RealFileSystem()))
                guard case .success(let facts) = RealFileSystem().facts(at: path, followLinks: false) else { return }
                record.files[0].identity = OriginalsRecord.Identity(facts)
                try record.write(to: store, RealFileSystem())
                let contents = try OriginalContents(0, of: try Store(path: store, in: RealFileSystem()))
                let file = try OpenFile(path, .read, in: RealFileSystem())
                let error = #expect(throws: LaminaError.self) {
                    try contents.check(file) { (_) throws(LaminaError) in }
                }
                #expect(error?.problem.contains("not those that were converted") == true)
                #expect((error?.tensor != nil) == (offset == 9000))
            }
            let outcome = try delete(store)[0].outcome
            guard case .kept(_, true) = outcome else {
                Issue.record("\(outcome)")
                return
            }
            #expect(try remaining(conversion) == [conversion.names[0]])
        }
    }

    @Test func whatIsNotAllowedIsRefused() throws {
        let path = "/store"
        var permissions = OriginalsDeletion.Permissions()
        let tensor = Manifest.Tensor(
            name: "t", storedName: "t", dtype: .bfloat16, shape: Shape([1]), layout: .rows, codec: "q", sourceFile: 0,
            sourceOffset: 0, digest: SHA256.digest(of: []))
        func refusal(_ lossy: [Manifest.Tensor], _ version: String) -> LaminaError? {
            do throws(LaminaError) {
                try OriginalsDeletion.check(lossy: lossy, version: version, path: path, permissions)
                return nil
            } catch { return error }
        }
        #expect(refusal([], laminaVersion) == nil)
        #expect(refusal([tensor], laminaVersion)?.hint?.contains("--allow-lossy") == true)
        #expect(refusal([], "0.0.0")?.hint?.contains("--allow-other-version") == true)
        permissions.lossy = true
        permissions.otherVersion = true
        #expect(refusal([tensor], "0.0.0") == nil)
    }

    @Test func aStoreThatIsNotIndependentDeletesNothing() throws {
        try withStore { (folder, conversion, store) throws in
            // A shard that is a link elsewhere.
            #expect(rename(store + "/layers/0000.h5", folder + "/shard") == 0)
            #expect(symlink(folder + "/shard", store + "/layers/0000.h5") == 0)
            #expect(throws: LaminaError.self) { try delete(store) }
            #expect(rename(folder + "/shard", store + "/layers/0000.h5") == 0)
            // The folder of the originals behind a link.
            #expect(rename(conversion.source, folder + "/moved") == 0)
            #expect(symlink(folder + "/moved", conversion.source) == 0)
            let moved = #expect(throws: LaminaError.self) { try delete(store) }
            #expect(moved?.problem.contains("reached through a link") == true)
            #expect(unlink(conversion.source) == 0 && rename(folder + "/moved", conversion.source) == 0)
            // No record.
            #expect(rename(store + "/originals.json", folder + "/record") == 0)
            #expect(throws: LaminaError.self) { try delete(store) }
            #expect(rename(folder + "/record", store + "/originals.json") == 0)
            #expect(try remaining(conversion) == conversion.names)
            #expect(try delete(store).allSatisfy(isDeleted))
        }
    }

    /// Every system call of a deletion fails once, or from then on: the store is as it was, no file is gone that the
    /// record does not know of, and the next run finishes.
    @Test(arguments: [EIO, EACCES], [false, true])
    func everyFailingCallOfADeletionIsSurvived(_ error: Int32, _ isPersistent: Bool) throws {
        try withStore { _, conversion, store in
            let before = try SmallConversion.contents(store)
            for number in 1... {
                let faulty = FaultyFileSystem(
                    fault: FaultyFileSystem.Fault(number: number, error: error, isPersistent: isPersistent))
                let failure = Result { () throws(LaminaError) in try delete(store, in: faulty) }
                let present = Set(try remaining(conversion))
                let record = try #require(try OriginalsRecord.read(in: store, RealFileSystem()))
                for file in record.files where !present.contains(file.path) {
                    #expect(file.state != .present && file.digest != nil, "call \(number)")
                }
                if faulty.callCount < number {
                    #expect(try failure.get().allSatisfy { isDeleted($0) })
                    #expect(number > 60, "the loop reached the end of the deletion")
                    break
                }
                let entries = try delete(store)
                #expect(entries.allSatisfy { isDeleted($0) || $0.outcome == .gone })
                #expect(try remaining(conversion).isEmpty)
                try? FileManager.default.removeItem(atPath: store + "/.lamina.lock")
                #expect(try SmallConversion.contents(store).filter { !$0.key.hasSuffix(".tmp") } == before)
                // The same originals again: their identity is new, the record must say so.
                try restore(conversion, store)
            }
        }
    }

    /// Puts the originals back as if they had never gone.
    private func restore(_ conversion: SmallConversion, _ store: String) throws {
        var record = try #require(try OriginalsRecord.read(in: store, RealFileSystem()))
        for (index, name) in conversion.names.enumerated() {
            let path = conversion.source + "/" + name
            try #require(conversion.originals[name]).write(to: URL(fileURLWithPath: path))
            guard case .success(let facts) = RealFileSystem().facts(at: path, followLinks: false) else { return }
            record.files[index] = OriginalsRecord.File(path: name, identity: OriginalsRecord.Identity(facts))
        }
        try record.write(to: store, RealFileSystem())
    }
}
