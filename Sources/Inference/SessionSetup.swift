import CKernels
import CSystem
import LayerStore
import TensorCore

/// Everything a session needs, decided and allocated in the order of the memory budget: what must be there, ring,
/// resident weights.
struct SessionSetup {
    let plan: StreamPlan
    let memory: MemoryPlan
    let budget: Int
    let requests: RequestPlan
    let residents: Residents?
    let decoded: DecodedChunks?
    /// The ring of slots for requests that do not stay in memory as they are.
    let slotBytes: Int
    let slotCount: Int

    /// Compiles the plan and divides the memory. `used` are the bytes in use already. Throws `.limit` for a budget or
    /// context out of bounds, and what reading the store throws.
    init(
        _ model: StoredModel, _ workload: Workload, _ options: SessionOptions, kernels: KernelTable, used: Int
    ) throws(LaminaError) {
        lamina_raise_file_limit()
        plan = try StreamPlanBuilder.plan(for: model, mode: options.readMode)
        let demand = try SessionSetup.demand(plan, model.config, workload, options, kernels: kernels, used: used)
        budget = options.memoryBytes ?? MemoryPlan.defaultBudget(used: used)
        memory = try MemoryPlan(demand, budget: budget)
        requests = RequestPlan(plan, targetBytes: memory.requestBytes)
        decoded = memory.keepsDecoded ? try DecodedChunks(plan) : nil
        residents =
            memory.keepsDecoded || memory.residentBytes == 0
            ? nil : try Residents(sizes: requests.requests.map(\.byteCount), budget: memory.residentBytes)
        let kept = residents
        let throughRing = requests.requests.enumerated().filter { !(kept?.contains($0.offset) ?? false) }
        slotBytes = throughRing.reduce(AlignedBuffer.alignment) { max($0, $1.element.byteCount) }
        slotCount = max(1, min(memory.ringBytes / slotBytes, throughRing.count))
    }

    /// Whether a request is read in every pass.
    func isStreamed(_ request: Int) -> Bool { decoded == nil && !(residents?.contains(request) ?? false) }

    /// Bytes read in every pass.
    var streamedBytes: Int {
        requests.requests.indices.reduce(0) { $0 + (isStreamed($1) ? requests.requests[$1].byteCount : 0) }
    }

    /// Starts reading ahead for `workload`.
    func prefetcher(_ workload: Workload, _ options: SessionOptions) throws(LaminaError) -> Prefetcher {
        let names = requests.requests.map { plan.matrices[plan.chunks[$0.chunks.lowerBound].matrix].name }
        return try Prefetcher(
            files: plan.files, requests: requests.requests, names: names, bodyRequestCount: requests.bodyCount,
            schedule: schedule(workload), slotBytes: slotBytes, slotCount: slotCount, residents: residents,
            readsOnce: decoded != nil,
            options: ReaderOptions(mode: options.readMode, depth: options.readDepth, threads: 4))
    }

    private func schedule(_ workload: Workload) -> [PassSchedule] {
        if workload.isScoring {
            return [PassSchedule(includesHead: true, count: dividedUp(workload.promptTokens, by: memory.columns))]
        }
        let prompts = PassDivision(counts: workload.sequences.map(\.promptTokens), columns: memory.columns).schedule
        // As many as there may be: sequences that end early make it fewer.
        let perStep = dividedUp(max(1, workload.sequences.count), by: memory.columns)
        let later = workload.laterSteps.multipliedReportingOverflow(by: perStep)
        return prompts + [PassSchedule(includesHead: true, count: later.overflow ? Int.max >> 1 : later.partialValue)]
    }

    private static func demand(
        _ plan: StreamPlan, _ config: ModelConfig, _ workload: Workload, _ options: SessionOptions,
        kernels: KernelTable, used: Int
    ) throws(LaminaError) -> MemoryPlan.Demand {
        let sequences = workload.sequences
        let longest = sequences.reduce(0) { max($0, KeyValueCache.capacity($1.positions)) }
        let cacheBytes = try KeyValueCache.byteCount(config, positions: sequences.map(\.positions))
        let isDecodedFaster = plan.isDecodedFaster(kernels)
        let worker = Worker.memoryBytes(
            decodedBytes: plan.scratchBytes(keepsDecoded: isDecodedFaster), positions: longest)
        let floats = [plan.vectorFloats, Checked.product([sequences.count, PassRunner.logitsStride(config)])]
        var perColumn = Activations.bytesPerColumn(widths: plan.widths) + 4 * config.rope.dimension
        if workload.isScoring {
            perColumn += HeadScores.bytesPerColumn(vocabulary: config.vocabularySize) + 256 * options.threads
        }
        guard let vectors = floats[0], let logits = floats[1], let floatBytes = Checked.product([vectors + logits, 4]),
            let needed = Checked.add(cacheBytes, options.threads * worker + floatBytes)
        else {
            throw LaminaError(.limit, "--ctx", "the context is too long to keep its keys and values in memory")
        }
        return MemoryPlan.Demand(
            used: used, fixed: needed + EmbeddingLookup.memoryBytes(plan), perColumn: perColumn,
            wantedColumns: max(1, workload.promptTokens), laterPasses: workload.laterSteps,
            chunkBytes: plan.largestChunkBytes,
            passBytes: RequestPlan(plan, targetBytes: RequestPlan.wantedBytes).bytesPerPass,
            decodedPassBytes: plan.decodedBytesPerPass, isDecodedFaster: isDecodedFaster,
            embeddingBytes: EmbeddingLookup.keepableBytes(plan))
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
                $0.encoding == .zstd || ($0.encoding == .expTier && !fusesAtFullSpeed)
            } || matrix.planeCount > 1
        }
    }

    /// Decoded bytes a worker needs room for: those of chunks that cannot be multiplied as they are stored, or of all.
    func scratchBytes(keepsDecoded: Bool) -> Int {
        let isMultipliedAsStored = matrices.allSatisfy { matrix in
            matrix.planeCount == 1 && matrix.tensor.chunks.allSatisfy { $0.encoding != .zstd }
        }
        return isMultipliedAsStored && !keepsDecoded ? 64 : largestDecodedBytes
    }
}
