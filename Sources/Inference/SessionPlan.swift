import CKernels
import CSystem
import LayerStore
import TensorCore

/// A session before it is made: what its passes read and how its memory is divided, found out without that memory.
public struct SessionPlan {
    public let model: StoredModel
    public let workload: Workload
    public internal(set) var options: SessionOptions
    let kernels: KernelTable
    let stream: StreamPlan
    /// Bytes in use before anything is allocated for the session.
    let used: Int
    let budget: Int
    let memory: MemoryPlan
    /// How an evaluation is divided; `nil` for other workloads.
    let evaluation: EvaluationDivision?
    let requests: RequestPlan
    /// Which requests are read in every pass, or, of experts, may be read again.
    let isStreamed: [Bool]
    /// Bytes read in every pass, experts apart, and bytes of weights that stay in memory, with places for experts.
    let streamedDenseBytes: Int
    let residentBytes: Int
    /// The ring of slots for requests that do not stay in memory as they are.
    let slotBytes: Int
    let slotCount: Int
    /// The ring, once something has been measured in it.
    var ring: UntouchedMemory?

    /// Compiles the plan and divides the memory. Throws `.limit` for a budget or context out of bounds, `.usage` for
    /// impossible options, and what reading the store throws.
    public init(
        _ model: StoredModel, workload: Workload, options: SessionOptions, kernels: KernelTable
    ) throws(LaminaError) {
        try self.init(model, workload: workload, options: options, kernels: kernels) {
            Int(clamping: lamina_peak_resident_bytes())
        }
    }

    /// The same with the bytes in use given rather than asked of the system. They count once the stream plan is there,
    /// which takes tens of megabytes for the largest models.
    init(
        _ model: StoredModel, variant: WeightVariant? = nil, workload: Workload, options: SessionOptions,
        kernels: KernelTable, used: () -> Int
    ) throws(LaminaError) {
        try SessionPlan.check(model.config, workload, options)
        lamina_raise_file_limit()
        let stream = try StreamPlanBuilder.plan(
            for: model, mode: options.readMode, compute: options.compute, variant: variant)
        try self.init(model, workload, options, kernels: kernels, stream: stream, used: used())
    }

    /// The same for a plan that has been compiled, and checked options.
    init(
        _ model: StoredModel, _ workload: Workload, _ options: SessionOptions, kernels: KernelTable,
        stream: StreamPlan, used: Int
    ) throws(LaminaError) {
        self.model = model
        self.workload = workload
        self.options = options
        self.kernels = kernels
        self.stream = stream
        self.used = used
        budget = options.memoryBytes ?? MemoryPlan.defaultBudget(used: used)
        let memory = try SessionPlan.memory(
            stream, model.config, workload, options, kernels: kernels, used: used, budget: budget)
        self.memory = memory
        evaluation = workload.evaluation.map { EvaluationDivision($0, columns: memory.columns) }
        requests = RequestPlan(stream, targetBytes: memory.requestBytes)
        let (offsets, byteCount) = Residents.choose(
            requests.residableSizes, budget: memory.keepsDecoded ? 0 : memory.residentBytes)
        residentBytes = memory.keepsDecoded ? memory.residentBytes : byteCount + memory.expertBytes
        var isKept = offsets.map { $0 >= 0 }
        for (index, layer) in requests.experts.layers.enumerated()
        where memory.expertSlots.count(layer: index, experts: layer.experts.count) == layer.experts.count {
            for request in layer.requests { isKept[request] = true }
        }
        let keepsDecoded = memory.keepsDecoded
        isStreamed = isKept.map { !$0 && !keepsDecoded }
        streamedDenseBytes = zip(requests.requests, isStreamed).reduce(0) { sum, request in
            sum + (request.1 && request.0.expert == nil ? request.0.byteCount : 0)
        }
        let throughRing = zip(requests.requests, isKept).filter { !$1 }.map(\.0.byteCount)
        slotBytes = throughRing.reduce(AlignedBuffer.alignment, max)
        slotCount = max(1, min(memory.ringBytes / slotBytes, throughRing.count))
    }

    /// The same model and process with another workload, budget, or number of bytes in use. Throws as `init`.
    public func replanned(
        workload: Workload? = nil, memoryBytes: Int? = nil, used: Int? = nil
    ) throws(LaminaError) -> SessionPlan {
        var options = options
        options.memoryBytes = memoryBytes ?? budget
        let workload = workload ?? self.workload
        try SessionPlan.check(model.config, workload, options)
        return try SessionPlan(model, workload, options, kernels: kernels, stream: stream, used: used ?? self.used)
    }

