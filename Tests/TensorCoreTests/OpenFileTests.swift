import Glibc
import TensorCore
import TestSupport
import Testing

@Suite struct OpenFileTests {
    @Test func loopsOverShortCountsAndInterruptions() throws {
        try Fixtures.withScratchFolder { folder in
            let fileSystem = FaultyFileSystem(shortCount: 7, interruptEvery: 3)
            let content = (0..<1000).map { UInt8(truncatingIfNeeded: $0) }
            let file = try OpenFile(folder + "/f", .createNew, in: fileSystem)
            try content.withBytes { (bytes) throws(LaminaError) in try file.write(bytes, at: 0) }
            try file.sync()
            try file.closeReportingErrors()
            #expect(try fileSystem.readWhole(folder + "/f", limit: 1000) == content)
            let error = #expect(throws: LaminaError.self) { try fileSystem.readWhole(folder + "/f", limit: 999) }
            #expect(error?.kind == .malformed)
        }
    }

    @Test func namesTheFileInEveryError() throws {
        try Fixtures.withScratchFolder { folder in
            let missing = #expect(throws: LaminaError.self) {
                try RealFileSystem().readWhole(folder + "/absent", limit: 10)
            }
            #expect(missing?.kind == .missing)
            #expect(missing?.subject == folder + "/absent")
            let full = FaultyFileSystem(fault: .init(number: 1, error: ENOSPC, isPersistent: true), calls: [.write])
            let file = try OpenFile(folder + "/f", .createNew, in: full)
            let error = #expect(throws: LaminaError.self) {
                try [UInt8](repeating: 0, count: 5).withBytes { (bytes) throws(LaminaError) in
                    try file.write(bytes, at: 0)
                }
            }
            #expect(error?.kind == .io)
            #expect(error?.subject == folder + "/f")
            let taken = #expect(throws: LaminaError.self) { try OpenFile(folder + "/f", .createNew, in: full) }
            #expect(taken?.kind == .cannotCreate)
        }
    }

    @Test func aFIFODoesNotBlock() throws {
        try Fixtures.withScratchFolder { folder in
            #expect(mkfifo(folder + "/pipe", 0o600) == 0)
            let error = #expect(throws: LaminaError.self) {
                try RealFileSystem().readWhole(folder + "/pipe", limit: 10)
            }
            #expect(error?.kind == .malformed)
        }
    }

    @Test func aShortFileIsDamageNotZeros() throws {
        try Fixtures.withScratchFolder { folder in
            let file = try OpenFile(folder + "/f", .createNew, in: RealFileSystem())
            var buffer = [UInt8](repeating: 0, count: 4)
            let error = #expect(throws: LaminaError.self) {
                try buffer.withMutableBytes { (bytes) throws(LaminaError) in try file.readExactly(into: bytes, at: 0) }
            }
            #expect(error?.kind == .damaged)
        }
    }
}
