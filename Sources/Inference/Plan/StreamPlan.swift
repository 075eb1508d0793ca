import CKernels
import LayerStore
import TensorCore

/// Weight dtypes the kernels multiply, numbered as in their tables.
enum WeightType: Int, Sendable {
    case bfloat16 = 0
    case float16 = 1
    case float32 = 2

    init?(_ dtype: DType) {
        switch dtype {
        case .bfloat16: self = .bfloat16
        case .float16: self = .float16
        case .float32: self = .float32
        default: return nil
        }
    }
}

/// A stored matrix and everything about it that the hot loop would otherwise look up.
struct PlannedMatrix: Sendable {
    let tensor: TensorRecord
    let weightType: WeightType
    let planeCount: Int
    /// Bytes per plane in a slot.
    let planeBytes: [Int]
    /// Index into `StreamPlan.files`.
    let file: Int
    /// Name with the layer's index, for messages.
    let name: String

    var rows: Int { tensor.geometry.rows }
    var columns: Int { tensor.geometry.columns }
}

/// One chunk of a matrix and where all its planes lie, page-aligned at both ends.
struct PlannedChunk: Sendable, Equatable {
    /// Index into `StreamPlan.files`.
    var file: Int
    var offset: UInt64
    /// A multiple of the page size; may reach past the end of the file.
    var byteCount: Int
    /// Bytes that must be there.
    var neededBytes: Int
    /// Bytes of the chunk's elements once decoded.
    var decodedBytes: Int
    /// Index into `StreamPlan.matrices`.
    var matrix: Int
    var chunk: Int
}

/// Chunks that one worker handles in order: a chunk, or all column ranges of one panel, whose chains add up in order.
struct ChunkTask: Sendable, Equatable {
    /// Indices into `StreamPlan.chunks`.
    var chunks: Range<Int>
    var matrix: Int
    var input: Activation
    /// Where the product goes; `nil` for the head, whose results the caller of the pass chooses.
    var output: Activation?
}

/// What happens to one column on its own; steps next to each other run as one.
enum ColumnStep: Sendable, Equatable {
    /// Weights and biases are offsets into `ResidentVectors`.
    case rmsNorm(Activation, weight: Int, into: Activation)
    case addBias(Int, to: Activation)
    case rotateHalves(Activation, heads: Int)
    case storeKeyValue(layer: Int)
    case siluMultiply(gate: Activation, up: Activation)
    case add(Activation, into: Activation)
}

/// A step of a pass; between two steps there is a barrier.
enum PlanStep: Sendable, Equatable {
    case columns([ColumnStep])
    /// Indices into `StreamPlan.tasks`, independent of one another.
    case multiply(Range<Int>)
    case attend(layer: Int, scale: Float)
    /// The residual stream after a layer is complete.
    case layerEnd(Int)
}

/// One pass over the model, prepared once: what is read, in which order, and what is computed in between.
struct StreamPlan: Sendable {
    var files: [ShardFile] = []
    var matrices: [PlannedMatrix] = []
    /// In the order of a pass; those of the head last.
    var chunks: [PlannedChunk] = []
    var tasks: [ChunkTask] = []
    /// From the embedding to the residual stream after the last layer.
    var body: [PlanStep] = []
    /// Column steps between the last layer and the head.
    var final: [ColumnStep] = []
    /// Tasks of the head matrix.
    var headTasks: Range<Int> = 0..<0
    /// Chunks before the head's.
    var bodyChunkCount = 0
    var headInput = Activation.normalized
    /// Floats per column, 0 for activations this model does not use.
    var widths = [Int](repeating: 0, count: Activation.allCases.count)
    /// Norm weights and biases, kept in memory.
    var vectors: [PlannedVector] = []
    var vectorFloats = 0
    /// Index into `matrices` of the embedding; its chunks are not part of the pass unless it is the head too.
    var embedding = 0
    var isEmbeddingHead = false

    /// Stored bytes of the largest chunk: the smallest slot a ring can have.
    var largestChunkBytes: Int { chunks.reduce(AlignedBuffer.alignment) { max($0, $1.byteCount) } }
    /// Bytes for what is kept of every chunk besides: requests, their states, who computes what.
    var bookkeepingBytes: Int { 160 * chunks.count }
    /// Decoded bytes of the largest slot.
    var largestDecodedBytes: Int { matrices.reduce(64) { max($0, $1.tensor.geometry.slotBytes) } }
    /// Decoded bytes of all chunks of a pass, as `DecodedChunks` keeps them.
    var decodedBytesPerPass: Int { chunks.reduce(0) { $0 + DecodedChunks.room(for: $1) } }
    var head: PlannedMatrix { matrices[tasks[headTasks.lowerBound].matrix] }
}

/// A norm's weight or a bias.
struct PlannedVector: Sendable {
    /// Index into `StreamPlan.files`.
    let file: Int
    let tensor: TensorRecord
    let weightType: WeightType
    let name: String
    /// First float in `ResidentVectors`.
    let offset: Int
}
