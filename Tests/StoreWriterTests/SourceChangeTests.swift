import Foundation
import Glibc
import StoreWriter
import TensorCore
import TestSupport
import Testing

/// A source that changes while it is read, or between two runs (case 31): no store is made of two versions.
@Suite struct SourceChangeTests {
    /// What somebody does to the file.
    enum Change: CaseIterable, Sendable {
        case append, rewrite, rewriteUnderTheSameTime, replace, truncate, remove, touch

        func make(_ path: String) {
            let url = URL(fileURLWithPath: path)
            guard let content = try? Data(contentsOf: url), let handle = FileHandle(forUpdatingAtPath: path) else {
                return
            }
            switch self {
            case .append:
                handle.seekToEndOfFile()
                handle.write(Data([0]))
            case .rewrite:
                handle.seek(toFileOffset: UInt64(content.count) - 1)
                handle.write(Data([content[content.count - 1] ^ 1]))
            case .rewriteUnderTheSameTime:
                let date = try? FileManager.default.attributesOfItem(atPath: path)[.modificationDate]
                handle.seek(toFileOffset: UInt64(content.count) - 1)
                handle.write(Data([content[content.count - 1] ^ 1]))
                try? FileManager.default.setAttributes([.modificationDate: date ?? Date()], ofItemAtPath: path)
            case .replace: try? content.write(to: url, options: .atomic)
            case .truncate: handle.truncateFile(atOffset: UInt64(content.count / 2))
            case .remove: unlink(path)
            case .touch: try? FileManager.default.setAttributes([.modificationDate: Date()], ofItemAtPath: path)
            }
        }
    }

    /// The file as it looks some time after it was written: the system's clock for files ticks every few milliseconds.
    private func conversion(in folder: String) throws -> SmallConversion {
        let conversion = try SmallConversion(in: folder)
        let file = conversion.source + "/" + conversion.names[0]
        let past = Date(timeIntervalSince1970: 1_700_000_000)
        try FileManager.default.setAttributes([.modificationDate: past], ofItemAtPath: file)
        usleep(20_000)
        return conversion
    }

    @Test(arguments: Change.allCases) func changesDuringAConversionAreFound(_ change: Change) throws {
        try Fixtures.withScratchFolder { folder in
            let conversion = try conversion(in: folder)
            let file = conversion.source + "/" + conversion.names[0]
            let error = #expect(throws: LaminaError.self) {
                try conversion.run(to: folder + "/store") { change.make(file) }
            }
            #expect(error?.kind == .malformed)
            #expect(error?.problem == "the file changed while being read")
            #expect(error?.subject == file)
            #expect(!FileManager.default.fileExists(atPath: folder + "/store/manifest.json"))
        }
    }

    /// Other weights of the same names and sizes do not complete what was begun, however often they are interrupted.
    @Test(arguments: [Change.rewrite, .rewriteUnderTheSameTime, .touch], [true, false])
    func changesBetweenTwoRunsAreFound(_ change: Change, isInterruptedAgain: Bool) throws {
        try Fixtures.withScratchFolder { folder in
            let conversion = try conversion(in: folder)
            let store = folder + "/store"
            let file = conversion.source + "/" + conversion.names[0]
            // All shards are recorded when the last file of the store, its manifest, gets its name.
            let counter = FaultyFileSystem(calls: [.rename])
            try conversion.run(to: folder + "/old", in: counter)
            let last = FaultyFileSystem.Fault(number: counter.callCount, error: EIO, isPersistent: false)
            let faulty = FaultyFileSystem(fault: last, calls: [.rename])
            #expect(throws: LaminaError.self) { try conversion.run(to: store, in: faulty) }
            let shard = try Data(contentsOf: URL(fileURLWithPath: store + "/layers/0000.h5"))
            for index in [5000, 200_000] { try flip(index, of: file) }
            change.make(file)
            if isInterruptedAgain {
                #expect(throws: LaminaError.self) { try conversion.run(to: store, stopAfter: 0) }
            }
            try conversion.run(to: store)
            try conversion.run(to: folder + "/whole")
            let whole = try SmallConversion.contents(folder + "/whole")
            #expect(try SmallConversion.contents(store) == whole)
            #expect(whole["layers/0000.h5"] != shard)
        }
    }

    private func flip(_ index: Int, of file: String) throws {
        let handle = try #require(FileHandle(forUpdatingAtPath: file))
        handle.seek(toFileOffset: UInt64(index))
        let byte = try #require(try handle.read(upToCount: 1)?.first)
        handle.seek(toFileOffset: UInt64(index))
        handle.write(Data([byte ^ 1]))
    }
}
