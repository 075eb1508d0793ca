import CKernels
import TensorCore

/// Log-probabilities of given tokens without the logits of all positions in memory: each panel of 64 logits is reduced
/// to its maximum and the sum of its exponentials as soon as it is computed.
///
/// Double precision in a fixed order (rows rising within a panel, panels rising), so no chunk size, thread count or
/// pass width changes a bit.
final class HeadScores: @unchecked Sendable {
    // Sendable: tasks write the parts of their own panels.
    private let panels: Int
    /// (columns, panels) maxima, then sums in double precision.
    private let maxima: FloatBuffer
    private let sums: UntouchedMemory
    private let wanted: FloatBuffer
    /// The token whose probability is wanted per column; -1 for none.
    var targets: [Int]

    init(vocabulary: Int, columns: Int) throws(LaminaError) {
        panels = dividedUp(vocabulary, by: 64)
        maxima = try FloatBuffer(count: columns * panels)
        sums = try UntouchedMemory(count: columns * panels * MemoryLayout<Double>.stride)
        wanted = try FloatBuffer(count: columns)
        targets = [Int](repeating: -1, count: columns)
    }

    /// Bytes per column.
    static func bytesPerColumn(vocabulary: Int) -> Int { dividedUp(vocabulary, by: 64) * 12 + 4 + 8 }

    private var sumsStart: UnsafeMutablePointer<Double> { sums.start.assumingMemoryBound(to: Double.self) }

    /// Takes the logits of `panel` for all columns: (columns, 64), `rows` of each counting.
    func reduce(panel: Int, rows: Int, logits: UnsafePointer<Float>, columns: Int) {
        for column in 0..<columns {
            let values = logits + column * 64
            var maximum = values[0]
            for row in 1..<max(rows, 1) { maximum = max(maximum, values[row]) }
            var sum = 0.0
            for row in 0..<rows { sum += lamina_exp(Double(values[row] - maximum)) }
            maxima.start[column * panels + panel] = maximum
            sumsStart[column * panels + panel] = sum
            let row = targets[column] - panel * 64
            if targets[column] >= 0, (0..<rows).contains(row) { wanted.start[column] = values[row] }
        }
    }

    /// log p of the wanted token in `column`, after all panels.
    func logProbability(column: Int) -> Double {
        let maxima = maxima.start + column * panels
        let sums = sumsStart + column * panels
        var maximum = maxima[0]
        for panel in 1..<max(panels, 1) { maximum = max(maximum, maxima[panel]) }
        var total = 0.0
        for panel in 0..<panels { total += sums[panel] * lamina_exp(Double(maxima[panel]) - Double(maximum)) }
        return Double(wanted.start[column]) - (Double(maximum) + lamina_log(total))
    }
}
