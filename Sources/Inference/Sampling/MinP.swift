/// Keeps tokens whose probability is at least a fraction of the most probable one's (Nguyen et al. 2024), as in
/// transformers' `MinPLogitsWarper` and llama.cpp.
enum MinP {
    /// Drops the others; the order stays. The most probable token's weight is 1.
    static func keep(_ candidates: inout [Candidate], p: Double) {
        guard p > 0 else { return }
        candidates.removeAll { $0.weight < p }
    }
}
