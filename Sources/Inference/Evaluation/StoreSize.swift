import LayerStore

/// What a store takes, and how many weights it holds.
public struct StoreSize: Sendable, Equatable {
    /// Of all shards.
    public let byteCount: UInt64
    /// Stored bytes of the matrices that the model multiplies or looks up, padding of files apart, and their weights.
    public let matrixBytes: UInt64
    public let matrixWeights: Int
    /// Weights of all tensors that the model uses.
    public let weights: Int

    /// Stored bits for each weight of a matrix.
    public var bitsPerMatrixWeight: Double { 8 * Double(matrixBytes) / Double(max(1, matrixWeights)) }
    /// Bits of the whole store for each weight.
    public var bitsPerWeight: Double { 8 * Double(byteCount) / Double(max(1, weights)) }

    /// Of a planned session's store.
    public init(_ session: SessionPlan) {
        let (model, plan) = (session.model, session.stream)
        byteCount = model.store.manifest.shards.reduce(0) { $0 + $1.size }
        // A matrix that is used in two ways is planned twice.
        var names: Set<String> = []
        let matrices = plan.matrices.filter { names.insert($0.name).inserted }
        matrixBytes = matrices.reduce(0) { sum, matrix in
            matrix.tensor.chunks.reduce(sum) { $0 + UInt64($1.storedSize) }
        }
        matrixWeights = matrices.reduce(0) { $0 + $1.rows * $1.columns }
        weights = matrixWeights + plan.vectors.reduce(0) { $0 + $1.tensor.shape.elementCount }
    }
}
