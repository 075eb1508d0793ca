import CKernels

/// A token that may be chosen.
struct Candidate: Equatable, Sendable {
    var id: Int
    var logit: Float
    /// Its probability up to a factor common to all: exp((logit − highest logit) / temperature).
    var weight: Double

    /// Whether this one comes first: the higher logit, of equal ones the lower id.
    @inline(__always)
    static func precedes(_ left: Candidate, _ right: Candidate) -> Bool {
        left.logit > right.logit || (left.logit == right.logit && left.id < right.id)
    }
}

/// The logits of one choice, and what makes probabilities of them.
struct ScaledLogits {
    let logits: UnsafeBufferPointer<Float>
    /// The highest.
    let maximum: Float
    let temperature: Double

    /// The exponent of a candidate's weight, at most 0.
    @inline(__always)
    func exponent(_ logit: Float) -> Double { (Double(logit) - Double(maximum)) / temperature }

    /// Lamina's own exponential: a C library's would make the chosen token depend on the machine.
    @inline(__always)
    func weight(_ logit: Float) -> Double { lamina_exp(exponent(logit)) }

    /// Puts all tokens that are not ruled out into `candidates`, by rising id.
    func collect(into candidates: inout [Candidate]) {
        candidates.removeAll(keepingCapacity: true)
        for (id, logit) in logits.enumerated() where logit > -.infinity {
            candidates.append(Candidate(id: id, logit: logit, weight: weight(logit)))
        }
    }
}
