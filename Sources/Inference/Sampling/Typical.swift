/// Locally typical sampling (Meister et al. 2022): keeps the tokens whose information is nearest to the expected one,
/// the entropy, until their probabilities add up to a mass; as transformers' `TypicalLogitsWarper`. Tokens as near as
/// the last one stay, too.
enum Typical {
    /// Drops the other candidates; changes their order.
    static func keep(_ candidates: inout [Candidate], _ scaled: ScaledLogits, mass: Double) {
        guard mass < 1, candidates.count > 1 else { return }
        var (total, moment) = (0.0, 0.0)
        for candidate in candidates {
            total += candidate.weight
            moment += candidate.weight * scaled.exponent(candidate.logit)
        }
        // With x the exponent and Z the sum of weights, information is log Z − x and entropy log Z − mean(x): their
        // difference needs no logarithm.
        let mean = moment / total
        func distance(_ candidate: Candidate) -> Double { abs(mean - scaled.exponent(candidate.logit)) }
        CandidateHeap.sort(&candidates) { left, right in
            let (left, leftID, right, rightID) = (distance(left), left.id, distance(right), right.id)
            return left < right || (left == right && leftID < rightID)
        }
        var sum = 0.0
        var last = 0
        while last < candidates.count - 1 {
            sum += candidates[last].weight
            if sum >= mass * total { break }
            last += 1
        }
        let farthest = distance(candidates[last])
        while last + 1 < candidates.count, distance(candidates[last + 1]) == farthest { last += 1 }
        candidates.removeLast(candidates.count - last - 1)
    }
}
