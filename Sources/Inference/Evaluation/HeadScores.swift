import CKernels
import TensorCore

/// Scores of positions without the logits of all of them in memory: each panel of 64 logits is reduced to its maximum,
/// the sum of its exponentials, and its share of the divergence, as soon as it is computed.
///
/// Double precision in a fixed order (rows rising within a panel, panels rising), so no chunk size, thread count or
/// pass width changes a bit.
final class HeadScores: @unchecked Sendable {
    // Sendable: tasks write the parts of their own panels.

    /// What is known of a column before its logits.
    struct Column {
        /// The token whose probability is wanted; -1 for none.
        var target = -1
        /// Its position among those of the reference.
        var referenceRow = 0
    }

    private let panels: Int
    private let use: LogitUse
    /// (columns, panels) maxima, where in the panel they are, and sums and divergences in double precision.
    private let maxima: FloatBuffer
    private let places: UntouchedMemory
    private let sums: UntouchedMemory
    private let divergences: UntouchedMemory
    private let wanted: FloatBuffer
    var columns: [Column]

    init(vocabulary: Int, columns: Int, use: LogitUse) throws(LaminaError) {
        panels = dividedUp(vocabulary, by: 64)
        self.use = use
        maxima = try FloatBuffer(count: columns * panels)
        places = try UntouchedMemory(count: columns * panels)
        sums = try UntouchedMemory(count: columns * panels * MemoryLayout<Double>.stride)
        divergences = try UntouchedMemory(count: columns * panels * MemoryLayout<Double>.stride)
        wanted = try FloatBuffer(count: columns)
        self.columns = [Column](repeating: Column(), count: columns)
    }

    /// Bytes per column.
    static func bytesPerColumn(vocabulary: Int) -> Int {
        let perPanel = 2 * MemoryLayout<Double>.stride + MemoryLayout<Float>.stride + 1
        return dividedUp(vocabulary, by: 64) * perPanel + MemoryLayout<Float>.stride + MemoryLayout<Column>.stride
    }

    private func sum(_ place: Int) -> UnsafeMutablePointer<Double> {
        sums.start.assumingMemoryBound(to: Double.self) + place
    }

    private func divergence(_ place: Int) -> UnsafeMutablePointer<Double> {
        divergences.start.assumingMemoryBound(to: Double.self) + place
    }

    // MARK: On a worker

    /// Takes the logits of `panel` for the first `count` columns: (columns, 64), `rows` of each counting.
    func reduce(panel: Int, rows: Int, logits: UnsafePointer<Float>, columns count: Int) {
        for index in 0..<count {
            let values = logits + index * 64
            let place = index * panels + panel
            var top = 0
            for row in 1..<max(rows, 1) where values[row] > values[top] { top = row }
            var total = 0.0
            for row in 0..<rows { total += lamina_exp(Double(values[row]) - Double(values[top])) }
            maxima.start[place] = values[top]
            places.start.storeBytes(of: UInt8(top), toByteOffset: place, as: UInt8.self)
            sum(place).pointee = total
            let column = columns[index]
            let target = column.target - panel * 64
            if column.target >= 0, (0..<rows).contains(target) { wanted.start[index] = values[target] }
            switch use {
            case .score: break
            case .keep(let reference):
                (reference.row(column.referenceRow) + panel * 64).update(from: values, count: rows)
            case .compare(let reference):
                divergence(place).pointee = HeadScores.divergence(
                    reference.row(column.referenceRow) + panel * 64, values, count: rows,
                    logNormalizer: reference.logNormalizers[column.referenceRow])
            }
        }
    }

    /// The sum of p (log p - (x - log Z)) over a part of the vocabulary, with p and log Z of the reference and the logits
    /// x of the other.
    private static func divergence(
        _ reference: UnsafePointer<Float>, _ logits: UnsafePointer<Float>, count: Int, logNormalizer: Double
    ) -> Double {
        var total = 0.0
        for row in 0..<count {
            let logProbability = Double(reference[row]) - logNormalizer
            total += lamina_exp(logProbability) * (logProbability - (Double(logits[row]) - logNormalizer))
        }
        return total
    }

    // MARK: After all panels

    /// What the logits of column `index` say. Throws `.unexpected` for logits that are not numbers or all infinite.
    func score(column index: Int) throws(LaminaError) -> PositionScore {
        let column = columns[index]
        let first = index * panels
        var top = 0
        for panel in 1..<max(panels, 1) where maxima.start[first + panel] > maxima.start[first + top] { top = panel }
        let maximum = Double(maxima.start[first + top])
        var total = 0.0
        for panel in 0..<panels {
            total += sum(first + panel).pointee * lamina_exp(Double(maxima.start[first + panel]) - maximum)
        }
        let logNormalizer = maximum + lamina_log(total)
        guard logNormalizer.isFinite else {
            throw LaminaError(.unexpected, "", "the model's logits are not numbers")
        }
        let place = places.start.load(fromByteOffset: first + top, as: UInt8.self)
        var score = PositionScore(
            logProbability: column.target < 0 ? .nan : Double(wanted.start[index]) - logNormalizer,
            topToken: top * 64 + Int(place), divergence: 0)
        switch use {
        case .score: break
        case .keep(let reference):
            reference.finish(column.referenceRow, logNormalizer: logNormalizer, topToken: score.topToken)
        case .compare(let reference):
            var sum = 0.0
            for panel in 0..<panels { sum += divergence(first + panel).pointee }
            // The reference's probabilities add up to 1, so that the other's normalizer counts once.
            score.divergence = sum + (logNormalizer - reference.logNormalizers[column.referenceRow])
        }
        return score
    }
}
