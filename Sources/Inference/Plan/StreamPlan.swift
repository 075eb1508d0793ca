import CKernels
import LayerStore
import TensorCore

/// Weight dtypes the kernels multiply, numbered as in their tables.
enum WeightType: Int, Sendable {
    case bfloat16 = 0
    case float16 = 1
    case float32 = 2
    /// E4M3, with scales.
    case float8 = 3

    init?(_ dtype: DType) {
        switch dtype {
        case .bfloat16: self = .bfloat16
        case .float16: self = .float16
        case .float32: self = .float32
        case .float8E4M3: self = .float8
        default: return nil
        }
    }
}

/// A stored matrix and everything about it that the hot loop would otherwise look up.
struct PlannedMatrix: Sendable {
    let tensor: TensorRecord
    let weightType: WeightType
    /// The form of its panels, if it is quantized.
    let form: lamina_scheme?
    /// Whether it is multiplied with 8-bit activations.
    let takesCodes: Bool
    let planeCount: Int
    /// Bytes per plane in a slot.
    let planeBytes: [Int]
    /// Index into `StreamPlan.files`.
    let file: Int
    /// Name with the layer's index, for messages.
    let name: String
    /// Offset of its scales in `ResidentVectors`, for 8-bit floats.
    var scales: Int?

    init(
        _ tensor: TensorRecord, _ weightType: WeightType, file: Int, name: String, compute: ComputeMode,
        scales: Int? = nil
    ) {
        self.tensor = tensor
        self.weightType = weightType
        form = (tensor.codec as? any QuantizationScheme)?.form
        takesCodes = compute == .int8 && form?.takesCodes == true
        planeCount = tensor.planes.count
        planeBytes = tensor.planeBytes
        self.file = file
        self.name = name
        self.scales = scales
    }

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

/// One expert of a layer with a router: what is read if a column of the pass is sent to it, and skipped if none is.
struct PlannedExpert: Sendable, Equatable {
    /// The model's layer.
    var layer: Int
    /// Its number in the layer.
    var expert: Int
    /// Indices into `StreamPlan.chunks`.
    var chunks: Range<Int>
}

/// Chunks that one worker handles in order: a chunk, or all column ranges of one panel, whose chains add up in order.
struct ChunkTask: Sendable, Equatable {
    /// Indices into `StreamPlan.chunks`.
    var chunks: Range<Int>
    var matrix: Int
    /// Index into `StreamPlan.widths`.
    var input: Int
    /// Where the product goes; `nil` for the head, whose results the caller of the pass chooses.
    var output: Int?
}

/// One pass over the model, prepared once: what is read, in which order, and what is computed in between.
struct StreamPlan: Sendable {
    var files: [ShardFile] = []
    var matrices: [PlannedMatrix] = []
    /// In the order of a pass; those of the head last.
    var chunks: [PlannedChunk] = []
    var tasks: [ChunkTask] = []
    /// Column steps on the embedding.
    var start: [ColumnStep] = []
    /// From there to the residual stream after the last layer.
    var body: [PlanStep] = []
    /// Column steps between the last layer and the head.
    var final: [ColumnStep] = []
    /// Tasks of the head matrix.
    var headTasks: Range<Int> = 0..<0
    /// Chunks before the head's.
    var bodyChunkCount = 0
    /// Rising and disjoint ranges of the body's chunks, those of a layer next to each other; empty for dense models.
    var experts: [PlannedExpert] = []
    /// Experts of a layer that each column is sent to; 0 for dense models.
    var expertsPerToken = 0
    /// Index into `widths`.
    var headInput = 0
    var headForm = HeadForm()
    /// Floats per column of every buffer of activations; the first is the residual stream.
    var widths: [Int] = []
    /// The buffers that are multiplied as 8-bit codes, too.
    var codedBuffers: Set<Int> = []
    /// Blocks that share a scale, where matrices are 8-bit floats.
    var float8Blocks: Float8Blocks?
    /// What each layer keeps of every position.
    var keyValues: [KeyValueShape] = []
    /// Query heads of all layers, for what attention costs.
    var queryHeads = 0
    /// Norm weights and biases, kept in memory.
    var vectors: [PlannedVector] = []
    var vectorFloats = 0
    /// Index into `matrices` of the embedding; its chunks are not part of the pass unless it is the head too.
    var embedding = 0
    var isEmbeddingHead = false

    /// Index into `widths` of the residual stream.
    static let residual = 0

    /// Stored bytes of the largest chunk: the smallest slot a ring can have.
    var largestChunkBytes: Int { chunks.reduce(AlignedBuffer.alignment) { max($0, $1.byteCount) } }
    /// Bytes for what is kept of every chunk besides: requests, their states, who computes what.
    var bookkeepingBytes: Int { 160 * chunks.count }
    /// Decoded bytes of the largest slot.
    var largestDecodedBytes: Int { matrices.reduce(64) { max($0, $1.tensor.geometry.slotBytes) } }
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
