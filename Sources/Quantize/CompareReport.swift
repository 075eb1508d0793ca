import CKernels
import CommandLineSupport
import Inference
import LayerStore
import ModelCommandSupport
import TensorCore

/// What a comparison found, for people and for programs.
struct CompareReport {
    let text: EvaluationText
    let windows: TextWindows
    /// Of all stores, the reference first: paths, and how they were computed where there is a choice.
    let names: [String]
    let computes: [ComputeMode?]
    let sizes: [StoreSize]
    let results: [StoreComparison.Result]
    let matrices: [MatrixErrors]
    /// Of all stores but the reference.
    let comparisons: [ScoreComparison]

    init(
        text: EvaluationText, windows: TextWindows, names: [String], computes: [ComputeMode?], sizes: [StoreSize],
        results: [StoreComparison.Result], matrices: [MatrixErrors]
    ) {
        self.text = text
        self.windows = windows
        self.names = names
        self.computes = computes
        self.sizes = sizes
        self.results = results
        self.matrices = matrices
        comparisons = results.dropFirst().map { ScoreComparison($0.scores, reference: results[0].scores) }
    }

    private var reference: Perplexity { Perplexity(logProbabilities: results[0].scores.map(\.logProbability)) }

    // MARK: For people

    private func label(_ store: Int) -> String {
        let name = names[store].split(separator: "/").last.map(String.init) ?? names[store]
        return escapedForDisplay(name) + (computes[store].map { " (\($0.rawValue))" } ?? "")
    }

    /// Tables.
    var table: String {
        let counted = windows.countedPositions
        let head =
            "\(escapedForDisplay(text.name)), \(text.byteCount) bytes; \(windows.sequences.count) windows of "
            + "\(windows.context) tokens, \(counted) predictions\n"
        return [head, stores, divergences, changes, errors].joined(separator: "\n")
    }

    private var stores: String {
        var table = TextTable(["store", "size", "bits/weight", "matrices", "perplexity", "quotient", "tokens/s"])
        for store in names.indices {
            let perplexity = store == 0 ? reference : comparisons[store - 1].perplexity
            table.add([
                label(store), formattedBytes(sizes[store].byteCount),
                formatted(sizes[store].bitsPerWeight, decimals: 3),
                formatted(sizes[store].bitsPerMatrixWeight, decimals: 3), text(perplexity.value, decimals: 4),
                store == 0 ? "" : text(comparisons[store - 1].ratio, decimals: 4),
                formatted(results[store].tokensPerSecond, decimals: 1),
            ])
        }
        return table.text
    }

    private var divergences: String {
        var table = TextTable([
            "divergence (nats)", "mean", "median", "90 %", "99 %", "99.9 %", "maximum", "same most probable",
        ])
        for (index, comparison) in comparisons.enumerated() {
            let values = comparison.divergences
            table.add(
                [label(index + 1), text(comparison.divergence, decimals: 6)]
                    + [0.5, 0.9, 0.99, 0.999, 1].map { formatted(values.percentile($0), decimals: 6) }
                    + [percent(comparison.sameTop)])
        }
        return table.text
    }

    private var changes: String {
        var table = TextTable(["change of p", "mean", "root mean square", "1 %", "10 %", "90 %", "99 %"])
        for (index, comparison) in comparisons.enumerated() {
            let values = comparison.probabilityChanges
            table.add(
                [label(index + 1), percent(comparison.probabilityChange), percent(comparison.rootMeanSquareChange)]
                    + [0.01, 0.1, 0.9, 0.99].map { formatted(100 * values.percentile($0), decimals: 3) + " %" })
        }
        return table.text
    }

    private var errors: String {
        var table = TextTable([
            "relative error", "first layer", "middle", "last", "matrices: weights", "outputs", "worst output",
        ])
        for index in comparisons.indices {
            let layers = results[index + 1].layerErrors
            func layer(_ place: Int) -> String { layers.isEmpty ? "" : formatted(layers[place], decimals: 5) }
            let found = matrices.compactMap { matrix in matrix.errors[index].map { (matrix.name, $0) } }
            let worst = found.max { $0.1.output < $1.1.output }
            table.add([
                label(index + 1), layer(0), layer(layers.count / 2), layer(max(0, layers.count - 1)),
                mean(found.map(\.1.weight)), mean(found.map(\.1.output)),
                worst.map { "\(formatted($0.1.output, decimals: 5)) \(escapedForDisplay($0.0))" } ?? "",
            ])
        }
        return table.text
    }

    private func mean(_ values: [Double]) -> String {
        values.isEmpty ? "" : formatted(values.reduce(0, +) / Double(values.count), decimals: 5)
    }

    private func text(_ value: Estimate, decimals: Int) -> String {
        "\(formatted(value.mean, decimals: decimals)) ± \(formatted(value.error, decimals: decimals))"
    }

    private func percent(_ value: Estimate) -> String {
        "\(formatted(100 * value.mean, decimals: 3)) ± \(formatted(100 * value.error, decimals: 3)) %"
    }
}
