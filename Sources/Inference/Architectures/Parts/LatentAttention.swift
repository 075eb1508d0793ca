import LayerStore
import TensorCore

/// Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): keys and values of all heads are made of one latent
/// vector per position, which alone is kept. Computed in its absorbed form for prefill and decoding alike: queries go
/// through the keys' matrix, mixed latent vectors through the values'.
struct LatentAttention: LayerPart {
    var prefix: String
    var hidden: Int
    var headCount: Int
    /// Rank of the query's latent vector; `nil` where the query is made of the input.
    var queryRank: Int?
    /// Rank of the latent vector of keys and values.
    var rank: Int
    /// Values of a key head that do not rotate, that do, and of a value head.
    var plainDimension: Int
    var rotatedDimension: Int
    var valueDimension: Int
    var hasBias: Bool
    var norm: Norm
    var form: AttentionForm

    var output: Activation { .projected }

    private var queryDimension: Int { plainDimension + rotatedDimension }
    private var rowsPerHead: Int { plainDimension + valueDimension }
    private var expansion: String { prefix + "kv_b_proj" }

    private var queryProjections: [(projection: Projection, input: Activation?, output: Activation)] {
        let width = headCount * queryDimension
        guard let queryRank else {
            return [(Projection(name: prefix + "q_proj", rows: width, columns: hidden), nil, .query)]
        }
        return [
            (
                Projection(name: prefix + "q_a_proj", rows: queryRank, columns: hidden, hasBias: hasBias), nil,
                .queryLatent
            ),
            (Projection(name: prefix + "q_b_proj", rows: width, columns: queryRank), .queryLatent, .query),
        ]
    }

    private var queryNorm: NormTensors? {
        queryRank.map { NormTensors(name: prefix + "q_a_layernorm", width: $0, norm: norm) }
    }

    private var compression: Projection {
        Projection(
            name: prefix + "kv_a_proj_with_mqa", rows: rank + rotatedDimension, columns: hidden, hasBias: hasBias)
    }

    private var outputProjection: Projection {
        Projection(name: prefix + "o_proj", rows: hidden, columns: headCount * valueDimension, hasBias: hasBias)
    }

    var tensors: [TensorRule] {
        var rules = queryProjections.flatMap(\.projection.tensors)
        if let queryNorm { rules.insert(contentsOf: queryNorm.tensors(), at: rules.count - 1) }
        rules += compression.tensors
        rules.append(.vector(prefix + "kv_a_layernorm.weight", rank))
        rules.append(.matrix(expansion + ".weight", headCount * rowsPerHead, rank))
        return rules + outputProjection.tensors
    }

    func operations(on input: Activation) -> [Operation] {
        var operations: [Operation] = []
        for (projection, source, target) in queryProjections {
            if source != nil, let queryNorm { operations.append(queryNorm.operation(.queryLatent, into: .queryLatent)) }
            operations.append(projection.operation(source ?? input, into: target))
        }
        let query = Heads(.query, count: headCount, dimension: queryDimension)
        let latent = Heads(.latent, count: 1, dimension: rank + rotatedDimension)
        let rotated = query.part(plainDimension, rotatedDimension)
        return operations + [
            compression.operation(input, into: .latent),
            .headNorm(norm, latent.part(0, rank), weights: [prefix + "kv_a_layernorm.weight"]),
            .rotate(rotated, rope: 0, .pairs), .rotate(latent.part(rank, rotatedDimension), rope: 0, .pairs),
            .absorb(
                query: query.part(0, plainDimension), rotated: rotated, weight: expansion + ".weight",
                rowsPerHead: rowsPerHead, into: .absorbed),
            .attend(
                query: Heads(.absorbed, count: headCount, dimension: rank + rotatedDimension), key: latent, value: nil,
                valueDimension: rank, form, into: .mixedLatent),
            .expand(
                Heads(.mixedLatent, count: headCount, dimension: rank), weight: expansion + ".weight",
                rowsPerHead: rowsPerHead, dimension: valueDimension, into: .mixed),
            outputProjection.operation(.mixed, into: .projected),
        ]
    }
}
