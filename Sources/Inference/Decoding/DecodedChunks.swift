import CKernels
import LayerStore
import TensorCore

/// All chunks of a pass kept decoded, where everything fits that way and multiplying decoded weights is faster.
final class DecodedChunks: @unchecked Sendable {
    // Sendable: each chunk is kept by the one worker that handles it, between two barriers of the pool.
    private let plan: StreamPlan
    private let kernels: KernelTable
    private let memory: UntouchedMemory
    private let places: [Place]
    /// Of narrow panels, each chunk's from its own place; written when the chunk is kept.
    private let panelOffsets: UnsafeMutablePointer<Int>
    /// Bytes of each chunk, 0 until it is kept.
    private let keptSizes: UnsafeMutablePointer<Int>

    private struct Place {
        /// In `memory`. What a narrow chunk has room for and does not need is never touched.
        var offset: Int
        /// In `panelOffsets`; nil for chunks that are kept as they are decoded.
        var firstPanel: Int?
    }

    /// A chunk that is kept.
    enum Elements {
        case decoded(UnsafeRawPointer)
        case narrow(NarrowChunk)
    }

    /// Room for every chunk of `plan`. Throws `.limit`.
    init(_ plan: StreamPlan, _ kernels: KernelTable) throws(LaminaError) {
        var (bytes, panels) = (0, 0)
        places = plan.chunks.map { chunk in
            defer {
                bytes += plan.decodedRoom(chunk)
                panels += plan.narrowPanels(chunk) ?? 0
            }
            return Place(offset: bytes, firstPanel: plan.narrowPanels(chunk).map { _ in panels })
        }
        self.plan = plan
        self.kernels = kernels
        memory = try UntouchedMemory(count: bytes)
        panelOffsets = .allocate(capacity: max(1, panels))
        panelOffsets.initialize(repeating: 0, count: panels)
        keptSizes = .allocate(capacity: max(1, places.count))
        keptSizes.initialize(repeating: 0, count: places.count)
    }

    deinit {
        panelOffsets.deallocate()
        keptSizes.deallocate()
    }

    /// Bytes kept so far, at most `StreamPlan.decodedBytesPerPass`.
    var byteCount: Int { places.indices.reduce(0) { $0 + keptSizes[$1] } }

    func isKept(_ chunk: Int) -> Bool { keptSizes[chunk] > 0 }

    /// A chunk, `nil` until it is kept.
    func elements(_ chunk: Int) -> Elements? {
        guard isKept(chunk) else { return nil }
        let start = UnsafeRawPointer(memory.start + places[chunk].offset)
        guard let panel = places[chunk].firstPanel else { return .decoded(start) }
        return .narrow(NarrowChunk(start: start, offsets: UnsafePointer(panelOffsets + panel)))
    }

    /// A chunk of words, which are kept as they are; `nil` until it is kept.
    func words(_ chunk: Int) -> UnsafeRawPointer? {
        guard case .decoded(let start) = elements(chunk) else { return nil }
        return start
    }

    /// Keeps a copy of a chunk's elements.
    func keep(_ elements: UnsafeRawPointer, of chunk: Int) {
        let (planned, target) = (plan.chunks[chunk], memory.start + places[chunk].offset)
        guard let first = places[chunk].firstPanel, let panels = plan.narrowPanels(planned) else {
            target.copyMemory(from: elements, byteCount: planned.decodedBytes)
            keptSizes[chunk] = planned.decodedBytes
            return
        }
        keptSizes[chunk] = NarrowChunk.make(
            elements, of: plan.matrices[planned.matrix].tensor.geometry, panels: panels, at: target,
            offsets: panelOffsets + first, kernels)
    }
}

extension StreamPlan {
    /// Panels of a chunk that is kept narrow, `nil` for others.
    fileprivate func narrowPanels(_ chunk: PlannedChunk) -> Int? {
        let matrix = matrices[chunk.matrix]
        return matrix.isKeptNarrow ? matrix.tensor.geometry.chunk(chunk.chunk).unitCount : nil
    }

    /// Bytes a chunk takes at most when it is kept decoded: whole cache lines, so that kernels load aligned vectors.
    fileprivate func decodedRoom(_ chunk: PlannedChunk) -> Int {
        guard let panels = narrowPanels(chunk) else { return roundedUp(chunk.decodedBytes, to: 64) }
        return NarrowChunk.room(matrices[chunk.matrix].tensor.geometry, panels: panels)
    }

    /// Bytes that all chunks of a pass take at most, as `DecodedChunks` keeps them.
    var decodedBytesPerPass: Int { chunks.reduce(0) { $0 + decodedRoom($1) } }
}
