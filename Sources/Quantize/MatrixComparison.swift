import COpenBLAS
import Inference
import TensorCore

/// How far a store's matrix is from the reference's.
struct MatrixError: Sendable {
    /// ||X (W - W')ᵀ|| / ||X Wᵀ|| for inputs X that the reference's model had.
    var output: Double
    /// ||W - W'|| / ||W||.
    var weight: Double
}

/// A matrix of the reference, and what became of it in the other stores.
struct MatrixErrors: Sendable {
    let name: String
    /// Rows of X.
    let positions: Int
    /// Per other store; `nil` where it has no such matrix.
    let errors: [MatrixError?]
}

/// Multiplies matrices of several stores with the same inputs, by OpenBLAS rather than by Lamina's own kernels, a block of
/// rows in memory at a time.
///
/// OpenBLAS runs on one thread, and blocks have a size of their own, so that results depend neither on threads nor on the
/// memory budget. Squares are added in double precision.
final class MatrixComparison {
    /// Bytes of a block of rows, if that is more than one panel.
    private static let blockBytes = 8 << 20
    private static let panelRows = 64

    private let reference: MatrixRows
    private let others: [MatrixRows]
    private(set) var matrices: [MatrixErrors] = []

    init(reference: MatrixRows, others: [MatrixRows]) {
        self.reference = reference
        self.others = others
        openblas_set_num_threads(1)
    }

    /// Bytes that it takes for inputs of `width`, besides what reads the rows: inputs, two blocks, their products, and
    /// OpenBLAS's own buffer.
    static func memoryBytes(width: Int) -> Int {
        let rows = blockRows(width: width)
        let floats =
            InferenceSession.mostMatrixInputs * width + 2 * rows * width + InferenceSession.mostMatrixInputs * rows
        return floats * MemoryLayout<Float>.stride + 32 << 20
    }

    private static func blockRows(width: Int) -> Int {
        max(panelRows, blockBytes / (max(1, width) * MemoryLayout<Float>.stride) / panelRows * panelRows)
    }

    /// Compares one matrix. Throws what reading rows throws.
    func compare(_ input: MatrixInput) throws(LaminaError) {
        guard let shape = reference.shape(of: input.name), shape.columns == input.width, input.count > 0 else { return }
        let hasMatrix = others.map { other in other.shape(of: input.name).map { $0 == shape } ?? false }
        var sums = others.map { _ in (output: 0.0, weight: 0.0) }
        var norms = (output: 0.0, weight: 0.0)
        var block = Block(count: input.count, width: input.width, rows: MatrixComparison.blockRows(width: input.width))
        block.setInput(input)
        for first in stride(from: 0, to: shape.rows, by: block.rows) {
            let rows = first..<min(shape.rows, first + block.rows)
            try block.load(rows.count) { (target) throws(LaminaError) in
                try reference.read(input.name, rows: rows, into: target)
            }
            norms.weight += block.squares(of: \.weights)
            norms.output += block.productSquares(of: \.weights)
            for index in others.indices where hasMatrix[index] {
                try block.loadDifference { (target) throws(LaminaError) in
                    try others[index].read(input.name, rows: rows, into: target)
                }
                sums[index].weight += block.squares(of: \.differences)
                sums[index].output += block.productSquares(of: \.differences)
            }
        }
        matrices.append(
            MatrixErrors(
                name: input.name, positions: input.count,
                errors: zip(sums, hasMatrix).map { sum, hasMatrix in
                    hasMatrix
                        ? MatrixError(
                            output: MatrixComparison.ratio(sum.output, norms.output),
                            weight: MatrixComparison.ratio(sum.weight, norms.weight)) : nil
                }))
    }

    private static func ratio(_ squares: Double, _ norm: Double) -> Double {
        norm > 0 ? (squares / norm).squareRoot() : squares > 0 ? .infinity : 0
    }
}

/// A block of rows, what they are multiplied with, and the products.
private struct Block {
    let count: Int
    let width: Int
    /// The most rows.
    let rows: Int
    private var loaded = 0
    /// (count, width).
    private var inputs: [Float]
    /// (rows, width).
    private(set) var weights: [Float]
    private(set) var differences: [Float]
    /// (count, rows).
    private var products: [Float]

    init(count: Int, width: Int, rows: Int) {
        (self.count, self.width, self.rows) = (count, width, rows)
        inputs = [Float](repeating: 0, count: count * width)
        weights = [Float](repeating: 0, count: rows * width)
        differences = weights
        products = [Float](repeating: 0, count: count * rows)
    }

    mutating func setInput(_ input: MatrixInput) {
        inputs.withUnsafeMutableBufferPointer { buffer in
            if let start = buffer.baseAddress { input.copy(to: start) }
        }
    }

    /// Has `read` write `rows` rows of weights.
    mutating func load(
        _ rows: Int, _ read: (UnsafeMutablePointer<Float>) throws(LaminaError) -> Void
    ) throws(LaminaError) {
        loaded = rows
        try Block.fill(&weights, read)
    }

    /// Has `read` write the other store's rows, and takes them from the weights.
    mutating func loadDifference(
        _ read: (UnsafeMutablePointer<Float>) throws(LaminaError) -> Void
    ) throws(LaminaError) {
        try Block.fill(&differences, read)
        for index in 0..<(loaded * width) { differences[index] = weights[index] - differences[index] }
    }

    private static func fill(
        _ floats: inout [Float], _ read: (UnsafeMutablePointer<Float>) throws(LaminaError) -> Void
    ) throws(LaminaError) {
        let result: Result<Void, LaminaError> = floats.withUnsafeMutableBufferPointer { buffer in
            Result { () throws(LaminaError) in if let start = buffer.baseAddress { try read(start) } }
        }
        try result.get()
    }

    func squares(of rows: KeyPath<Block, [Float]>) -> Double {
        self[keyPath: rows].prefix(loaded * width).reduce(0) { $0 + Double($1) * Double($1) }
    }

    /// Of the inputs times the rows.
    mutating func productSquares(of rows: KeyPath<Block, [Float]>) -> Double {
        let factor = self[keyPath: rows]
        cblas_sgemm(
            CblasRowMajor, CblasNoTrans, CblasTrans, blasint(count), blasint(loaded), blasint(width), 1, inputs,
            blasint(width), factor, blasint(width), 0, &products, blasint(loaded))
        return products.prefix(count * loaded).reduce(0) { $0 + Double($1) * Double($1) }
    }
}
