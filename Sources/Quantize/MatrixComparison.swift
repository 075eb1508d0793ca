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

    /// Squares added up: of the differences of weights and of outputs from the reference's.
    private struct Sums {
        var weight = 0.0
        var output = 0.0

        /// Adds those of a block's rows; the weights' own only at a matrix's first positions.
        mutating func add(_ block: inout Block, _ rows: KeyPath<Block, [Float]>, isFirst: Bool) {
            if isFirst { weight += block.squares(of: rows) }
            output += block.productSquares(of: rows)
        }
    }

    /// What is known of one matrix so far.
    private struct Entry {
        let name: String
        let hasMatrix: [Bool]
        var positions = 0
        var reference = Sums()
        var others: [Sums]
    }

    private let reference: MatrixRows
    private let others: [MatrixRows]
    private var entries: [Entry] = []
    private var indices: [String: Int] = [:]

    init(reference: MatrixRows, others: [MatrixRows]) {
        self.reference = reference
        self.others = others
        openblas_set_num_threads(1)
    }

    /// Of the matrices seen so far, in the order in which they came.
    var matrices: [MatrixErrors] {
        entries.map { entry in
            MatrixErrors(
                name: entry.name, positions: entry.positions,
                errors: zip(entry.others, entry.hasMatrix).map { sums, hasMatrix in
                    guard hasMatrix else { return nil }
                    return MatrixError(
                        output: MatrixComparison.ratio(sums.output, entry.reference.output),
                        weight: MatrixComparison.ratio(sums.weight, entry.reference.weight))
                })
        }
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

    /// Compares one matrix, or goes on with it at further positions. Throws what reading rows throws.
    func compare(_ input: MatrixInput) throws(LaminaError) {
        guard let shape = reference.shape(of: input.name), shape.columns == input.width else { return }
        let index = indices[input.name] ?? entries.count
        if index == entries.count {
            indices[input.name] = index
            let hasMatrix = others.map { other in other.shape(of: input.name).map { $0 == shape } ?? false }
            entries.append(
                Entry(name: input.name, hasMatrix: hasMatrix, others: others.map { _ in Sums() }))
        }
        let isFirst = entries[index].positions == 0
        entries[index].positions += input.count
        var block = Block(count: input.count, width: input.width, rows: MatrixComparison.blockRows(width: input.width))
        block.setInput(input)
        for first in stride(from: 0, to: shape.rows, by: block.rows) {
            let rows = first..<min(shape.rows, first + block.rows)
            try block.load(rows.count) { (target) throws(LaminaError) in
                try reference.read(input.name, rows: rows, into: target)
            }
            entries[index].reference.add(&block, \.weights, isFirst: isFirst)
            for other in others.indices where entries[index].hasMatrix[other] {
                try block.loadDifference { (target) throws(LaminaError) in
                    try others[other].read(input.name, rows: rows, into: target)
                }
                entries[index].others[other].add(&block, \.differences, isFirst: isFirst)
            }
        }
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
