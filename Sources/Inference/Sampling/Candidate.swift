import CKernels

/// A token that may be chosen, with its logit.
struct Candidate: Equatable, Sendable {
    var id: Int
    var logit: Float

    /// Whether this one comes first: the higher logit, of equal ones the lower id.
    @inline(__always)
    func precedes(_ other: Candidate) -> Bool {
        logit > other.logit || (logit == other.logit && id < other.id)
    }
}

/// exp((`logit` − `maximum`) / `temperature`), a candidate's probability up to a common factor. Lamina's own
/// exponential: a C library's would make the chosen token depend on the machine.
@inline(__always)
func relativeProbability(_ logit: Float, maximum: Float, temperature: Double = 1) -> Double {
    lamina_exp((Double(logit) - Double(maximum)) / temperature)
}
