/// Make tokens that occurred recently less probable.
///
/// The repetition penalty (Keskar et al. 2019, CTRL) is that of transformers' `RepetitionPenaltyLogitsProcessor`: a
/// positive logit is divided by it, any other multiplied, once however often the token occurred. The presence penalty
/// is subtracted once, the frequency penalty once for every occurrence, as OpenAI defines them and llama.cpp does.
struct Penalties {
    /// Occurrences of recent tokens; kept to spare an allocation per token.
    private var counts: [Int: Int] = [:]

    /// Changes `logits` in place, where `history` are the ids so far; those without a logit are passed over.
    mutating func apply(_ settings: SamplerSettings, to logits: inout [Float], history: [Int]) {
        guard settings.hasPenalties else { return }
        counts.removeAll(keepingCapacity: true)
        for id in settings.repeatLastN < 0 ? history[...] : history.suffix(settings.repeatLastN)
        where logits.indices.contains(id) {
            counts[id, default: 0] += 1
        }
        let repetition = Float(settings.repeatPenalty)
        for (id, count) in counts {
            var logit = logits[id]
            logit = logit > 0 ? logit / repetition : logit * repetition
            logits[id] = logit - Float(settings.presencePenalty) - Float(count) * Float(settings.frequencyPenalty)
        }
    }
}
