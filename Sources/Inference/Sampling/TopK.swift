/// Keeps the most probable tokens (Fan et al. 2018), as transformers' `TopKLogitsWarper`, which keeps more only where
/// the last one has equals: here the lower id wins.
enum TopK {
    /// Puts the `count` first candidates into `candidates`, by falling logit, equal ones by rising id. Logits of minus
    /// infinity never count.
    ///
    /// One pass over the logits with a heap of `count`: most logits are compared once, with the least one kept.
    static func select(_ scaled: ScaledLogits, _ count: Int, into candidates: inout [Candidate]) {
        candidates.removeAll(keepingCapacity: true)
        var threshold = -Float.infinity
        for (id, logit) in scaled.logits.enumerated() where logit > threshold {
            // Ids rise, so a later candidate with the same logit as the least kept one never replaces it.
            let candidate = Candidate(id: id, logit: logit, weight: 0)
            if candidates.count < count {
                candidates.append(candidate)
                CandidateHeap.rise(&candidates, Candidate.precedes)
            } else {
                candidates[0] = candidate
                CandidateHeap.sink(&candidates, from: 0, count: count, Candidate.precedes)
            }
            if candidates.count == count { threshold = candidates[0].logit }
        }
        CandidateHeap.unwind(&candidates, Candidate.precedes)
        for index in candidates.indices { candidates[index].weight = scaled.weight(candidates[index].logit) }
    }
}
