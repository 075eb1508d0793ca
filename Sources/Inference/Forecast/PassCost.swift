import LayerStore
import TensorCore

/// How weights reach the product; each way has a speed of its own.
public struct WeightForm: Sendable, Hashable {
    /// What is done with the bytes of a chunk.
    public enum Coding: String, Sendable, CaseIterable {
        /// Words in the clear, multiplied as they are.
        case clear = "raw"
        /// Codes with as few bits as they need, made bytes inside the product.
        case narrow = "narrow"
        /// Tiers, decoded inside the product.
        case tiers = "exp-tier"
        /// Coded planes, put together in scratch memory and multiplied from there.
        case planes = "planes"
    }

    /// Of the weights, or of their source if they are quantized.
    public var dtype: DType
    public var coding: Coding
    /// How they are quantized: the scheme's name.
    public var scheme: String?

    public init(dtype: DType, coding: Coding, scheme: String? = nil) {
        self.dtype = dtype
        self.coding = coding
        self.scheme = scheme
    }

    /// `BF16`, `q4`: what is multiplied.
    public var weightName: String { scheme ?? dtype.rawValue }
}

/// What a pass over a model reads and computes: a session's forecast is this and rates, nothing else.
struct PassCost: Sendable, Equatable {
    /// A part of the pass.
    struct Part: Sendable, Equatable {
        /// Stored bytes, and those of them that are read every time.
        var bytes = 0
        var streamedBytes = 0
        /// Weights, padding included, by how they are multiplied.
        var weights: [WeightForm: Int] = [:]
    }

    var body = Part()
    /// What only positions whose logits are wanted need.
    var head = Part()
    /// What columns need that are sent there.
    var experts: [RoutedLayer] = []
    /// Most columns of one pass.
    var columns = 1
    /// Scores of one column per position it attends to: layers times query heads.
    var scoresPerPosition = 0
    /// Times that all threads wait for one another.
    var barriers = 0
    /// Chunks of the embedding, and the bytes that a lookup in one of them reads on average.
    var lookupChunks = 1
    var lookupBytes = 0.0

    /// Stored bytes of a pass, and those of them that are read every time; experts apart.
    var bytes: Int { body.bytes + head.bytes }
    var streamedBytes: Int { body.streamedBytes + head.streamedBytes }

    /// All ways that weights are multiplied.
    var forms: Set<WeightForm> {
        ([body.weights, head.weights] + experts.map(\.weights)).reduce(into: []) { $0.formUnion($1.keys) }
    }

    /// Stored bytes of experts that a pass of `columns` is expected to read, the first time or later.
    func expertBytes(columns: Int, isFirst: Bool) -> Double {
        experts.reduce(0) { sum, layer in
            let readShare = isFirst ? 1 : 1 - layer.cachedShare
            return sum + Double(layer.bytes) * layer.wantedShare(columns: columns) * readShare
        }
    }

    /// Bytes read to look up the embeddings of `tokens`, drawn at random: those of the distinct chunks they are in.
    func lookupBytes(tokens: Int) -> Double {
        let missed = power(1 - 1 / Double(lookupChunks), tokens)
        return Double(lookupChunks) * (1 - missed) * lookupBytes
    }
}

extension PassCost {
    /// The passes of a planned session.
    init(_ session: SessionPlan) {
        let plan = session.stream
        for (index, request) in session.requests.requests.enumerated() where request.expert == nil {
            let isHead = index >= session.requests.bodyCount
            var part = isHead ? head : body
            part.bytes += request.byteCount
            if session.isStreamed[index] { part.streamedBytes += request.byteCount }
            plan.count(request.chunks, keepsDecoded: session.memory.keepsDecoded, in: &part.weights)
            if isHead { head = part } else { body = part }
        }
        experts = session.routedLayers
        for (index, layer) in session.requests.experts.layers.enumerated() {
            for expert in plan.experts[layer.experts] {
                plan.count(expert.chunks, keepsDecoded: session.memory.keepsDecoded, in: &experts[index].weights)
            }
        }
        columns = session.memory.columns
        scoresPerPosition = plan.queryHeads
        barriers = plan.body.count + 2
        let embedding = plan.matrices[plan.embedding]
        lookupChunks = embedding.tensor.geometry.chunkCount
        let stored = (0..<lookupChunks).reduce(0) {
            $0 + PlannedChunk(embedding, index: plan.embedding, chunk: $1).byteCount
        }
        let readShare =
            plan.isEmbeddingHead
            ? Double(head.streamedBytes) / Double(max(1, head.bytes))
            : 1 - Double(session.memory.embeddingBytes) / Double(max(1, EmbeddingLookup.keepableBytes(plan)))
        lookupBytes = Double(stored) / Double(max(1, lookupChunks)) * readShare
    }
}

extension StreamPlan {
    /// Adds the weights of chunks, by how they are multiplied.
    fileprivate func count(_ chunks: Range<Int>, keepsDecoded: Bool, in weights: inout [WeightForm: Int]) {
        for chunk in chunks {
            let form = form(ofChunk: chunk, keepsDecoded: keepsDecoded)
            weights[form, default: 0] += weightCount(ofChunk: chunk)
        }
    }

    /// How the weights of a chunk are multiplied, where all are kept decoded or not.
    func form(ofChunk index: Int, keepsDecoded: Bool) -> WeightForm {
        let chunk = chunks[index]
        let matrix = matrices[chunk.matrix]
        let first = chunk.chunk * matrix.planeCount
        let coding: WeightForm.Coding =
            switch matrix.tensor.chunks[first].encoding {
            case _ where keepsDecoded: matrix.isKeptNarrow ? .narrow : .clear
            case .raw where matrix.planeCount == 1: .clear
            case .expTier: .tiers
            default: .planes
            }
        return WeightForm(
            dtype: matrix.tensor.dtype, coding: coding, scheme: matrix.form == nil ? nil : matrix.tensor.codec.name)
    }

    /// Weights of a chunk, padding included.
    func weightCount(ofChunk index: Int) -> Int {
        matrices[chunks[index].matrix].tensor.geometry.chunk(chunks[index].chunk).elementCount
    }
}
