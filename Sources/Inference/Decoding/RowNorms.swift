import CKernels
import LayerStore
import TensorCore

/// Euclidean norms of the rows of the head matrix, for heads that normalise them; found with the first products.
final class RowNorms: @unchecked Sendable {
    // Sendable: a panel belongs to one worker at a time.
    private let known: UnsafeMutablePointer<Bool>
    /// Sums of squares until a panel is complete, then 1 / norm.
    private let values: FloatBuffer

    /// As `torch.nn.functional.normalize`.
    private static let smallestNorm: Float = 1e-12

    /// Room for the rows of `matrix`. Throws `.limit`.
    init(_ matrix: PlannedMatrix) throws(LaminaError) {
        let panels = dividedUp(matrix.rows, by: 64)
        values = try FloatBuffer(count: panels * 64)
        known = .allocate(capacity: max(1, panels))
        known.initialize(repeating: false, count: max(1, panels))
    }

    deinit { known.deallocate() }

    /// Bytes for the rows of `matrix`.
    static func memoryBytes(_ matrix: PlannedMatrix) -> Int { dividedUp(matrix.rows, by: 64) * 260 }

    func isKnown(panel: Int) -> Bool { known[panel] }

    /// Adds the squares of a panel's columns, which come in order.
    func add(
        _ words: UnsafeRawPointer, _ panel: lamina_panel_task, number: Int, _ matrix: PlannedMatrix,
        _ kernels: KernelTable, _ worker: Worker
    ) {
        let rows = worker.rows.start
        kernels.pointee.panel_rows(
            matrix.weightType.kernelType, words, panel.width, 0, panel.rows, panel.k_count, rows, panel.k_count)
        for row in 0..<panel.rows {
            var sum = panel.k_begin == 0 ? 0 : values.start[number * 64 + row]
            for k in 0..<panel.k_count {
                let value = rows[row * panel.k_count + k]
                sum += value * value
            }
            values.start[number * 64 + row] = sum
        }
    }

    /// After the last columns of a panel.
    func complete(panel: Int) {
        guard !known[panel] else { return }
        for row in (panel * 64)..<((panel + 1) * 64) {
            values.start[row] = 1 / max(values.start[row].squareRoot(), RowNorms.smallestNorm)
        }
        known[panel] = true
    }

    func divide(_ logits: UnsafeMutablePointer<Float>, panel: Int, rows: Int) {
        for row in 0..<rows { logits[row] *= values.start[panel * 64 + row] }
    }
}
