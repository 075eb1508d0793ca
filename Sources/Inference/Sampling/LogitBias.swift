/// A number added to a token's logit, minus infinity to rule it out: transformers' `SequenceBiasLogitsProcessor` for
/// single tokens, OpenAI's `logit_bias`.
public struct LogitBias: Sendable, Equatable {
    public var id: Int
    public var bias: Float

    public init(id: Int, bias: Float) {
        self.id = id
        self.bias = bias
    }

    /// Changes `logits` in place. An id without a logit is passed over.
    static func apply(_ biases: [LogitBias], to logits: inout [Float]) {
        for bias in biases where logits.indices.contains(bias.id) { logits[bias.id] += bias.bias }
    }
}
