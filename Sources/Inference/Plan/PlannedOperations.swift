/// Heads in a buffer of activations, as the hot loop wants them.
struct PlannedHeads: Sendable, Equatable {
    /// Index into `StreamPlan.widths`.
    var buffer: Int
    /// Where each head begins.
    var starts: [Int]
    /// Values of one head.
    var dimension: Int

    var count: Int { starts.count }
}

/// Part of a buffer.
struct PlannedView: Sendable, Equatable {
    /// Index into `StreamPlan.widths`.
    var buffer: Int
    var offset: Int
    var width: Int
}

/// What happens to one column on its own; steps next to each other run as one. Buffers are indices into
/// `StreamPlan.widths`, weights and biases offsets into `ResidentVectors`.
enum ColumnStep: Sendable, Equatable {
    case norm(Norm, _ input: Int, weight: Int, bias: Int?, into: Int)
    /// One weight for all heads, or one for each.
    case headNorm(Norm, PlannedHeads, weights: [Int])
    case addBias(Int, to: Int)
    case rotate(PlannedHeads, rope: Int, RopeStyle)
    case scaleBeyond(PlannedHeads, length: Int)
    /// Without values they are part of the keys.
    case storeKeyValue(layer: Int, key: PlannedHeads, value: PlannedHeads?)
    /// `output = function(gate) (* up)`.
    case activate(ActivationFunction, gate: PlannedView, up: PlannedView?, into: Int)
    case add(_ source: Int, into: Int)
    /// `target += sigmoid(gate) * source`.
    case addGated(_ source: Int, gate: Int, into: Int)
    case scale(Int, Float)
    /// Makes the 8-bit codes of a buffer that products take.
    case quantize(Int)
}

/// Attention of one layer.
struct PlannedAttention: Sendable {
    var layer: Int
    var query: PlannedHeads
    var groups: [AttentionHeads]
    var form: AttentionForm
    /// Index into `StreamPlan.widths`; heads of the values' dimension side by side.
    var output: Int
}

/// What a layer keeps of every position.
struct KeyValueShape: Sendable, Equatable {
    var heads: Int
    var keyDimension: Int
    var valueDimension: Int
    /// Values are the first part of the keys.
    var isLatent: Bool
    /// Positions that can be attended to; `nil` for all.
    var window: Int?
}

/// Products of heads with their own rows of one matrix (latent attention's up-projections).
struct PlannedHeadProduct: Sendable {
    enum Kind: Sendable {
        /// `output head = rowsᵀ · input head`, with the first rows of each head; the rotated part goes behind it.
        case absorb(rotated: PlannedHeads)
        /// `output head = rows · input head`, with the last rows of each head.
        case expand
    }

    var kind: Kind
    /// Indices into `StreamPlan.tasks`: the chunks, grouped so that tasks write different values.
    var tasks: Range<Int>
    var matrix: Int
    var input: PlannedHeads
    /// Index into `StreamPlan.widths`.
    var output: Int
    var rowsPerHead: Int
    /// The rows of each head that count.
    var rows: Range<Int>
}

/// Routing of one layer.
struct PlannedRouting: Sendable {
    var layer: Int
    var routing: Routing
    /// The router's products, an index into `StreamPlan.widths`.
    var scores: Int
    /// Offset into `ResidentVectors`.
    var bias: Int?
    /// Index into `StreamPlan.experts` of the layer's first.
    var firstExpert: Int
}

/// The experts of one layer: those chosen are computed one after the other, each with its columns side by side.
struct PlannedMixture: Sendable {
    var layer: Int
    /// Indices into `StreamPlan.experts`, one for each expert in order.
    var experts: Range<Int>
    var function: ActivationFunction
    /// Indices into `StreamPlan.widths`.
    var input: Int
    var gathered: Int
    var gate: Int
    var up: Int
    var down: Int
    var sum: Int
    /// Tasks of each expert: gate and up, then down.
    var tasks: [(gateUp: Range<Int>, down: Range<Int>)]
}

/// A step of a pass; between two steps there is a barrier.
enum PlanStep: Sendable {
    case columns([ColumnStep])
    /// Indices into `StreamPlan.tasks`, independent of one another.
    case multiply(Range<Int>)
    case attend(PlannedAttention)
    case headProduct(PlannedHeadProduct)
    case route(PlannedRouting)
    case experts(PlannedMixture)
    /// The residual stream after a layer is complete.
    case layerEnd(Int)
}
