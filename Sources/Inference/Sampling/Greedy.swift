import TensorCore

/// The most probable token.
enum Greedy {
    /// The candidate with the highest logit, of equal ones the one with the lowest id.
    ///
    /// Throws `.unexpected` if a logit is not a number or infinite, or no logit is finite: then the weights or the
    /// arithmetic are wrong, and any choice would hide it. Minus infinity, which rules a token out, is fine.
    static func best(_ logits: UnsafeBufferPointer<Float>) throws(LaminaError) -> Candidate {
        var best = Candidate(id: -1, logit: -.infinity, weight: 1)
        var isValid = true
        for (id, logit) in logits.enumerated() {
            // False for not-a-number and for plus infinity.
            isValid = isValid && logit < .infinity
            if logit > best.logit { best = Candidate(id: id, logit: logit, weight: 1) }
        }
        guard isValid, best.id >= 0 else {
            let bad = logits.firstIndex { !($0 < .infinity) }
            throw LaminaError(
                .malformed, "", "the model gave no usable logits", expected: "finite numbers",
                found: bad.map { "\(logits[$0]) for token \($0)" } ?? "none of \(logits.count)",
                hint: "weights that are no numbers do that, or such as leave the range of f32")
        }
        return best
    }
}
