import CKernels
import CSystem
import LayerStore
import TensorCore

/// What a session is for; decides what memory it sets aside and what it reads ahead.
public enum Workload: Sendable {
    /// A prompt, then at most so many tokens.
    case generate(promptTokens: Int, newTokens: Int)
    /// Log-probabilities of a text of so many tokens.
    case score(tokens: Int)
}

/// Choices that change speed and memory, never results.
public struct SessionOptions: Sendable {
    /// Threads that compute, the caller included.
    public var threads: Int
    /// Bytes that the process may take; `nil` for what is available less a margin.
    public var memoryBytes: Int?
    /// Positions there is room for.
    public var context: Int
    /// Threads that read.
    public var readers: Int
    /// Whether to try to read past the page cache.
    public var readMode: ReadMode

    public init(
        threads: Int, memoryBytes: Int? = nil, context: Int, readers: Int = 4, readMode: ReadMode = .direct
    ) {
        self.threads = threads
        self.memoryBytes = memoryBytes
        self.context = context
        self.readers = readers
        self.readMode = readMode
    }
}

/// Where the time went, and how memory was divided.
public struct SessionStatistics: Sendable {
    /// Bytes read from shards so far.
    public var bytesRead: UInt64
    /// Seconds in reads, summed over reader threads, which overlap with everything else.
    public var readSeconds: Double
    /// Seconds a computing thread waited for the disk, on average over the threads.
    public var waitSeconds: Double
    /// Seconds a computing thread decoded and multiplied, on average over the threads.
    public var computeSeconds: Double
    /// Bytes of chunks kept in memory, decoded or as stored, and of all chunks of a pass as stored.
    public var residentBytes: Int
    public var keepsDecoded: Bool
    public var passBytes: Int
    /// Positions of the prompt per pass, and slots of the read-ahead ring.
    public var columns: Int
    public var slots: Int
    public var readMode: ReadMode
}

/// One sequence of tokens going through a model that is streamed from its store.
///
/// Used from one thread. The same tokens give the same logits to the bit, whatever the options, the instruction set,
/// and the way the tokens are divided into passes.
public final class InferenceSession {
    private let model: StoredModel
    private let plan: StreamPlan
    private let memory: MemoryPlan
    private let residentBytes: Int
    private let prefetcher: Prefetcher
    private let runner: PassRunner
    private let lookup: EmbeddingLookup
    private let scores: HeadScores?
    private let context: Int
    /// Tokens so far.
    public private(set) var position = 0

    /// Prepares the plan, the memory and the threads, and starts reading. Throws `.limit` for a budget or context out
    /// of bounds, `.usage` for impossible options, and what reading the store throws.
    public convenience init(
        _ model: StoredModel, workload: Workload, options: SessionOptions, kernels: KernelTable
    ) throws(LaminaError) {
        try self.init(model, workload: workload, options: options, kernels: kernels, used: nil)
    }

    /// The same with the bytes in use given rather than asked of the system.
    init(
        _ model: StoredModel, workload: Workload, options: SessionOptions, kernels: KernelTable, used knownUse: Int?
    ) throws(LaminaError) {
        try InferenceSession.check(model.config, workload, options)
        self.model = model
        context = options.context
        plan = try StreamPlanBuilder.plan(for: model, reader: options.readMode)
        let used = knownUse ?? Int(clamping: lamina_peak_resident_bytes())
        let demand = try InferenceSession.demand(plan, model.config, workload, options, used: used)
        memory = try MemoryPlan(demand, budget: options.memoryBytes ?? MemoryPlan.defaultBudget(used: used))
        let vectors = try ResidentVectors(plan, kernels: kernels)
        let activations = try Activations(widths: plan.widths, columns: memory.columns)
        let cache = try KeyValueCache(model.config, positions: options.context)
        lookup = try EmbeddingLookup(plan, kernels: kernels)
        var isScoring = false
        if case .score = workload { isScoring = true }
        scores = isScoring ? try HeadScores(vocabulary: model.config.vocabularySize, columns: memory.columns) : nil
        var workers: [Worker] = []
        for _ in 0..<options.threads {
            workers.append(
                try Worker(
                    decodedBytes: plan.decodedBytes, positions: cache.capacity,
                    panelColumns: isScoring ? memory.columns : 0, kernels: kernels))
        }
        let residents = try Residents(plan.reads, budget: memory.residentBytes, decoded: memory.keepsDecoded)
        residentBytes = residents.byteCount
        prefetcher = try Prefetcher(
            plan: plan, schedule: InferenceSession.schedule(workload, columns: memory.columns),
            slotBytes: plan.slotBytes, slotCount: memory.slots, readers: options.readers, residents: residents)
        do throws(LaminaError) {
            runner = try PassRunner(
                plan, model.config, kernels: kernels, vectors: vectors,
                rope: Rope(model.config.rope, promptLength: workload.promptTokens), workers: workers,
                activations: activations, cache: cache, prefetcher: prefetcher)
        } catch {
            prefetcher.stop()
            throw error
        }
    }

