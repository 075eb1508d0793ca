import TensorCore

/// What one matrix of a model is about to be multiplied with.
public struct MatrixInput {
    /// The matrix, named with its layer's index.
    public let name: String
    /// Positions that are given, and floats of each.
    public let count: Int
    public let width: Int
    fileprivate let activations: Activations
    fileprivate let buffer: Int
    fileprivate let columns: [Int]

    /// Writes them to (count, width).
    public func copy(to target: UnsafeMutablePointer<Float>) {
        for (row, column) in columns.enumerated() {
            (target + row * width).update(from: activations.column(buffer, column), count: width)
        }
    }
}

extension InferenceSession {
    /// Is shown inputs while no worker is at work.
    public typealias MatrixVisitor = (MatrixInput) throws(LaminaError) -> Void

    /// The most positions of a sequence whose inputs are shown: enough for the error of an output to settle.
    public static let mostMatrixInputs = 128

    /// Shows what the matrices of a pass are multiplied with, at positions whose distributions are wanted, evenly spread
    /// over each sequence: of an expert, those of them that are sent to it. Matrices that are applied head by head are
    /// not shown.
    func inputVisitor(
        _ parts: [EvaluationDivision.Part], of sequences: [EvaluationSequence], _ visit: @escaping MatrixVisitor
    ) -> (Range<Int>, [Int]) throws(LaminaError) -> Void {
        let plan = setup.session.stream
        let activations = runner.activations
        let isShown = parts.flatMap { part in
            let wanted = sequences[part.sequence].wanted
            let step = max(1, dividedUp(wanted.count, by: InferenceSession.mostMatrixInputs))
            return part.tokens.map { wanted.contains($0) && ($0 - wanted.lowerBound) % step == 0 }
        }
        return { (tasks, columns) throws(LaminaError) in
            let shown = columns.indices.filter { isShown[columns[$0]] }
            var seen: Set<Int> = []
            for task in plan.tasks[tasks] where seen.insert(task.matrix).inserted && !shown.isEmpty {
                let matrix = plan.matrices[task.matrix]
                try visit(
                    MatrixInput(
                        name: matrix.name, count: shown.count, width: matrix.columns, activations: activations,
                        buffer: task.input, columns: shown))
            }
        }
    }
}
