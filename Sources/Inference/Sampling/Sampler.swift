import TensorCore

/// Chooses the next token from a model's logits.
///
/// The steps come in the order of llama.cpp's default chain: repeat penalty, top-k, top-p, min-p, temperature, draw.
/// Top-p and min-p therefore see probabilities at temperature 1. At temperature 0 the penalty is followed by the
/// choice of the most probable token. With the same settings, logits and history the choice is the same on every
/// machine: ties go to the lower id, sums run in a fixed order, and the exponential is Lamina's own.
public struct Sampler: Sendable {
    /// What it was made with.
    public let settings: SamplerSettings
    private var generator: RandomGenerator
    /// The logits after the penalty; kept to spare an allocation per token.
    private var penalized: [Float] = []

    /// Throws `.usage` if a setting is out of range.
    public init(settings: SamplerSettings) throws(LaminaError) {
        try settings.validate()
        self.settings = settings
        generator = RandomGenerator(seed: settings.seed)
    }

    /// The id of the next token; `history` is the ids so far, prompt included, for the repeat penalty.
    ///
    /// Throws `.unexpected` if a logit is not a number or plus infinity, or all are minus infinity.
    public mutating func sample(logits: UnsafeBufferPointer<Float>, history: [Int]) throws(LaminaError) -> Int {
        guard settings.repeatPenalty != 1 else { return try choose(logits) }
        penalized.removeAll(keepingCapacity: true)
        penalized.append(contentsOf: logits)
        RepeatPenalty(penalty: settings.repeatPenalty, lastN: settings.repeatLastN)
            .apply(&penalized, history: history)
        // Out of `self` while it is read, so that choosing may use the generator.
        let logits = penalized
        let choice = logits.withUnsafeBufferPointer { logits in
            Result { () throws(LaminaError) in try choose(logits) }
        }
        return try choice.get()
    }

    private mutating func choose(_ logits: UnsafeBufferPointer<Float>) throws(LaminaError) -> Int {
        let best = try Greedy.best(logits)
        guard settings.temperature > 0, settings.topK != 1 else { return best.id }
        var candidates = candidates(logits, maximum: best.logit)
        candidates = MinP.filter(candidates, maximum: best.logit, p: settings.minP)
        let id = Temperature.draw(
            candidates, maximum: best.logit, temperature: settings.temperature, uniform: generator.nextUniform())
        return id ?? best.id
    }

    /// What top-k and top-p leave, in falling order; in the order of ids if neither is on.
    private func candidates(_ logits: UnsafeBufferPointer<Float>, maximum: Float) -> [Candidate] {
        if settings.topK > 0, settings.topK < logits.count {
            let candidates = TopK.select(logits, settings.topK)
            guard settings.topP < 1 else { return candidates }
            let total = candidates.reduce(0) { $0 + relativeProbability($1.logit, maximum: maximum) }
            return Array(candidates.prefix(TopP.count(candidates, total: total, p: settings.topP) ?? candidates.count))
        }
        guard settings.topP < 1 else {
            return logits.enumerated().map { Candidate(id: $0.offset, logit: $0.element) }
        }
        return TopP.select(logits, maximum: maximum, p: settings.topP)
    }
}