    deinit { prefetcher.stop() }

    // MARK: Preparing

    private static func check(
        _ config: ModelConfig, _ workload: Workload, _ options: SessionOptions
    ) throws(LaminaError) {
        guard (1...1024).contains(options.threads) else {
            throw LaminaError(
                .usage, "--threads", "value out of range", expected: "1 to 1024", found: "\(options.threads)")
        }
        guard options.context >= 1, options.context <= config.maximumPositions else {
            throw LaminaError(
                .usage, "--ctx", "the model was not made for such a context",
                expected: "1 to \(config.maximumPositions) positions", found: "\(options.context)")
        }
        guard workload.promptTokens <= options.context else {
            throw LaminaError(
                .usage, "--ctx", "the prompt is longer than the context", expected: "at most \(options.context) tokens",
                found: "\(workload.promptTokens)")
        }
    }

    private static func demand(
        _ plan: StreamPlan, _ config: ModelConfig, _ workload: Workload, _ options: SessionOptions, used: Int
    ) throws(LaminaError) -> MemoryPlan.Demand {
        let cacheBytes = try KeyValueCache.byteCount(config, positions: options.context)
        let worker = Worker.memoryBytes(decodedBytes: plan.decodedBytes, positions: roundedUp(options.context, to: 16))
        let floats = plan.vectorFloats + config.vocabularySize
        var perColumn = Activations.bytesPerColumn(widths: plan.widths) + 4 * config.rope.dimension
        if case .score = workload {
            perColumn += HeadScores.bytesPerColumn(vocabulary: config.vocabularySize) + 256 * options.threads
        }
        guard let needed = Checked.add(cacheBytes, options.threads * worker + floats * 4) else {
            throw LaminaError(.limit, "--ctx", "the context is too long to keep its keys and values in memory")
        }
        return MemoryPlan.Demand(
            used: used, fixed: needed + EmbeddingLookup.memoryBytes(plan), perColumn: perColumn,
            wantedColumns: workload.promptTokens, laterPasses: workload.laterPasses, slotBytes: plan.slotBytes,
            passBytes: plan.bytesPerPass, decodedPassBytes: plan.decodedBytesPerPass, reads: plan.reads.count)
    }

    private static func schedule(_ workload: Workload, columns: Int) -> [PassSchedule] {
        let passes = dividedUp(workload.promptTokens, by: columns)
        switch workload {
        case .score: return [PassSchedule(includesHead: true, count: passes)]
        case .generate(_, let newTokens):
            return [
                PassSchedule(includesHead: false, count: passes - 1),
                PassSchedule(includesHead: true, count: max(1, newTokens)),
            ]
        }
    }

    // MARK: Running

    /// Takes the whole prompt; the logits of its last position are there afterwards. False if `shouldStop`, asked after
    /// every layer, ended it. Throws `.damaged` or `.io` with file, layer, tensor and bytes: no result comes from bytes
    /// that are not as written.
    public func prefill(_ tokens: [Int], shouldStop: () -> Bool = { false }) throws(LaminaError) -> Bool {
        try checkTokens(tokens)
        var next = 0
        while next < tokens.count {
            let end = min(next + memory.columns, tokens.count)
            let isLast = end == tokens.count
            let finished = try pass(tokens[next..<end], head: isLast ? .lastColumn : nil, shouldStop: shouldStop)
            guard finished else { return false }
            next = end
        }
        return true
    }

    /// Takes one generated token; its logits are there afterwards. As `prefill`.
    public func advance(_ token: Int, shouldStop: () -> Bool = { false }) throws(LaminaError) -> Bool {
        try checkTokens([token])
        return try pass([token], head: .lastColumn, shouldStop: shouldStop)
    }

