/// A model's arithmetic as data: what the stream plan is compiled from.
///
/// Operations run in order on named activations, each a matrix [columns, width] with one column per token. Widths
/// follow from the tensors. Projections that stand side by side and do not read one another's results form one stage
/// without a barrier in between.
public struct Network: Sendable {
    /// The embedding matrix [vocabulary, hidden]; token rows become the residual stream.
    public var embedding: String
    /// Operations between the embedding and the first layer.
    var start: [Operation]
    /// The operations of each layer; names with `*`.
    var layers: [[Operation]]
    /// Operations after the last layer, on the positions whose logits are wanted.
    var final: [Operation]
    /// The activation that is multiplied with the head matrix.
    var headInput: Activation
    /// The head matrix [vocabulary, hidden]; the embedding's name when they are one.
    var head: String
    var headForm = HeadForm()
}

/// What makes logits of the head's products.
struct HeadForm: Sendable, Equatable {
    /// Rows of the head matrix are divided by their Euclidean norms (Baichuan 2's NormHead).
    var normalizesRows = false
    /// `logits = cap * tanh(logits / cap)`; `nil` for logits as they are.
    var softcap: Float?
    /// Factor on the logits.
    var scale: Float = 1
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
    /// Query, key and value out of one matrix.
    case fused
    /// Attention's output, heads side by side.
    case mixed
    case gate
    case up
    /// Gate and up out of one matrix.
    case gateUp
    /// A projection back to the width of the residual stream.
    case projected
    /// Latent attention: the query before its heads are made of it.
    case queryLatent
    /// Latent attention: what all heads share of a position, the latent vector and then the rotated key.
    case latent
    /// Latent attention: heads that meet latent vectors, [heads, latent + rotated].
    case absorbed
    /// Latent attention: mixed latent vectors, [heads, latent].
    case mixedLatent
    /// The router's products, one per expert.
    case router
    /// Columns that go through one expert, side by side.
    case expertInput
    case expertGate
    case expertUp
    case expertOutput
    /// The weighted sum of the experts.
    case expertSum
    /// The gate of a shared expert, a single value.
    case sharedGate
}

/// Part of an activation: `width` values from `offset` on.
struct ActivationView: Sendable, Equatable {
    var activation: Activation
    var offset = 0
    var width: Int
}

/// Heads inside an activation. Head `h` begins at `offset + (h / perGroup) * groupStride + (h % perGroup) * stride`: a
/// fused matrix may have heads of one kind side by side, or a key's and a value's head behind each group of queries.
struct Heads: Sendable, Equatable {
    var activation: Activation
    var offset = 0
    var count: Int
    /// Values of one head.
    var dimension: Int
    /// From one head to the next in its group.
    var stride: Int
    var perGroup: Int
    var groupStride: Int

    /// `count` heads, each directly behind the other.
    init(_ activation: Activation, offset: Int = 0, count: Int, dimension: Int) {
        self.init(
            activation, offset: offset, count: count, dimension: dimension, stride: dimension, perGroup: count,
            groupStride: 0)
    }

    init(
        _ activation: Activation, offset: Int, count: Int, dimension: Int, stride: Int, perGroup: Int, groupStride: Int
    ) {
        self.activation = activation
        self.offset = offset
        self.count = count
        self.dimension = dimension
        self.stride = stride
        self.perGroup = perGroup
        self.groupStride = groupStride
    }

    func start(_ head: Int) -> Int { offset + head / perGroup * groupStride + head % perGroup * stride }

    /// Part of every head: `dimension` values from `first` on.
    func part(_ first: Int, _ dimension: Int) -> Heads {
        var part = self
        part.offset += first
        part.dimension = dimension
        return part
    }

    /// Where the last head ends.
    var end: Int { (0..<count).reduce(0) { max($0, start($1) + dimension) } }
}

/// How a norm is computed.
struct Norm: Sendable, Equatable {
    enum Kind: Sendable, Equatable {
        /// `x / rms(x) * (offset + weight)`.
        case rootMeanSquare(offset: Float)
        /// `(x - mean) / deviation * weight + bias`.
        case layer
    }

    var kind: Kind
    var epsilon: Float

