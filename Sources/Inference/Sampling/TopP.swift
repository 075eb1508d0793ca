/// Nucleus sampling (Holtzman et al. 2019): keeps the fewest most probable tokens whose probabilities add up to at
/// least p, including the one that reaches it, and always one; as transformers' `TopPLogitsWarper` and llama.cpp. The
/// probabilities are those among the candidates that came so far.
enum TopP {
    /// Drops the others of `candidates`, which are in falling order.
    static func keep(_ candidates: inout [Candidate], p: Double) {
        guard p < 1 else { return }
        let total = candidates.reduce(0) { $0 + $1.weight }
        // Rounding can leave the sum just below p; then everything is the nucleus.
        guard let count = count(candidates, total: total, p: p) else { return }
        candidates.removeLast(candidates.count - count)
    }

    /// How many of `candidates`, in falling order, to keep. `total` is the sum of the weights of all tokens that
    /// compete, which may be more than `candidates`; `nil` if the candidates do not reach p.
    private static func count(_ candidates: [Candidate], total: Double, p: Double) -> Int? {
        var sum = 0.0
        for (index, candidate) in candidates.enumerated() {
            sum += candidate.weight
            if sum >= p * total { return index + 1 }
        }
        return nil
    }

    /// A nucleus is small as a rule: sorting everything would cost more than trying these first.
    private static let sizes = [128, 2048]

    /// Puts the nucleus of all logits into `candidates`, in falling order.
    static func select(_ scaled: ScaledLogits, p: Double, into candidates: inout [Candidate]) {
        var total = 0.0
        for logit in scaled.logits { total += scaled.weight(logit) }
        for size in sizes where size < scaled.logits.count {
            TopK.select(scaled, size, into: &candidates)
            if let count = count(candidates, total: total, p: p) {
                return candidates.removeLast(candidates.count - count)
            }
        }
        scaled.collect(into: &candidates)
        CandidateHeap.sort(&candidates, Candidate.precedes)
        if let count = count(candidates, total: total, p: p) { candidates.removeLast(candidates.count - count) }
    }
}