    /// The logits (vocabulary) after the last token taken.
    public func withLogits<Value>(
        _ body: (UnsafeBufferPointer<Float>) throws(LaminaError) -> Value
    ) throws(LaminaError) -> Value {
        try body(UnsafeBufferPointer(start: runner.logits.start, count: model.config.vocabularySize))
    }

    /// What `score` finds.
    public struct Scores: Sendable {
        /// log p(token i + 1 | tokens up to i), one fewer than tokens.
        public var logProbabilities: [Double] = []
        /// One per layer, empty unless asked for.
        public var probes: [LayerProbe] = []
    }

    /// Takes all tokens and returns the log-probability of each but the first; the logits of the last position are
    /// there afterwards. `nil` if `shouldStop` ended it. Throws as `prefill`.
    public func score(
        _ tokens: [Int], probes wantsProbes: Bool = false, shouldStop: () -> Bool = { false }
    ) throws(LaminaError) -> Scores? {
        guard let scores else { throw LaminaError(.unexpected, "", "the session was not made for scoring") }
        try checkTokens(tokens)
        var result = Scores()
        if wantsProbes { result.probes = [LayerProbe](repeating: LayerProbe(), count: model.config.layerCount) }
        var next = 0
        while next < tokens.count {
            let end = min(next + memory.columns, tokens.count)
            for column in 0..<(end - next) {
                scores.targets[column] = next + column + 1 < tokens.count ? tokens[next + column + 1] : -1
            }
            let layerEnd: (Int) -> Void = { layer in
                guard wantsProbes else { return }
                for column in 0..<(end - next) {
                    let residual = self.runner.activations.column(.residual, column)
                    result.probes[layer].add(
                        UnsafeBufferPointer(start: residual, count: self.model.config.hiddenSize))
                }
            }
            let finished = try pass(
                tokens[next..<end], head: .allColumns(scores, keepsLast: end == tokens.count), shouldStop: shouldStop,
                layerEnd: layerEnd)
            guard finished else { return nil }
            for column in 0..<(end - next) where scores.targets[column] >= 0 {
                result.logProbabilities.append(scores.logProbability(column: column))
            }
            next = end
        }
        return result
    }

    private func checkTokens(_ tokens: [Int]) throws(LaminaError) {
        guard !tokens.isEmpty else { throw LaminaError(.usage, "", "there are no tokens to start from") }
        for token in tokens where !(0..<model.config.vocabularySize).contains(token) {
            throw LaminaError(
                .usage, "", "token id out of range", expected: "0 to \(model.config.vocabularySize - 1)",
                found: "\(token)")
        }
        guard position + tokens.count <= context else {
            throw LaminaError(
                .limit, "--ctx", "the context is full", expected: "at most \(context) tokens",
                found: "\(position + tokens.count)")
        }
    }

    private func pass(
        _ tokens: ArraySlice<Int>, head: PassRunner.HeadUse?, shouldStop: () -> Bool,
        layerEnd: ((Int) -> Void)? = nil
    ) throws(LaminaError) -> Bool {
        try lookup.fill(tokens, runner.activations, prefetcher: prefetcher)
        let finished = try runner.run(
            columns: tokens.count, firstPosition: position, head: head, shouldStop: shouldStop, layerEnd: layerEnd)
        position += tokens.count
        return finished
    }

    /// So far.
    public var statistics: SessionStatistics {
        let reading = prefetcher.readStatistics
        let threads = Double(runner.workers.count)
        return SessionStatistics(
            bytesRead: reading.bytes + lookup.statistics.bytes,
            readSeconds: reading.seconds + lookup.statistics.seconds,
            waitSeconds: runner.workers.reduce(0) { $0 + $1.waitSeconds } / threads,
            computeSeconds: runner.workers.reduce(0) { $0 + $1.taskSeconds } / threads, residentBytes: residentBytes,
            keepsDecoded: memory.keepsDecoded, passBytes: plan.bytesPerPass, columns: memory.columns,
            slots: memory.slots,
            readMode: plan.files.allSatisfy { $0.mode == .direct } ? .direct : .buffered)
    }
}

extension Workload {
    /// Tokens known at the start.
    var promptTokens: Int {
        switch self {
        case .generate(let promptTokens, _): promptTokens
        case .score(let tokens): tokens
        }
    }

    /// Passes after those of the prompt: the last token generated is not fed back.
    var laterPasses: Int {
        switch self {
        case .generate(_, let newTokens): max(0, newTokens - 1)
        case .score: 0
        }
    }
}
