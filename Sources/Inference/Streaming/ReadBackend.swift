import LayerStore
import TensorCore

/// Carries out reads, several at a time.
protocol ReadBackend: AnyObject, Sendable {
    var mode: ReadMode { get }
    /// The most operations in flight, besides `ReaderOptions.fetches` of a `ChunkFetcher`: whoever submits keeps to it.
    var depth: Int { get }
    /// Starts a read; its owner hears when it has ended.
    func submit(_ operation: ReadOperation)
    /// Waits for the reads in flight and ends the threads. False if that failed: reads may then go on writing to
    /// their buffers.
    func stop() -> Bool
}

extension ReaderOptions {
    /// The backend of the mode asked for, or of the best that works, for reads of `files` into slots of `slotBytes`
    /// that fill `memory`; and why it is not the best of all, if it is not. Throws `.io` for a mode that cannot be had,
    /// `.limit` for threads.
    func backend(
        for files: [ShardFile], memory: UnsafeMutableRawBufferPointer, slotBytes: Int
    ) throws(LaminaError) -> (any ReadBackend, refusal: LaminaError?) {
        var refusal: LaminaError?
        for mode in mode.map({ [$0] }) ?? ReadMode.allCases {
            do throws(LaminaError) {
                return (try backend(mode, for: files, memory: memory, slotBytes: slotBytes), refusal)
            } catch {
                if refusal == nil { refusal = error }
            }
        }
        throw refusal ?? LaminaError(.unexpected, "", "there is no way to read")
    }

    private func backend(
        _ mode: ReadMode, for files: [ShardFile], memory: UnsafeMutableRawBufferPointer, slotBytes: Int
    ) throws(LaminaError) -> any ReadBackend {
        if refusedModes.contains(mode) { throw mode.unavailable("the system refuses it") }
        switch mode {
        case .registeredRing, .ring:
            guard files.allSatisfy({ $0.descriptor != nil }) else {
                throw mode.unavailable("the file system does not allow direct reads")
            }
            let ring = try RingBackend(mode, depth: depth ?? ReaderOptions.defaultDepth)
            if mode == .registeredRing { try ring.register(memory, slotBytes: slotBytes) }
            return ring
        case .direct:
            guard files.allSatisfy(\.isDirect) else {
                throw mode.unavailable("the file system does not allow direct reads")
            }
            return try ThreadBackend(mode, threads: threads)
        case .buffered:
            return try ThreadBackend(mode, threads: threads)
        }
    }
}

extension ReadMode {
    func unavailable(_ problem: String) -> LaminaError {
        let hint =
            switch self {
            case .registeredRing: "raise the limit on locked memory (ulimit -l), or use --io \(ReadMode.ring.rawValue)"
            case .ring: "use --io \(ReadMode.direct.rawValue)"
            case .direct, .buffered: "use --io \(ReadMode.buffered.rawValue)"
            }
        return LaminaError(.io, "--io", "cannot read with \(rawValue): \(problem)", hint: hint)
    }
}
