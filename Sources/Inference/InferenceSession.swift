import CKernels
import LayerStore
import TensorCore

/// Sequences of tokens going through a model that is streamed from its store, all sharing each pass over the weights.
///
/// Used from one thread. The same tokens of a sequence give the same logits to the bit, whatever the options, the
/// instruction set, the other sequences, and the way the tokens are divided into passes.
public final class InferenceSession {
    let model: StoredModel
    let setup: SessionSetup
    private let prefetcher: Prefetcher
    let runner: PassRunner
    private let lookup: EmbeddingLookup
    let cache: KeyValueCache
    let angles: RopeAngles
    /// Positions there are and positions there is room for, per sequence.
    private var positions: [Int]
    private let capacities: [Int]
    /// The row of the logits buffer that each sequence's last logits are in.
    private var logitsRows: [Int]
    private var passes = 0
    /// The most positions that the only sequence had since it was empty.
    private var reached = 0

    /// Prepares the plan, the memory and the threads. Throws `.limit` for a budget or context out of bounds, `.usage`
    /// for impossible options, and what reading the store throws.
    public convenience init(
        _ model: StoredModel, workload: Workload, options: SessionOptions, kernels: KernelTable
    ) throws(LaminaError) {
        try self.init(SessionPlan(model, workload: workload, options: options, kernels: kernels))
    }

    /// The same with the bytes in use given rather than asked of the system.
    convenience init(
        _ model: StoredModel, workload: Workload, options: SessionOptions, kernels: KernelTable, used: Int
    ) throws(LaminaError) {
        try self.init(SessionPlan(model, workload: workload, options: options, kernels: kernels) { used })
    }

    /// Carries out a plan: allocates its memory and starts its threads. Throws `.limit`, and what reading the store
    /// throws.
    public init(_ session: SessionPlan) throws(LaminaError) {
        model = session.model
        let (plan, memory, config) = (session.stream, session.memory, session.model.config)
        let kernels = session.kernels
        let setup = try SessionSetup(session)
        self.setup = setup
        let sequences = session.workload.sequences
        capacities = sequences.map(\.positions)
        positions = [Int](repeating: 0, count: sequences.count)
        logitsRows = [Int](repeating: 0, count: sequences.count)
        let vectors = try ResidentVectors(plan, kernels: kernels)
        let activations = try Activations(widths: plan.widths, columns: memory.columns)
        let codes = try ActivationCodes(widths: plan.widths, buffers: plan.codedBuffers, columns: memory.columns)
        angles = try RopeAngles(config.ropes, columns: memory.columns)
        if let demands = session.workload.evaluation {
            cache = try KeyValueCache(
                plan.keyValues,
                byteCount: try KeyValueCache.byteCount(
                    plan.keyValues, demands, columns: memory.columns, type: session.options.keyValueType),
                type: session.options.keyValueType, kernels: kernels)
        } else {
            cache = try KeyValueCache(
                plan.keyValues, sequences: sequences, type: session.options.keyValueType, kernels: kernels)
            angles.assign(lengths: sequences.map(session.workload.ropeLength))
        }
        let workers = try InferenceSession.workers(setup)
        prefetcher = try setup.prefetcher()
        do throws(LaminaError) {
            lookup = try EmbeddingLookup(
                plan, keptBytes: memory.embeddingBytes, slots: memory.lookupSlots, backend: prefetcher.backend,
                kernels: kernels)
            let products = try ChunkProducts(
                plan, session.requests, kernels: kernels, activations: activations, codes: codes, vectors: vectors,
                prefetcher: prefetcher, residents: setup.residents, decoded: setup.decoded)
            let work = WorkPlan(
                plan, requestOfChunk: session.requests.requestOfChunk, slots: session.slotCount,
                threads: session.options.threads,
                isStreamed: { session.isStreamed[session.requests.requestOfChunk[$0]] })
            let steps = ColumnSteps(
                plan: plan, kernels: kernels, vectors: vectors, activations: activations, codes: codes, angles: angles,
                cache: cache)
            runner = try PassRunner(
                plan, work, config, kernels: kernels, steps: steps, workers: workers, products: products,
                logitsRows: session.workload.logitsRows, prefetcher: prefetcher)
        } catch {
            prefetcher.stop()
            throw error
        }
    }

    deinit { prefetcher.stop() }

    // MARK: Preparing

    private static func workers(_ setup: SessionSetup) throws(LaminaError) -> [Worker] {
        let session = setup.session
        var workers: [Worker] = []
        for _ in 0..<session.options.threads {
            workers.append(
                try Worker(
                    decodedBytes: session.stream.scratchBytes(keepsDecoded: setup.decoded != nil),
                    scores: session.stream.scoreRows(session.workload),
                    rowFloats: session.stream.rowFloats,
                    panelColumns: session.workload.evaluation != nil || session.stream.panelBytesPerColumn > 0
                        ? session.memory.columns : 0, kernels: session.kernels))
        }
        return workers
    }

    // MARK: Running

