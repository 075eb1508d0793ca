import CSystem
import LayerStore
import TensorCore

/// Compares what stores say about a text with what a reference says, all of them streamed.
///
/// Windows are taken in groups. The reference's logits of a group stay in memory while one store after the other is swept
/// over it, so a group's size goes by the memory budget. A session exists only while its store is swept. Results do not
/// depend on the groups, the budget or the threads, to the bit.
public final class StoreComparison {
    /// What is said about one store.
    public struct Result: Sendable {
        /// Of the positions that count, window by window.
        public internal(set) var scores: [PositionScore] = []
        /// The residual stream's error after each layer, relative to the reference's; empty for the reference, and where
        /// the models have different layers.
        public internal(set) var layerErrors: [Double] = []
        public internal(set) var tokens = 0
        /// Of the sweeps, preparations apart.
        public internal(set) var seconds = 0.0
        public internal(set) var bytesRead: UInt64 = 0

        public var tokensPerSecond: Double { seconds > 0 ? Double(tokens) / seconds : 0 }
    }

    /// The reference's, and the others'.
    private let plans: [SessionPlan]
    private let windows: [EvaluationSequence]
    private let used: Int
    private let budget: Int
    /// Windows in a group.
    public let groupSize: Int
    private let reservedBytes: Int
    /// The smallest budget that works.
    let leastBytes: Int

    /// A store as it is to be computed with.
    public struct Subject {
        public var model: StoredModel
        /// Where some of its matrices are taken from instead.
        public var variant: WeightVariant?
        public var options: SessionOptions

        public init(model: StoredModel, variant: WeightVariant? = nil, options: SessionOptions) {
            self.model = model
            self.variant = variant
            self.options = options
        }
    }

    /// Plans the comparison of `others` with `reference` over `windows`, which are of one kind. The budget is the
    /// reference's. Throws `.usage` for models whose vocabularies differ, `.limit` for a budget that is too small, and
    /// what reading the stores throws.
    public convenience init(
        _ reference: Subject, _ others: [Subject], windows: [EvaluationSequence], kernels: KernelTable
    ) throws(LaminaError) {
        try self.init(reference, others, windows: windows, kernels: kernels) {
            Int(clamping: lamina_peak_resident_bytes())
        }
    }

    /// The same with the bytes in use given rather than asked of the system.
    init(
        _ reference: Subject, _ others: [Subject], windows: [EvaluationSequence], kernels: KernelTable,
        used inUse: () -> Int
    ) throws(LaminaError) {
        let vocabulary = reference.model.config.vocabularySize
        for other in others where other.model.config.vocabularySize != vocabulary {
            throw LaminaError(
                .usage, other.model.store.path, "the vocabulary differs from the first store's",
                expected: "\(vocabulary) tokens", found: "\(other.model.config.vocabularySize)")
        }
        var plans: [SessionPlan] = []
        for subject in [reference] + others {
            plans.append(
                try SessionPlan(
                    subject.model, variant: subject.variant, workload: .evaluate(Array(windows.prefix(1))),
                    options: subject.options, kernels: kernels, used: inUse))
        }
        self.plans = plans
        self.windows = windows
        let wanted = windows.first?.wanted.count ?? 0
        used = inUse()
        budget = plans[0].budgetBytes
        let scoreBytes = windows.count * wanted * plans.count * MemoryLayout<PositionScore>.stride
        let perWindow =
            wanted * ReferenceLogits.bytesPerPosition(vocabulary: vocabulary)
            + LayerErrors.bytesPerWindow(
                layers: reference.model.config.layerCount, width: reference.model.config.hiddenSize, wanted: wanted)
        let sessions = plans.reduce(0) { max($0, $1.minimumBytes) }
        // Half of what is left for logits; but more windows than fill a pass gain nothing.
        let room = max(0, budget - sessions - scoreBytes) / 2 / max(1, perWindow)
        let perPass = MemoryPlan.mostColumns / max(1, KeyValueCache.capacity(windows.first?.fed ?? 1))
        groupSize = max(1, min(room, perPass, windows.count))
        reservedBytes = groupSize * perWindow + scoreBytes
        leastBytes = sessions + perWindow + scoreBytes
        guard leastBytes <= budget else {
            throw LaminaError(
                .limit, "--memory", "the budget is too small to keep the logits of one window and sweep a store",
                expected: "at least \(dividedUp(leastBytes, by: 1 << 20)) MiB",
                found: "\(budget >> 20) MiB", hint: "raise --memory, or lower --ctx or --threads")
        }
    }

    private var groups: [[EvaluationSequence]] {
        stride(from: 0, to: windows.count, by: groupSize)
            .map { Array(windows[$0..<min(windows.count, $0 + groupSize)]) }
    }

    /// A store's plan for a group, with what `bytes` leave of the memory. Throws `.limit`.
    private func plan(
        _ store: Int, _ group: [EvaluationSequence], besides bytes: Int
    ) throws(LaminaError) -> SessionPlan {
        try plans[store].replanned(workload: .evaluate(group), memoryBytes: budget, used: used + bytes)
    }

