/// Draws from the candidates' probabilities: their shares in the sum of weights.
enum Temperature {
    /// The id whose share of the line from 0 to 1 `uniform` (below 1) falls on, shares in the candidates' order; `nil`
    /// without candidates.
    static func draw(_ candidates: [Candidate], uniform: Double) -> Int? {
        var rest = uniform * candidates.reduce(0) { $0 + $1.weight }
        for candidate in candidates {
            if rest < candidate.weight { return candidate.id }
            rest -= candidate.weight
        }
        // Only rounding gets here.
        return candidates.last { $0.weight > 0 }?.id
    }
}