    /// Appends tokens to sequences, all in as few passes as memory allows; the logits after the last token of each are
    /// there afterwards. False if `shouldStop`, asked after every layer, ended it: the session is then of no further
    /// use. Throws `.damaged` or `.io` with file, layer, tensor and bytes: no result comes from bytes that are not as
    /// written.
    public func feed(_ feeds: [Feed], shouldStop: () -> Bool = { false }) throws(LaminaError) -> Bool {
        for feed in feeds { try check(feed) }
        var row = 0
        for pass in PassDivision(counts: feeds.map(\.tokens.count), columns: setup.session.memory.columns).passes {
            var tokens: [Int] = []
            var columns: [PassRunner.Column] = []
            var wanted: [Int] = []
            let firstRow = row
            for part in pass {
                let feed = feeds[part.feed]
                tokens += feed.tokens[part.tokens]
                for _ in part.tokens {
                    columns.append(PassRunner.Column(sequence: feed.sequence, position: positions[feed.sequence]))
                    positions[feed.sequence] += 1
                }
                guard part.isEnd else { continue }
                wanted.append(columns.count - 1)
                logitsRows[feed.sequence] = row
                row += 1
            }
            // In a chat the head is part of what was read ahead: a pass that does not need it uses it all the same.
            if wanted.isEmpty, setup.session.workload.isChat { wanted = [columns.count - 1] }
            let head = wanted.isEmpty ? nil : PassRunner.HeadUse.logits(columns: wanted, firstRow: firstRow)
            guard try run(tokens, columns, head: head, shouldStop: shouldStop) else { return false }
        }
        return true
    }

    /// Positions that the only sequence has, and that it has room for.
    public var position: Int { positions[0] }
    public var capacity: Int { capacities[0] }

    /// Takes the last tokens of a chat's sequence back, so that it goes on behind `position`; where the keys and values
    /// of a sliding window are gone, all of them. What comes next gives the same logits as without the tokens taken back.
    public func rewind(to position: Int) {
        let kept = min(position, positions[0])
        reached = max(reached, positions[0])
        positions[0] = cache.keeps(position: kept, reached: reached) ? kept : 0
        if positions[0] == 0 { reached = 0 }
    }

    /// Takes the whole prompt of the only sequence. As `feed`.
    public func prefill(_ tokens: [Int], shouldStop: () -> Bool = { false }) throws(LaminaError) -> Bool {
        try feed([Feed(sequence: 0, tokens: tokens)], shouldStop: shouldStop)
    }

    /// Takes one generated token of the only sequence. As `feed`.
    public func advance(_ token: Int, shouldStop: () -> Bool = { false }) throws(LaminaError) -> Bool {
        try feed([Feed(sequence: 0, tokens: [token])], shouldStop: shouldStop)
    }

    /// The logits (vocabulary) after the last token that a sequence took with the last `feed`.
    public func withLogits<Value>(
        of sequence: Int = 0, _ body: (UnsafeBufferPointer<Float>) throws(LaminaError) -> Value
    ) throws(LaminaError) -> Value {
        try body(
            UnsafeBufferPointer(
                start: runner.logits(row: logitsRows[sequence]), count: model.config.vocabularySize))
    }

    /// Throws `.usage` for no tokens, and for those that the model does not know.
    func check(tokens: [Int]) throws(LaminaError) {
        guard !tokens.isEmpty else { throw LaminaError(.usage, "", "there are no tokens to start from") }
        for token in tokens where !(0..<model.config.vocabularySize).contains(token) {
            throw LaminaError(
                .usage, "", "token id out of range", expected: "0 to \(model.config.vocabularySize - 1)",
                found: "\(token)")
        }
    }

    private func check(_ feed: Feed) throws(LaminaError) {
        try check(tokens: feed.tokens)
        guard positions.indices.contains(feed.sequence) else {
            throw LaminaError(.unexpected, "", "the session has no sequence \(feed.sequence)")
        }
        let end = positions[feed.sequence] + feed.tokens.count
        guard end <= capacities[feed.sequence] else {
            throw LaminaError(
                .limit, "--ctx", "the context is full", expected: "at most \(capacities[feed.sequence]) tokens",
                found: "\(end)")
        }
    }

    /// One pass; false if `shouldStop` ended it.
    func run(
        _ tokens: [Int], _ columns: [PassRunner.Column], head: PassRunner.HeadUse?, shouldStop: () -> Bool,
        layerEnd: ((Int) -> Void)? = nil
    ) throws(LaminaError) -> Bool {
        // A tied embedding is the head's matrix, whose chunks may be in memory.
        let plan = setup.session.stream
        let firstHeadChunk = plan.isEmbeddingHead ? plan.bodyChunkCount : nil
        try lookup.fill(tokens, runner.activations) { chunk in
            firstHeadChunk.flatMap { runner.products.chunkInMemory($0 + chunk) }
        }
        prefetcher.start()
        passes += 1
        return try runner.run(columns, head: head, shouldStop: shouldStop, layerEnd: layerEnd)
    }

    /// So far.
    public var statistics: SessionStatistics {
        let (plan, reading) = (setup.session, prefetcher.readStatistics)
        func average(_ part: KeyPath<Worker.Seconds, Double>) -> Double {
            runner.workers.reduce(0) { $0 + $1.seconds[keyPath: part] } / Double(runner.workers.count)
        }
        let hasExperts = !plan.requests.experts.layers.isEmpty
        let (experts, perPass) = (reading.experts, UInt64(max(1, passes)))
        return SessionStatistics(
            bytesRead: reading.bytes + lookup.statistics.bytes,
            readSeconds: reading.seconds + lookup.statistics.seconds, waitSeconds: average(\.wait),
            checkSeconds: average(\.check), decodeSeconds: average(\.decode), computeSeconds: average(\.compute),
            passes: passes, residentBytes: setup.decoded?.byteCount ?? plan.residentBytes,
            keepsDecoded: plan.memory.keepsDecoded,
            passBytes: plan.requests.denseByteCount + Int((experts.hitBytes + experts.missBytes) / perPass),
            streamedBytes: plan.streamedDenseBytes + Int(experts.missBytes / perPass),
            experts: hasExperts ? experts : nil, columns: plan.memory.columns,
            ringBytes: plan.slotBytes * plan.slotCount, requestBytes: plan.requests.slotBytes,
            readMode: prefetcher.mode, readDepth: prefetcher.depth, budgetBytes: plan.budget,
            plannedBytes: plan.memory.totalBytes, minimumBytes: plan.memory.minimumBytes)
    }
}
