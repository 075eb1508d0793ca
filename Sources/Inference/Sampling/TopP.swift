/// Nucleus sampling (Holtzman et al. 2019): keeps the fewest most probable tokens whose probabilities add up to at
/// least p, including the one that reaches it, and always one. As in llama.cpp, the probabilities are those among the
/// candidates that came so far, at temperature 1.
enum TopP {
    /// How many of `candidates`, in falling order, to keep. `total` is the sum of `relativeProbability` over all
    /// tokens that compete, which may be more than `candidates`; `nil` if the candidates do not reach p.
    static func count(_ candidates: [Candidate], total: Double, p: Double) -> Int? {
        guard let maximum = candidates.first?.logit else { return 0 }
        var sum = 0.0
        for (index, candidate) in candidates.enumerated() {
            sum += relativeProbability(candidate.logit, maximum: maximum)
            if sum >= p * total { return index + 1 }
        }
        return nil
    }

    /// The nucleus of all `logits`, in falling order.
    static func select(_ logits: UnsafeBufferPointer<Float>, maximum: Float, p: Double) -> [Candidate] {
        var total = 0.0
        for logit in logits { total += relativeProbability(logit, maximum: maximum) }
        // A nucleus is small as a rule: sorting everything would cost more than trying two sizes first.
        for size in [128, 2048] where size < logits.count {
            let candidates = TopK.select(logits, size)
            if let count = count(candidates, total: total, p: p) { return Array(candidates[..<count]) }
        }
        var candidates: [Candidate] = []
        for (id, logit) in logits.enumerated() where logit > -.infinity {
            candidates.append(Candidate(id: id, logit: logit))
        }
        candidates.sort { $0.precedes($1) }
        // Rounding can leave the sum just below p; then everything is the nucleus.
        return Array(candidates.prefix(count(candidates, total: total, p: p) ?? candidates.count))
    }
}
