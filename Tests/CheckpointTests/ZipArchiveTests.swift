import Foundation
import TensorCore
import TestSupport
import Testing

@testable import Checkpoint

/// Zip archives: those that torch and others write by storing are read, everything else is refused by what it is.
@Suite struct ZipArchiveTests {
    private func open(_ bytes: [UInt8]) throws -> Result<ZipArchive, LaminaError> {
        try Fixtures.withScratchFolder { folder in
            let path = folder + "/m.bin"
            try Data(bytes).write(to: URL(fileURLWithPath: path))
            let file = try OpenFile(path, .read, in: RealFileSystem())
            return Result { () throws(LaminaError) in try ZipArchive(file, fileSize: UInt64(bytes.count)) }
        }
    }

    private func error(_ bytes: [UInt8]) throws -> LaminaError? {
        if case .failure(let error) = try open(bytes) { return error }
        return nil
    }

    private var writer: ZipWriter {
        ZipWriter([ZipWriter.Entry("m/a", [1, 2, 3]), ZipWriter.Entry("m/b", []), ZipWriter.Entry("m/c", [9])])
    }

    private func changed(_ change: (inout ZipWriter) -> Void) -> [UInt8] {
        var writer = writer
        change(&writer)
        return writer.bytes
    }

    @Test func readsWhatOthersWrite() throws {
        let variants = [
            writer.bytes, changed { $0.hasWideEnd = false },
            changed { for index in 0..<3 { $0.entries[index].isWide = true } },
            changed { for index in 0..<3 { $0.entries[index].flags = 0x0808 } },
            changed { for index in 0..<3 { $0.entries[index].padding = 7 * index } },
        ]
        for bytes in variants {
            let entries = try open(bytes).get().entries
            #expect(entries.map(\.name) == ["m/a", "m/b", "m/c"])
            #expect(
                entries.map { Array(bytes[Int($0.data.lowerBound)..<Int($0.data.upperBound)]) } == [
                    [1, 2, 3], [], [9],
                ])
        }
        #expect(try open(ZipWriter([]).bytes).get().entries.isEmpty)
        #expect(try open(changed { $0.entries[1].rename("m/b/") }).get().entries[1].name == "m/b/")
    }

    @Test func refusesWhatTorchDoesNotWrite() throws {
        let cases: [([UInt8], String)] = [
            (changed { $0.entries[0].flags = 1 }, "m/a is encrypted"),
            (changed { $0.entries[0].flags = 0x40 }, "m/a is encrypted"),
            (changed { $0.entries[0].flags = 0x20 }, "not stored as it is"),
            (changed { $0.entries[0].method = 8 }, "m/a is not stored as it is"),
            (changed { $0.disk = 1 }, "several disks"),
            (changed { $0.comment = [1, 2] }, "has no end"),
            (changed { $0.gap = [0] }, "what lies behind it"),
            (changed { $0.entryCount = 2 }, "does not end after its entries"),
            (changed { $0.entryCount = 4 }, "ends before its last entry"),
            (changed { $0.entries[2].name = Array("m/a".utf8) }, "the entry m/a twice"),
            (changed { $0.entries[1].localName = Array("m/x".utf8) }, "m/b and its header disagree"),
            (changed { $0.entries[1].offset = 0 }, "overlaps"),
            (changed { $0.entries[0].offset = 1 }, "does not begin with its first entry"),
            (changed { $0.entries[2].offset = 1 << 31 }, "lies behind"),
            (changed { $0.entries[2].setWide(offset: .max) }, "lies behind"),
            (changed { $0.entries[0].storedSize = 2 }, "different size"),
            (changed { $0.entries[0].setSizes(200) }, "disagree"),
            (changed { $0.entries[0].setSizes(2, flags: 8) }, "lies behind"),
            (changed { $0.entries[0].setSizes(.max, flags: 8) }, "overlaps"),
            (writer.bytes + [0], "has no end"), (Array(writer.bytes.dropLast()), "has no end"), ([], "has no end"),
            ([0] + writer.bytes, "zip64 end record"),
        ]
        for (bytes, text) in cases {
            let found = try error(bytes)
            #expect(found?.kind == .malformed)
            #expect(found?.problem.contains(text) == true, "\(text): \(String(describing: found))")
        }
        let deflated = try error(changed { $0.entries[0].method = 8 })
        #expect(deflated?.found == "method 8, deflate")
        #expect(deflated?.hint?.contains("torch") == true)
    }

    @Test(arguments: ["", "/m", "m//a", "m/../a", "..", "m/.", "m\\a", "m\u{7}", String(repeating: "n", count: 513)])
    func refusesNames(_ name: String) throws {
        let found = try error(changed { $0.entries[0].rename(name) })
        #expect(found?.problem.contains("unacceptable name") == true)
        let invalid = try error(changed { $0.entries[0].name = [0x6D, 0xFF] })
        #expect(invalid?.problem.contains("unacceptable name") == true)
    }

    /// What is in the first entry.
    private func read(_ bytes: [UInt8], limit: Int = 3) throws -> [UInt8] {
        try Fixtures.withScratchFolder { folder in
            try Data(bytes).write(to: URL(fileURLWithPath: folder + "/m.bin"))
            let file = try OpenFile(folder + "/m.bin", .read, in: RealFileSystem())
            let archive = try ZipArchive(file, fileSize: UInt64(bytes.count))
            return try archive.read(archive.entries[0], limit: limit, from: file)
        }
    }

    @Test func comparesChecksums() throws {
        let bytes = writer.bytes
        #expect(try read(bytes) == [1, 2, 3])
        let large = #expect(throws: LaminaError.self) { try read(bytes, limit: 2) }
        #expect(large?.problem.contains("too large") == true)
        var damaged = bytes
        damaged[33] ^= 1
        let wrong = #expect(throws: LaminaError.self) { try read(damaged) }
        #expect(wrong?.problem.contains("CRC-32") == true)
        let unchecked = try read(changed { $0.entries[0].checksum = 0 })
        #expect(unchecked == [1, 2, 3])
        #expect(CRC32.checksum(of: Array("123456789".utf8)) == 0xCBF4_3926)
        #expect(CRC32.checksum(of: []) == 0)
    }

    /// A directory of 65,535 entries promised, and of numbers that add up to more than a file can have.
    @Test func numbersOfTheEndRecordAreChecked() throws {
        let bytes = changed { $0.hasWideEnd = false }
        for offset in 0..<22 {
            for value in [0, 1, 0x7F, 0xFF] as [UInt8] {
                var changed = bytes
                guard changed[changed.count - 22 + offset] != value else { continue }
                changed[changed.count - 22 + offset] = value
                #expect(try error(changed) != nil, "\(offset) \(value)")
            }
        }
        let wide = writer.bytes
        for offset in 0..<98 where !(12..<16).contains(offset) {
            var changed = wide
            changed[changed.count - 98 + offset] ^= 0xFF
            #expect(try error(changed) != nil, "\(offset)")
        }
    }
}

extension ZipWriter.Entry {
    fileprivate mutating func rename(_ name: String) {
        self.name = Array(name.utf8)
        localName = self.name
    }

    fileprivate mutating func setWide(offset: UInt64) {
        isWide = true
        self.offset = offset
    }

    fileprivate mutating func setSizes(_ size: UInt64, flags: UInt16 = 0) {
        self.flags = flags
        self.size = size
        storedSize = size
        isWide = size > UInt64(UInt32.max)
    }
}
