/// Makes tokens that occurred recently less probable (Keskar et al. 2019, CTRL), as transformers and llama.cpp do:
/// a positive logit is divided by the penalty, any other multiplied, once however often the token occurred.
struct RepeatPenalty {
    var penalty: Double
    /// How many tokens at the end of the history count; -1 for all.
    var lastN: Int

    /// Changes `logits` in place; ids in `history` without a logit are passed over.
    func apply(_ logits: inout [Float], history: [Int]) {
        guard penalty != 1 else { return }
        let penalty = Float(penalty)
        for id in Set(lastN < 0 ? history[...] : history.suffix(lastN)) where logits.indices.contains(id) {
            logits[id] = logits[id] > 0 ? logits[id] / penalty : logits[id] * penalty
        }
    }
}
