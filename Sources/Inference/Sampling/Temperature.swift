/// Draws from the candidates' probabilities at a temperature: the softmax of logit / temperature.
enum Temperature {
    /// The id whose share of the line from 0 to 1 `uniform` (below 1) falls on, shares in the candidates' order.
    static func draw(_ candidates: [Candidate], maximum: Float, temperature: Double, uniform: Double) -> Int? {
        var total = 0.0
        let weights = candidates.map { candidate in
            let weight = relativeProbability(candidate.logit, maximum: maximum, temperature: temperature)
            total += weight
            return weight
        }
        var rest = uniform * total
        for (candidate, weight) in zip(candidates, weights) {
            if rest < weight { return candidate.id }
            rest -= weight
        }
        // Only rounding gets here.
        return candidates.indices.last { weights[$0] > 0 }.map { candidates[$0].id }
    }
}