    private static func check(
        _ config: ModelConfig, _ workload: Workload, _ options: SessionOptions
    ) throws(LaminaError) {
        guard (1...1024).contains(options.threads) else {
            throw LaminaError(
                .usage, "--threads", "value out of range", expected: "1 to 1024", found: "\(options.threads)")
        }
        for sequence in workload.sequences where !(1...config.maximumPositions).contains(sequence.positions) {
            throw LaminaError(
                .usage, "--ctx", "the model was not made for such a context",
                expected: "1 to \(config.maximumPositions) positions", found: "\(sequence.positions)")
        }
    }

    private static func memory(
        _ plan: StreamPlan, _ config: ModelConfig, _ workload: Workload, _ options: SessionOptions,
        kernels: KernelTable, used: Int, budget: Int
    ) throws(LaminaError) -> MemoryPlan {
        func memory(cacheBytes: Int) throws(LaminaError) -> MemoryPlan {
            try MemoryPlan(
                demand(plan, config, workload, options, kernels: kernels, used: used, cacheBytes: cacheBytes),
                budget: budget)
        }
        guard let demands = workload.evaluation else {
            return try memory(
                cacheBytes: try KeyValueCache.byteCount(
                    plan.keyValues, sequences: workload.sequences, type: options.keyValueType))
        }
        let (shapes, type) = (plan.keyValues, options.keyValueType)
        // What a pass needs goes by its columns; one block more, since a sequence may fill a part of its last one.
        let block = Int(LAMINA_KV_BLOCK) * KeyValueCache.bytesPerColumn(shapes, type: type)
        let longest = demands.reduce(0) { max($0, $1.tokens) }
        let sequence = SequenceDemand(promptTokens: longest, newTokens: 0)
        let allLayers = max(block, try KeyValueCache.byteCount(shapes, sequences: [sequence], type: type))
        if var wide = try? memory(cacheBytes: block), longest <= wide.columns {
            wide.minimumBytes += allLayers - block
            return wide
        }
        // Sequences that take several passes keep all layers' keys and values: fewer columns are left.
        return try memory(cacheBytes: allLayers)
    }

    /// `cacheBytes` are those for keys and values that do not depend on the columns of a pass.
    private static func demand(
        _ plan: StreamPlan, _ config: ModelConfig, _ workload: Workload, _ options: SessionOptions,
        kernels: KernelTable, used: Int, cacheBytes: Int
    ) throws(LaminaError) -> MemoryPlan.Demand {
        let isDecodedFaster = plan.isDecodedFaster(kernels)
        let worker = Worker.memoryBytes(
            decodedBytes: plan.scratchBytes(keepsDecoded: isDecodedFaster), scores: plan.scoreRows(workload),
            rowFloats: plan.rowFloats)
        let floats = [
            plan.vectorFloats, Checked.product([workload.logitsRows, PassRunner.logitsStride(config)]),
        ]
        var perColumn =
            Activations.bytesPerColumn(widths: plan.widths)
            + ActivationCodes.bytesPerColumn(widths: plan.widths, buffers: plan.codedBuffers)
            + RopeAngles.bytesPerColumn(config.ropes)
            + Router.bytesPerColumn(plan) + plan.panelBytesPerColumn * options.threads
        if workload.evaluation != nil {
            perColumn += HeadScores.bytesPerColumn(vocabulary: config.vocabularySize)
            perColumn += KeyValueCache.bytesPerColumn(plan.keyValues, type: options.keyValueType)
            if plan.panelBytesPerColumn == 0 { perColumn += Worker.panelBytesPerColumn * options.threads }
        }
        guard let vectors = floats[0], let logits = floats[1], let floatBytes = Checked.product([vectors + logits, 4]),
            let needed = Checked.add(cacheBytes, options.threads * worker + floatBytes)
        else {
            throw LaminaError(.limit, "--ctx", "the context is too long to keep its keys and values in memory")
        }
        let requests = RequestPlan(plan, targetBytes: RequestPlan.wantedBytes)
        return MemoryPlan.Demand(
            used: used, fixed: needed + EmbeddingLookup.memoryBytes(plan) + plan.bookkeepingBytes, perColumn: perColumn,
            wantedColumns: max(1, workload.wantedColumns), laterPasses: workload.laterSteps,
            chunkBytes: plan.largestChunkBytes, passBytes: requests.denseByteCount,
            decodedPassBytes: plan.decodedBytesPerPass, expertCounts: requests.experts.counts,
            largestExpertBytes: requests.experts.largestByteCount, isDecodedFaster: isDecodedFaster,
            lookupBytes: EmbeddingLookup.slotBytes(plan), embeddingBytes: EmbeddingLookup.keepableBytes(plan))
    }
}
