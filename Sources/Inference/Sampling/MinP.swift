/// Keeps tokens whose probability is at least a fraction of the most probable one's (Nguyen et al. 2024), as in
/// llama.cpp and transformers.
enum MinP {
    /// The candidates to keep; their order stays.
    static func filter(_ candidates: [Candidate], maximum: Float, p: Double) -> [Candidate] {
        guard p > 0 else { return candidates }
        return candidates.filter { relativeProbability($0.logit, maximum: maximum) >= p }
    }
}
