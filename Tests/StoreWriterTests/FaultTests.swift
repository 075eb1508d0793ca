import Checkpoint
import Foundation
import Glibc
import LayerStore
import StoreWriter
import Synchronization
import TensorCore
import TestSupport
import Testing

/// Failing system calls: every run ends with an error that says what failed, or with the same store as without the
/// fault; nothing is left open or lying about, and the next run completes it.
@Suite struct FaultTests {
    /// Chunks so large that there are few calls.
    private func withConversion(
        _ body: (_ conversion: SmallConversion, _ expected: [String: Data], _ destination: String) throws -> Void
    ) throws {
        try Fixtures.withScratchFolder(inMemory: true) { folder in
            let conversion = try SmallConversion(in: folder, chunkBytes: 1 << 20)
            try conversion.run(to: folder + "/whole", in: UnsyncedFileSystem())
            try body(conversion, try SmallConversion.contents(folder + "/whole"), folder + "/store")
        }
    }

    /// Runs a conversion with faults, checks what it leaves, and completes it without them. Returns the error.
    private func survive(
        _ conversion: SmallConversion, _ faulty: FaultyFileSystem, _ expected: [String: Data], _ destination: String,
        leavesFiles: Bool = false, _ comment: Comment
    ) throws -> LaminaError? {
        var failure: LaminaError?
        do throws(LaminaError) { try conversion.run(to: destination, in: faulty) } catch { failure = error }
        #expect(openFiles(below: URL(fileURLWithPath: destination).deletingLastPathComponent().path).isEmpty, comment)
        let left = try SmallConversion.contents(destination)
        if !leavesFiles { #expect(!left.keys.contains { $0.hasSuffix(".tmp") }, comment) }
        if left["manifest.json"] != nil {
            #expect(expected.allSatisfy { left[$0.key] == $0.value }, comment)
        } else {
            #expect(failure != nil, comment)
            try conversion.run(to: destination, in: UnsyncedFileSystem())
            #expect(try SmallConversion.contents(destination) == expected, comment)
        }
        if failure == nil { #expect(left == expected, comment) }
        try? FileManager.default.removeItem(atPath: destination)
        return failure
    }

    /// What this process has open in a folder: other tests run beside this one.
    private func openFiles(below folder: String) -> [String] {
        let descriptors = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? []
        let targets = descriptors.compactMap {
            try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/" + $0)
        }
        return targets.filter { $0.hasPrefix(folder + "/") }
    }

    /// Every call fails once, or from then on.
    @Test(
        arguments: [
            (EIO, false), (EIO, true), (ENOSPC, false), (ENOSPC, true), (EDQUOT, false), (EACCES, false),
            (ENOENT, false),
        ])
    func everyFailingCallIsSurvived(_ error: Int32, _ isPersistent: Bool) throws {
        try withConversion { conversion, expected, destination in
            for number in 1... {
                let seen = LastVisit()
                let faulty = FaultyFileSystem { visit in
                    let isHit = seen.count(visit, until: number, isPersistent: isPersistent)
                    // Nobody says that a file is not there when it is to be removed, if it is.
                    return isHit && (error, visit.call) != (ENOENT, .unlink) ? .fails(error) : nil
                }
                // A temporary file that cannot be removed stays.
                let failure = try survive(
                    conversion, faulty, expected, destination, leavesFiles: isPersistent || seen.isRemoval,
                    "call \(number), error \(error)")
                guard seen.isReached else {
                    #expect(failure == nil)
                    #expect(number > 80, "the loop reached the end of the conversion")
                    return
                }
                // A name said not to be there may be the lock's.
                let kinds: [LaminaError.Kind] = [.io, .cannotCreate, .missing] + (error == ENOENT ? [.locked] : [])
                if let failure { #expect(kinds.contains(failure.kind), "call \(number): \(failure)") }
            }
        }
    }

    /// What a kernel may do to any open, read or write changes nothing at all.
    @Test(arguments: [EINTR, EAGAIN])
    func everyInterruptedCallIsRepeated(_ error: Int32) throws {
        try withConversion { conversion, expected, destination in
            let calls: Set<FaultyFileSystem.Call> = error == EINTR ? [.open, .read, .write] : [.read, .write]
            for number in 1... {
                let fault = FaultyFileSystem.Fault(number: number, error: error, isPersistent: false)
                let faulty = FaultyFileSystem(fault: fault, calls: calls)
                let failure = try survive(conversion, faulty, expected, destination, "call \(number)")
                #expect(failure == nil, "call \(number)")
                if faulty.callCount < number { return #expect(number > 30) }
            }
        }
    }

    /// Each read and each write in turn takes half of its bytes, or one.
    @Test(arguments: [false, true])
    func everyShortTransferIsCompleted(_ isOneByte: Bool) throws {
        try withConversion { conversion, expected, destination in
            for number in 1... {
                let seen = LastVisit()
                let faulty = FaultyFileSystem { visit in
                    guard let bytes = visit.bytes, seen.count(visit, until: number, isPersistent: false) else {
                        return nil
                    }
                    return .isCut(to: isOneByte ? 1 : max(1, bytes.count / 2))
                }
                let failure = try survive(conversion, faulty, expected, destination, "transfer \(number)")
                #expect(failure == nil, "transfer \(number)")
                if !seen.isReached { return #expect(number > 30) }
            }
        }
    }

    /// A failed fsync or close is final: that file gets no name and is not synced again.
    @Test(arguments: [FaultyFileSystem.Call.sync, .close])
    func aFailedSyncOrCloseIsNotTriedAgain(_ call: FaultyFileSystem.Call) throws {
        try withConversion { conversion, expected, destination in
            for number in 1... {
                let log = VisitLog()
                let faulty = FaultyFileSystem { visit in
                    log.add(visit)
                    guard visit.call == call, call == .sync || visit.path.hasSuffix(".tmp") else { return nil }
                    return log.hit(number) ? .fails(EIO) : nil
                }
                let failure = try survive(conversion, faulty, expected, destination, "\(call) \(number)")
                guard let hit = log.visitsFromHit.first else { return #expect(number > 8) }
                let after = log.visitsFromHit.dropFirst().filter { $0.path == hit.path }
                if hit.path.hasSuffix(".tmp"), failure != nil {
                    #expect(!after.contains { $0.call == .sync || $0.call == .rename }, "\(call) \(number)")
                    #expect(after.contains { $0.call == .unlink }, "\(call) \(number)")
                }
                // A second descriptor for direct writes closes without a word: its bytes were synced through the other.
                if call == .sync { #expect(failure?.kind == .io, "\(call) \(number)") }
            }
        }
    }

    /// A source that cannot be read somewhere: which file, which tensor, which bytes.
    @Test func unreadableSourceBytesAreNamed() throws {
        try withConversion { conversion, expected, destination in
            let name = conversion.names[0]
            let path = conversion.source + "/" + name
            // Closed again at once: what is open is counted.
            let (tensors, start) = try {
                let file = try WeightFile(name: name, path: path, in: RealFileSystem())
                return (file.tensors, file.dataOffset)
            }()
            for tensor in tensors where !tensor.bytes.isEmpty {
                let (first, last) = (start + tensor.bytes.lowerBound, start + tensor.bytes.upperBound - 1)
                for byte in [first, (first + last) / 2, last] {
                    let faulty = FaultyFileSystem { visit in
                        guard visit.call == .read, visit.path == path, visit.bytes?.contains(byte) == true else {
                            return nil
                        }
                        return .fails(EIO)
                    }
                    let failure = try survive(conversion, faulty, expected, destination, "byte \(byte)")
                    #expect(failure?.kind == .io)
                    #expect(failure?.subject == path)
                    #expect(failure?.tensor == tensor.name)
                    #expect(failure?.bytes?.contains(byte) == true, "\(byte) in \(String(describing: failure?.bytes))")
                }
            }
            let header = FaultyFileSystem { $0.call == .read && $0.path == path ? .fails(EIO) : nil }
            let failure = #expect(throws: LaminaError.self) { try conversion.run(to: destination, in: header) }
            #expect(failure?.kind == .io && failure?.subject == path)
        }
    }
}

/// Counts calls up to one that counts.
private final class LastVisit: Sendable {
    private let state = Mutex<(count: Int, last: FaultyFileSystem.Visit?)>((0, nil))

    /// Whether this call is number `number`, or behind it if that is persistent.
    func count(_ visit: FaultyFileSystem.Visit, until number: Int, isPersistent: Bool) -> Bool {
        state.withLock { state in
            state.count += 1
            if state.count == number { state.last = visit }
            return state.count == number || (isPersistent && state.count > number)
        }
    }

    var isReached: Bool { state.withLock { $0.last != nil } }
    var isRemoval: Bool { state.withLock { $0.last?.call == .unlink } }
}

/// All calls, and which one failed.
private final class VisitLog: Sendable {
    private let state = Mutex<(visits: [FaultyFileSystem.Visit], count: Int, hit: Int?)>(([], 0, nil))

    func add(_ visit: FaultyFileSystem.Visit) { state.withLock { $0.visits.append(visit) } }

    /// Whether the call added last is number `number` of those asked about.
    func hit(_ number: Int) -> Bool {
        state.withLock { state in
            state.count += 1
            if state.count == number { state.hit = state.visits.count - 1 }
            return state.count == number
        }
    }

    /// The one that failed and all behind it.
    var visitsFromHit: [FaultyFileSystem.Visit] {
        state.withLock { state in state.hit.map { Array(state.visits[$0...]) } ?? [] }
    }
}
