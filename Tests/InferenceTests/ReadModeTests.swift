import CSystem
import Foundation
import LayerStore
import TensorCore
import TestSupport
import Testing

@testable import Inference

/// Which way of reading is used, and what each does when reading fails.
@Suite struct ReadModeTests {
    private static let onePass = [PassSchedule(includesHead: true, count: 1)]

    @Test func refusalsFallBackToTheNextBest() throws {
        try TinyStore.with { path in
            let fixture = try RequestFixture(path)
            let modes = RequestFixture.availableModes
            for refused in 0..<modes.count {
                var options = ReaderOptions()
                options.refusedModes = Set(modes[..<refused])
                let prefetcher = try fixture.prefetcher(ReadModeTests.onePass, slots: 2, options: options)
                defer { prefetcher.stop() }
                // A file that direct reads are possible with is fine for buffered calls too.
                #expect(prefetcher.mode == modes[refused])
                #expect((prefetcher.refusal == nil) == (prefetcher.mode == .registeredRing))
                try fixture.consume(prefetcher, pass: 0)
            }
        }
    }

    @Test(.enabled(if: RequestFixture.availableModes.contains(.ring)))
    func moreSlotsThanTheKernelRegistersAreReadWithoutRegistering() throws {
        try TinyStore.with { path in
            let fixture = try RequestFixture(path)
            let memory = try UntouchedMemory(count: 16385 * fixture.slotBytes)
            let prefetcher = try fixture.prefetcher(ReadModeTests.onePass, slots: 16385, memory: memory)
            defer { prefetcher.stop() }
            #expect(prefetcher.mode == .ring)
            #expect(prefetcher.refusal?.problem.contains("registering") == true)
            try fixture.consume(prefetcher, pass: 0)
            #expect {
                try fixture.prefetcher(
                    ReadModeTests.onePass, slots: 16385, options: ReaderOptions(mode: .registeredRing), memory: memory)
            } throws: { error in
                guard let error = error as? LaminaError else { return false }
                return error.kind == .io && error.subject == "--io" && error.hint?.contains("--io uring") == true
            }
        }
    }

    @Test(arguments: [ReadMode.registeredRing, .ring, .direct])
    func aForcedModeThatCannotBeHadIsAnError(mode: ReadMode) throws {
        try TinyStore.with { path in
            // A file system without direct reads.
            #expect {
                try RequestFixture(path, mode: mode, in: FaultyFileSystem(shortCount: 1000))
            } throws: { error in
                guard let error = error as? LaminaError else { return false }
                return error.kind == .io && error.hint == "use --io buffered" && error.layer != nil
            }
            var options = ReaderOptions(mode: mode)
            options.refusedModes = [mode]
            let fixture = try RequestFixture(path)
            #expect(throws: LaminaError.self) {
                try fixture.prefetcher(ReadModeTests.onePass, slots: 2, options: options)
            }
        }
    }

    @Test func aFileSystemThatIsNotTheSystemsIsReadByThreads() throws {
        try TinyStore.with { path in
            let fixture = try RequestFixture(path, in: SlowFileSystem())
            let prefetcher = try fixture.prefetcher(ReadModeTests.onePass, slots: 2)
            defer { prefetcher.stop() }
            #expect(prefetcher.mode == (fixture.files.allSatisfy(\.isDirect) ? .direct : .buffered))
            #expect(throws: LaminaError.self) {
                try fixture.prefetcher(ReadModeTests.onePass, slots: 2, options: ReaderOptions(mode: .ring))
            }
        }
    }

    @Test(arguments: [1, 1000, 4097]) func shortCountsAndInterruptionsGoOn(shortCount: Int) throws {
        try TinyStore.with { path in
            let fixture = try RequestFixture(
                path, in: FaultyFileSystem(shortCount: shortCount, interruptEvery: 3))
            let prefetcher = try fixture.prefetcher(ReadModeTests.onePass, slots: 2, options: ReaderOptions(threads: 1))
            defer { prefetcher.stop() }
            #expect(prefetcher.mode == .buffered)
            try fixture.consume(prefetcher, pass: 0)
        }
    }

    @Test(arguments: RequestFixture.availableModes) func aTruncatedFileIsNamed(mode: ReadMode) throws {
        try TinyStore.with { path in
            let fixture = try RequestFixture(path, mode: mode)
            let victim = try #require(fixture.requests.lastIndex { $0.file == 2 })
            let request = fixture.requests[victim]
            let file = fixture.files[2]
            #expect(truncate(file.path, off_t(request.offset) + off_t(request.neededBytes) - 1) == 0)
            let prefetcher = try fixture.prefetcher(
                ReadModeTests.onePass, slots: 1, options: ReaderOptions(mode: mode))
            defer { prefetcher.stop() }
            try fixture.consume(prefetcher, pass: 0, 0..<victim)
            #expect {
                try fixture.consume(prefetcher, pass: 0, victim..<(victim + 1))
            } throws: { error in
                guard let error = error as? LaminaError else { return false }
                return error.kind == .damaged && error.subject == file.path && error.layer == file.layer
                    && error.tensor == fixture.names[victim] && error.bytes?.lowerBound == request.offset
            }
        }
    }

    @Test func aFailedReadIsNamed() throws {
        try TinyStore.with { path in
            let opened = FaultyFileSystem(calls: [.read])
            _ = try RequestFixture(path, in: opened)
            let fault = FaultyFileSystem.Fault(number: opened.callCount + 1, error: EIO, isPersistent: true)
            let fixture = try RequestFixture(path, in: FaultyFileSystem(fault: fault, calls: [.read]))
            let prefetcher = try fixture.prefetcher(
                ReadModeTests.onePass, slots: 2, options: ReaderOptions(threads: 1))
            defer { prefetcher.stop() }
            #expect {
                try fixture.consume(prefetcher, pass: 0)
            } throws: { error in
                guard let error = error as? LaminaError else { return false }
                return error.kind == .io && error.layer == fixture.files[0].layer && error.tensor == fixture.names[0]
                    && error.problem.contains(SystemError(code: EIO).text)
            }
        }
    }

    /// A request to io_uring that the kernel answers with an error.
    @Test(.enabled(if: RequestFixture.availableModes.contains(.ring)), arguments: [ReadMode.registeredRing, .ring])
    func aReadTheKernelRefusesIsNamed(mode: ReadMode) throws {
        try #require(RequestFixture.availableModes.contains(mode))
        try TinyStore.with { path in
            var fixture = try RequestFixture(path, mode: mode)
            // Direct reads begin at multiples of the device's block.
            fixture.requests[1].offset += 1
            let prefetcher = try fixture.prefetcher(
                ReadModeTests.onePass, slots: 2, options: ReaderOptions(mode: mode))
            defer { prefetcher.stop() }
            var waited = 0.0
            #expect {
                _ = try prefetcher.take(pass: 0, request: 1, waited: &waited)
            } throws: { error in
                guard let error = error as? LaminaError else { return false }
                return error.kind == .io && error.problem.contains(SystemError(code: EINVAL).text)
                    && error.tensor == fixture.names[1]
            }
        }
    }

    @Test(arguments: [ReadMode?.none, .buffered]) func theEndOfAFileInsideAPageIsRead(mode: ReadMode?) throws {
        try TinyStore.with { path in
            let fixture = try RequestFixture(path, mode: mode)
            let request = try #require(fixture.requests.last)
            let file = fixture.files[request.file]
            #expect(request.offset + UInt64(request.byteCount) > file.size)
            let buffer = try AlignedBuffer(count: request.byteCount)
            try file.read(into: buffer.bytes, at: request.offset, neededBytes: request.neededBytes)
            #expect(fixture.isIntact(buffer.start, fixture.requests.count - 1))
            #expect(throws: LaminaError.self) {
                try file.read(into: buffer.bytes, at: request.offset, neededBytes: request.neededBytes + 1)
            }
        }
    }

    @Test func directReadsThatStopInsideAPageGoBackToItsStart() throws {
        try TinyStore.with { path in
            let fixture = try RequestFixture(path)
            let file = try #require(fixture.files.first)
            guard file.isDirect else { return }
            let buffer = try AlignedBuffer(count: 16384)
            var progress = ReadProgress(into: buffer.bytes, at: 4096, neededBytes: 12000)
            #expect(try progress.advance(by: -Int64(EINTR), in: file) == false)
            #expect(try progress.advance(by: 5000, in: file) == false)
            #expect(progress.position == 8192 && progress.rest.count == 12288)
            #expect(try progress.advance(by: 7904, in: file) == true)
            var stuck = ReadProgress(into: buffer.bytes, at: 0, neededBytes: 12000)
            #expect(try stuck.advance(by: 5000, in: file) == false)
            #expect(throws: LaminaError.self) { try stuck.advance(by: 904, in: file) }
        }
    }

    @Test func allowsAsManyOpenFilesAsTheSystem() {
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        #expect(lamina_raise_file_limit() == limit.rlim_max)
    }
}
