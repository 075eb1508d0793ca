/// A model's arithmetic as data: what the stream plan is compiled from.
///
/// Operations run in order on named activations, each a matrix [columns, width] with one column per token. Widths
/// follow from the tensors. Projections that stand side by side and do not read one another's results form one stage
/// without a barrier in between.
public struct Network: Sendable {
    /// The embedding matrix [vocabulary, hidden]; token rows become the residual stream.
    public var embedding: String
    /// The operations of one layer; names with `*`.
    public var layer: @Sendable (_ layer: Int) -> [Operation]
    /// Operations after the last layer, on the positions whose logits are wanted.
    public var final: [Operation]
    /// The activation that is multiplied with the head matrix.
    public var headInput: Activation
    /// The head matrix [vocabulary, hidden]; the embedding's name when they are one.
    public var head: String

    public init(
        embedding: String, layer: @escaping @Sendable (_ layer: Int) -> [Operation], final: [Operation],
        headInput: Activation, head: String
    ) {
        self.embedding = embedding
        self.layer = layer
        self.final = final
        self.headInput = headInput
        self.head = head
    }
}

/// A buffer [columns, width] of f32 activations.
public enum Activation: Int, Sendable, CaseIterable {
    /// The residual stream.
    case residual
    /// A norm's output.
    case normalized
    case query
    case key
    case value
    /// Attention's output, heads side by side.
    case mixed
    case gate
    case up
    /// A projection back to the width of the residual stream.
    case projected
}

/// One step of a layer.
public enum Operation: Sendable {
    /// `output = input / rms(input) * weight`.
    case rmsNorm(_ input: Activation, weight: String, into: Activation)
    /// `output = weight · input (+ bias)`.
    case project(_ input: Activation, weight: String, bias: String?, into: Activation)
    /// Rotary position embedding on each of `heads` heads, halves rotated against each other.
    case rotateHalves(_ activation: Activation, heads: Int)
    /// Appends `key` and `value` to the cache, then `mixed = softmax(query · keys * scale) · values`, causal.
    case attend(scale: Float)
    /// `gate = silu(gate) * up`.
    case siluMultiply(gate: Activation, up: Activation)
    /// `target += source`.
    case add(_ source: Activation, into: Activation)
}
