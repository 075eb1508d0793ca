import LayerStore
import TensorCore
import TestSupport
import Testing

@testable import Inference

@Suite struct ReadProbeTests {
    /// What was read, by descriptor and offset.
    private final class Log: @unchecked Sendable {
        // Sendable: guarded by `monitor`.
        private let monitor = Monitor()
        private var entries: [String] = []

        func note(_ descriptor: Int32, _ offset: UInt64) {
            monitor.lock()
            entries.append("\(descriptor) \(offset)")
            monitor.unlock()
        }

        func takeAll() -> [String] {
            monitor.lock()
            defer { monitor.unlock() }
            defer { entries = [] }
            return entries
        }
    }

    @Test(arguments: RequestFixture.availableModes) func everyDepthHasARate(mode: ReadMode) throws {
        try TinyStore.with { path in
            let files = try RequestFixture(path, mode: mode).files
            let memory = try UntouchedMemory(count: 4 * 4096 + 100)
            let result = try DiskProbe.measure(
                files: files, requestBytes: 4096, depths: [1, 2, 4, 8], mode: mode, seconds: 0.05, into: memory)
            #expect(result.mode == mode)
            // There is no room for 8.
            #expect(result.rates.map(\.depth) == [1, 2, 4])
            #expect(result.rates.allSatisfy { $0.bytesPerSecond > 0 })
            #expect(result.rates.contains(DiskProbe.Rate(depth: result.depth, bytesPerSecond: result.bytesPerSecond)))
        }
    }

    @Test func noBlockIsReadTwice() throws {
        try TinyStore.with { path in
            let log = Log()
            var starts: Set<String> = []
            for _ in 0..<20 {
                let fixture = try RequestFixture(path, in: SlowFileSystem { log.note($0, $1) })
                _ = log.takeAll()
                let memory = try UntouchedMemory(count: 2 * 4096)
                _ = try DiskProbe.measure(
                    files: fixture.files, requestBytes: 4096, depths: [1, 2], mode: nil, seconds: 60, into: memory)
                let reads = log.takeAll()
                // All blocks but the few that do not divide by four measurements.
                #expect(reads.count > 8 && Set(reads).count == reads.count)
                starts.insert(reads[0])
            }
            #expect(starts.count > 1)
        }
    }

    @Test func failuresAndNothingToMeasureAreErrors() throws {
        try TinyStore.with { path in
            let memory = try UntouchedMemory(count: 2 * 4096)
            let opened = FaultyFileSystem(calls: [.read])
            _ = try RequestFixture(path, in: opened)
            let fault = FaultyFileSystem.Fault(number: opened.callCount + 1, error: 5, isPersistent: true)
            let files = try RequestFixture(path, in: FaultyFileSystem(fault: fault, calls: [.read])).files
            for (depths, blocks) in [([1], files), ([4], files), ([], files), ([1], [])] {
                #expect(throws: LaminaError.self) {
                    try DiskProbe.measure(
                        files: blocks, requestBytes: 4096, depths: depths, mode: nil, seconds: 1, into: memory)
                }
            }
        }
    }
}
