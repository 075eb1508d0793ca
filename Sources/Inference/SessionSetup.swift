import CKernels
import LayerStore
import TensorCore

/// Everything a session needs, allocated in the order of the memory budget: what must be there, ring, resident weights.
struct SessionSetup {
    let session: SessionPlan
    let residents: Residents?
    let decoded: DecodedChunks?
    let experts: ExpertCache?

    /// Where reads need a thread each and nothing says how many: as many as kept a disk busy (Benchmarks/RESULTS.md,
    /// "Reader").
    private static let readerThreads = 4

    /// Throws `.limit` for memory that is not to be had.
    init(_ session: SessionPlan) throws(LaminaError) {
        self.session = session
        let memory = session.memory
        decoded = memory.keepsDecoded ? try DecodedChunks(session.stream, session.kernels) : nil
        residents =
            memory.keepsDecoded || memory.residentBytes == 0
            ? nil
            : try Residents(sizes: session.requests.residableSizes, budget: memory.residentBytes)
        experts =
            memory.expertSlots.isEmpty
            ? nil : try ExpertCache(session.requests.experts, slots: memory.expertSlots)
    }

    /// What will read ahead, once started.
    func prefetcher() throws(LaminaError) -> Prefetcher {
        let (plan, requests) = (session.stream, session.requests)
        let names = requests.requests.map { plan.matrices[plan.chunks[$0.chunks.lowerBound].matrix].name }
        return try Prefetcher(
            files: plan.files, requests: requests.requests, names: names, bodyRequestCount: requests.bodyCount,
            schedule: schedule, slotBytes: session.slotBytes, slotCount: session.slotCount, residents: residents,
            readsOnce: decoded != nil,
            options: ReaderOptions(
                mode: session.options.readMode, depth: session.options.readDepth,
                threads: session.options.readDepth ?? SessionSetup.readerThreads),
            memory: session.ring, experts: requests.experts, cache: experts)
    }

    private var schedule: [PassSchedule] {
        let (workload, memory) = (session.workload, session.memory)
        if let evaluation = session.evaluation { return evaluation.schedule }
        if workload.isChat { return [PassSchedule(includesHead: true, count: Int.max >> 1)] }
        let prompts = PassDivision(counts: workload.sequences.map(\.promptTokens), columns: memory.columns).schedule
        // As many as there may be: sequences that end early make it fewer.
        let perStep = dividedUp(max(1, workload.sequences.count), by: memory.columns)
        let later = workload.laterSteps.multipliedReportingOverflow(by: perStep)
        return prompts + [PassSchedule(includesHead: true, count: later.overflow ? Int.max >> 1 : later.partialValue)]
    }
}

extension StreamPlan {
    /// Whether a pass over decoded weights is faster than one over the same weights as stored: not for words in the
    /// clear, nor where exp-tier is decoded inside the product as fast as words are loaded (Benchmarks/RESULTS.md,
    /// "Kernels").
    func isDecodedFaster(_ kernels: KernelTable) -> Bool {
        let fusesAtFullSpeed = kernels.pointee.isa == LAMINA_ISA_AVX512_VBMI2
        return chunks.contains { chunk in
            let matrix = matrices[chunk.matrix]
            let first = chunk.chunk * matrix.planeCount
            return matrix.tensor.chunks[first..<(first + matrix.planeCount)].contains {
                $0.encoding == .zstd || $0.encoding == .ecqTier || ($0.encoding == .expTier && !fusesAtFullSpeed)
            } || matrix.planeCount > 1
        }
    }

    /// Decoded bytes a worker needs room for: those of chunks that cannot be multiplied as they are stored, or of all.
    func scratchBytes(keepsDecoded: Bool) -> Int {
        let isMultipliedAsStored = matrices.allSatisfy { matrix in
            matrix.planeCount == 1
                && matrix.tensor.chunks.allSatisfy { $0.encoding == .raw || $0.encoding == .expTier }
        }
        // What is needed row by row is decoded a panel at a time.
        return isMultipliedAsStored && !keepsDecoded
            ? max(64, rowFloats * MemoryLayout<Float>.stride) : largestDecodedBytes
    }
}