    static func rootMeanSquare(_ epsilon: Float) -> Norm { Norm(kind: .rootMeanSquare(offset: 0), epsilon: epsilon) }
}

/// How the values of a head pair up for rotation.
enum RopeStyle: Sendable {
    /// The first half with the second.
    case halves
    /// Neighbours.
    case pairs
}

/// Activation functions; numbered as in the kernels.
enum ActivationFunction: Int, Sendable {
    case silu, gelu, geluTanh, geluFast, relu
}

/// Scores are changed in the order of these fields, after their scale.
struct AttentionForm: Sendable, Equatable {
    var scale: Float
    /// `score = cap * tanh(score / cap)`.
    var softcap: Float?
    /// Linear biases by distance (ALiBi) instead of rotation: one slope per head.
    var slopes: [Float]?
    /// Positions that can be attended to, the token's own included; `nil` for all.
    var window: Int?
}

/// Routing of a token to experts.
struct Routing: Sendable, Equatable {
    enum Scores: Sendable { case softmax, sigmoid }

    /// Which groups of experts may be chosen from.
    enum Groups: Sendable, Equatable {
        case all
        /// The best `kept` of `count` groups, by their best expert.
        case byMaximum(count: Int, kept: Int)
        /// By the sum of their two best experts.
        case byTopTwo(count: Int, kept: Int)
    }

    var experts: Int
    /// Experts per token.
    var chosen: Int
    var scores: Scores
    var groups: Groups
    /// Weights of the chosen experts are divided by their sum.
    var normalizes: Bool
    /// Factor on the weights, after that.
    var scale: Float
}

/// One step of a layer.
enum Operation: Sendable {
    /// A norm of a whole activation.
    case norm(Norm, _ input: Activation, weight: String, bias: String?, into: Activation)
    /// A norm of each head; one weight for all heads, or one each.
    case headNorm(Norm, Heads, weights: [String])
    /// `output = weight · input (+ bias)`.
    case project(_ input: Activation, weight: String, bias: String?, into: Activation)
    /// Rotary position embedding on the first values of each head; index into `ModelConfig.ropes`.
    case rotate(Heads, rope: Int, RopeStyle)
    /// Heads times `log(position + 1) / log(length)` from position `length` on (Qwen's log-n scaling).
    case scaleBeyond(Heads, length: Int)
    /// Appends `key` and `value` to the cache, then `output = softmax(query · keys) · values` per head, causal. Without
    /// values, those are the first `valueDimension` values of the keys.
    case attend(query: Heads, key: Heads, value: Heads?, valueDimension: Int, AttentionForm, into: Activation)
    /// Latent attention: `output head = weightᵀ · query head` with the first rows that `weight` has for the head, and
    /// behind it the head's rotated part as it is.
    case absorb(query: Heads, rotated: Heads, weight: String, rowsPerHead: Int, into: Activation)
    /// Latent attention: `output head = weight · input head` with the last `dimension` rows for the head.
    case expand(_ input: Heads, weight: String, rowsPerHead: Int, dimension: Int, into: Activation)
    /// `output = function(gate) (* up)`.
    case activate(ActivationFunction, gate: ActivationView, up: ActivationView?, into: Activation)
    /// `target += source`.
    case add(_ source: Activation, into: Activation)
    /// `target += sigmoid(gate) * source` with a gate of one value.
    case addGated(_ source: Activation, gate: Activation, into: Activation)
    case scale(Activation, Float)
    /// Chooses experts for every column by the router's products. `scoreBias` is added to the scores to choose by, not to
    /// weigh with.
    case route(Routing, scoreBias: String?)
    /// `expertSum = Σ weight · down(function(gate) * up)` over the experts chosen for each column, in the order of the
    /// experts.
    case experts(ExpertMixture)
}

/// Experts of a layer. `#` in names stands for the expert's index.
struct ExpertMixture: Sendable {
    var input: Activation
    /// How many there are, and how many a token goes through.
    var experts: Int
    var chosen: Int
    var function: ActivationFunction
    var gate: String
    var up: String
    var down: String

    static func name(_ pattern: String, expert: Int) -> String {
        pattern.split(separator: "#", omittingEmptySubsequences: false).joined(separator: String(expert))
    }
}
