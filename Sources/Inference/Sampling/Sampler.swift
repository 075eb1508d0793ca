import TensorCore

/// Chooses the next token from a model's logits.
///
/// The steps come in transformers' order: logit bias, penalties, temperature, top-k, top-p, min-p, typical, draw; each
/// sees the probabilities that the steps before it left. At temperature 0 the penalties are followed by the choice of
/// the most probable token. With the same settings, logits and history the choice is the same on every machine: ties
/// go to the lower id, sums run in a fixed order, and the exponential is Lamina's own. Arrays as long as the vocabulary
/// are kept from token to token.
public struct Sampler: Sendable {
    /// What it was made with.
    public let settings: SamplerSettings
    private var generator: RandomGenerator
    /// The logits after bias and penalties.
    private var adjusted: [Float] = []
    private var penalties = Penalties()
    private var candidates: [Candidate] = []

    /// Throws `.usage` if a setting is out of range.
    public init(settings: SamplerSettings) throws(LaminaError) {
        try settings.validate()
        self.settings = settings
        generator = RandomGenerator(seed: settings.seed)
    }

    /// The id of the next token; `history` is the ids so far, prompt included, for the penalties.
    ///
    /// Throws `.unexpected` if a logit is not a number or plus infinity, or all are minus infinity.
    public mutating func sample(logits: UnsafeBufferPointer<Float>, history: [Int]) throws(LaminaError) -> Int {
        let best = try select(logits: logits, history: history)
        guard !settings.takesBest else { return best.id }
        return Temperature.draw(candidates, uniform: generator.nextUniform()) ?? best.id
    }

    /// What the next token would be drawn from: ids and their probabilities.
    ///
    /// Throws as `sample` does.
    package mutating func distribution(
        logits: UnsafeBufferPointer<Float>, history: [Int]
    ) throws(LaminaError) -> [(id: Int, probability: Double)] {
        let best = try select(logits: logits, history: history)
        guard !settings.takesBest else { return [(best.id, 1)] }
        let total = candidates.reduce(0) { $0 + $1.weight }
        return candidates.map { ($0.id, $0.weight / total) }
    }

    /// Leaves in `candidates` what may be drawn. Returns the most probable token.
    private mutating func select(
        logits: UnsafeBufferPointer<Float>, history: [Int]
    ) throws(LaminaError) -> Candidate {
        guard settings.hasPenalties || !settings.logitBias.isEmpty else { return try filter(logits) }
        // Before anything hides a logit that is not a number.
        _ = try Greedy.best(logits)
        adjusted.removeAll(keepingCapacity: true)
        adjusted.append(contentsOf: logits)
        LogitBias.apply(settings.logitBias, to: &adjusted)
        penalties.apply(settings, to: &adjusted, history: history)
        // Taken out of `self` while it is read, so that filtering may use the other buffers.
        var logits: [Float] = []
        swap(&logits, &adjusted)
        defer { swap(&logits, &adjusted) }
        let best = logits.withUnsafeBufferPointer { logits in
            Result { () throws(LaminaError) in try filter(logits) }
        }
        return try best.get()
    }

    private mutating func filter(_ logits: UnsafeBufferPointer<Float>) throws(LaminaError) -> Candidate {
        let best = try Greedy.best(logits)
        guard !settings.takesBest else { return best }
        let scaled = ScaledLogits(logits: logits, maximum: best.logit, temperature: settings.temperature)
        if settings.topK > 0, settings.topK < logits.count {
            TopK.select(scaled, settings.topK, into: &candidates)
            TopP.keep(&candidates, p: settings.topP)
        } else if settings.topP < 1 {
            TopP.select(scaled, p: settings.topP, into: &candidates)
        } else {
            scaled.collect(into: &candidates)
        }
        MinP.keep(&candidates, p: settings.minP)
        Typical.keep(&candidates, scaled, mass: settings.typicalP)
        return best
    }
}