    /// Layers of all sweeps: how often `run` says that one is done.
    public func layerCount() throws(LaminaError) -> Int {
        var count = 0
        for group in groups {
            for store in plans.indices {
                let passes = try plan(store, group, besides: reservedBytes).evaluationPasses
                count += passes * plans[store].model.config.layerCount
            }
        }
        return count
    }

    /// What all sweeps are expected to take. Measures each store's disk and, with `measuresCompute`, the processors.
    /// Throws `.io` and `.damaged` where a store cannot be read, `.limit`.
    public func forecast(measuresCompute: Bool) throws(LaminaError) -> [Forecast] {
        var forecasts: [Forecast] = []
        guard let group = groups.first else { return [] }
        for store in plans.indices {
            var plan = try plan(store, group, besides: reservedBytes)
            forecasts.append(try plan.forecastForRun(measuresCompute: measuresCompute))
        }
        return forecasts
    }

    /// Sweeps all stores over all windows: the reference's result first. `nil` if `finishedLayer`, called after every
    /// layer of a pass, ended it. Throws as `InferenceSession.evaluate`.
    public func run(finishedLayer: () -> Bool) throws(LaminaError) -> [Result]? {
        let config = plans[0].model.config
        let wanted = windows.first?.wanted.count ?? 0
        let logits = try ReferenceLogits(capacity: groupSize * wanted, vocabulary: config.vocabularySize)
        let layers = try LayerErrors(
            layers: config.layerCount, width: config.hiddenSize, wanted: wanted, windows: groupSize,
            stores: plans.count)
        var results = [Result](repeating: Result(), count: plans.count)
        for group in groups {
            for store in plans.indices {
                let use: LogitUse = store == 0 ? .keep(logits) : .compare(logits)
                guard
                    try sweep(store, group, use, layers, into: &results[store], finishedLayer: finishedLayer)
                else { return nil }
            }
        }
        for store in plans.indices.dropFirst() where hasSameLayers(store) {
            results[store].layerErrors = layers.relative(store)
        }
        return results
    }

    private func hasSameLayers(_ store: Int) -> Bool {
        let (first, other) = (plans[0].model.config, plans[store].model.config)
        return first.layerCount == other.layerCount && first.hiddenSize == other.hiddenSize
    }

    private func sweep(
        _ store: Int, _ group: [EvaluationSequence], _ use: LogitUse, _ layers: LayerErrors, into result: inout Result,
        finishedLayer: () -> Bool
    ) throws(LaminaError) -> Bool {
        // The next session counts on what this one takes.
        defer { lamina_trim_heap() }
        let session = try InferenceSession(plan(store, group, besides: reservedBytes))
        let comparesLayers = hasSameLayers(store)
        let started = lamina_monotonic_seconds()
        let scores = try session.evaluate(group, use: use, shouldStop: finishedLayer) { layer, pass in
            if comparesLayers { layers.take(store == 0 ? nil : store, layer: layer, pass, of: group) }
        }
        guard let scores else { return false }
        result.seconds += lamina_monotonic_seconds() - started
        result.bytesRead += session.statistics.bytesRead
        result.tokens += group.reduce(0) { $0 + $1.fed }
        result.scores += scores
        return true
    }
}

extension StoreComparison {
    /// Takes the first window through the reference and shows what each of its matrices is multiplied with; a matrix comes
    /// more than once where the window takes several passes. `bytes` are set aside for the visitor. False if
    /// `finishedLayer` ended it. Throws as `InferenceSession.evaluate`.
    public func visitMatrixInputs(
        besides bytes: Int, finishedLayer: () -> Bool, _ visit: @escaping InferenceSession.MatrixVisitor
    ) throws(LaminaError) -> Bool {
        defer { lamina_trim_heap() }
        let window = Array(windows.prefix(1))
        let session = try InferenceSession(plan(0, window, besides: bytes))
        return try session.evaluate(window, shouldStop: finishedLayer, matrixInputs: visit) != nil
    }

    /// The matrices of some of the stores, the reference being number 0, for reading their rows. Throws as `MatrixRows`.
    public func matrixRows(of stores: [Int]) throws(LaminaError) -> [MatrixRows] {
        var rows: [MatrixRows] = []
        for store in stores { rows.append(try MatrixRows(plans[store])) }
        return rows
    }

    /// Columns of the widest matrix of the reference.
    public var widestMatrix: Int { plans[0].stream.matrices.reduce(0) { max($0, $1.columns) } }

    /// Bytes that `matrixRows` takes.
    public func matrixRowsBytes(of stores: [Int]) -> Int {
        stores.reduce(0) { $0 + MatrixRows.memoryBytes(plans[$1]) }
    }

    /// What the stores take, the reference's first.
    public var sizes: [StoreSize] { plans.map { StoreSize($0) } }
}
