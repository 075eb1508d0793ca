import LayerStore
import TensorCore

/// Attention with query, key and value heads: multi-head, grouped-query or multi-query.
struct HeadAttention: LayerPart {
    /// The matrices that make heads of the input, named without `.weight` and `.bias`.
    enum Projections: Sendable {
        case separate(query: String, key: String, value: String)
        /// One matrix: all queries, then all keys, then all values.
        case concatenated(String)
        /// One matrix: for each key-value head its queries, its key, its value.
        case grouped(String)
    }

    /// Norms of query and key.
    enum HeadNorms: Sendable {
        /// Of each head, one weight [dimension] for all.
        case shared(query: String, key: String)
        /// Of each head, a weight [dimension] for each; `#` stands for the head's index.
        case perHead(query: String, key: String)
        /// Of all heads together.
        case whole(query: String, key: String)
    }

    var hidden: Int
    var heads: HeadDimensions
    var projections: Projections
    var hasBias = false
    /// The projection back, named without `.weight` and `.bias`.
    var outputName: String
    var hasOutputBias = false
    var headNorms: (kind: HeadNorms, norm: Norm)?
    /// Index of the rope; `nil` for none.
    var rope: Int? = 0
    var ropeStyle = RopeStyle.halves
    /// Queries grow with the position from this length on (Qwen's log-n scaling).
    var scalesBeyond: Int?
    var form: AttentionForm

    var output: Activation { .projected }

    private var queryWidth: Int { heads.queryWidth }
    private var keyValueWidth: Int { heads.keyValueWidth }
    private var outputProjection: Projection {
        Projection(name: outputName, rows: hidden, columns: queryWidth, hasBias: hasOutputBias)
    }

    private func projection(_ name: String, _ rows: Int) -> Projection {
        Projection(name: name, rows: rows, columns: hidden, hasBias: hasBias)
    }

    /// The matrices and where their products go.
    private var inputs: [(projection: Projection, output: Activation)] {
        switch projections {
        case .separate(let query, let key, let value):
            [
                (projection(query, queryWidth), .query), (projection(key, keyValueWidth), .key),
                (projection(value, keyValueWidth), .value),
            ]
        case .concatenated(let name), .grouped(let name):
            [(projection(name, queryWidth + 2 * keyValueWidth), .fused)]
        }
    }

    private var views: (query: Heads, key: Heads, value: Heads) {
        let (count, keyValueCount, dimension) = (heads.count, heads.keyValueCount, heads.dimension)
        switch projections {
        case .separate:
            return (
                Heads(.query, count: count, dimension: dimension),
                Heads(.key, count: keyValueCount, dimension: dimension),
                Heads(.value, count: keyValueCount, dimension: dimension)
            )
        case .concatenated:
            return (
                Heads(.fused, count: count, dimension: dimension),
                Heads(.fused, offset: queryWidth, count: keyValueCount, dimension: dimension),
                Heads(.fused, offset: queryWidth + keyValueWidth, count: keyValueCount, dimension: dimension)
            )
        case .grouped:
            let queries = count / keyValueCount
            let group = (queries + 2) * dimension
            func heads(_ place: Int, _ count: Int, perGroup: Int) -> Heads {
                Heads(
                    .fused, offset: place * dimension, count: count, dimension: dimension, stride: dimension,
                    perGroup: perGroup, groupStride: group)
            }
            return (
                heads(0, count, perGroup: queries), heads(queries, keyValueCount, perGroup: 1),
                heads(queries + 1, keyValueCount, perGroup: 1)
            )
        }
    }

    var tensors: [TensorRule] {
        inputs.flatMap(\.projection.tensors) + normTensors + outputProjection.tensors
    }

    private var normTensors: [TensorRule] {
        guard let headNorms else { return [] }
        switch headNorms.kind {
        case .shared(let query, let key):
            return [.vector(query + ".weight", heads.dimension), .vector(key + ".weight", heads.dimension)]
        case .perHead(let query, let key):
            return (0..<heads.count).map { .vector(HeadAttention.name(query, head: $0), heads.dimension) }
                + (0..<heads.keyValueCount).map { .vector(HeadAttention.name(key, head: $0), heads.dimension) }
        case .whole(let query, let key):
            return [.vector(query + ".weight", queryWidth), .vector(key + ".weight", keyValueWidth)]
        }
    }

    private static func name(_ pattern: String, head: Int) -> String {
        pattern.split(separator: "#", omittingEmptySubsequences: false).joined(separator: String(head)) + ".weight"
    }

    private var normOperations: [Operation] {
        guard let (kind, norm) = headNorms else { return [] }
        let (query, key, _) = views
        switch kind {
        case .shared(let queryName, let keyName):
            return [
                .headNorm(norm, query, weights: [queryName + ".weight"]),
                .headNorm(norm, key, weights: [keyName + ".weight"]),
            ]
        case .perHead(let queryName, let keyName):
            return [
                .headNorm(norm, query, weights: (0..<query.count).map { HeadAttention.name(queryName, head: $0) }),
                .headNorm(norm, key, weights: (0..<key.count).map { HeadAttention.name(keyName, head: $0) }),
            ]
        case .whole(let queryName, let keyName):
            return [
                .norm(norm, query.activation, weight: queryName + ".weight", bias: nil, into: query.activation),
                .norm(norm, key.activation, weight: keyName + ".weight", bias: nil, into: key.activation),
            ]
        }
    }

    func operations(on input: Activation) -> [Operation] {
        let (query, key, value) = views
        var operations = inputs.map { $0.projection.operation(input, into: $0.output) } + normOperations
        if let rope {
            operations += [.rotate(query, rope: rope, ropeStyle), .rotate(key, rope: rope, ropeStyle)]
        }
        if let scalesBeyond { operations.append(.scaleBeyond(query, length: scalesBeyond)) }
        operations.append(
            .attend(query: query, key: key, value: value, valueDimension: heads.dimension, form, into: .mixed))
        operations.append(outputProjection.operation(.mixed, into: .projected))
        return operations
    }
}
