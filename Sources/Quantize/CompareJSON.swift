import CKernels
import CSystem
import Inference
import LayerStore
import ModelCommandSupport
import TensorCore

extension CompareReport {
    /// Shares of positions whose values are given.
    private static let percentiles = [
        ("p0_1", 0.001), ("p1", 0.01), ("p5", 0.05), ("p10", 0.1), ("p25", 0.25), ("median", 0.5), ("p75", 0.75),
        ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p99_9", 0.999),
    ]

    /// What `--json` prints.
    func json(_ machine: MachineOptions, _ kernels: KernelTable) -> JSONValue {
        [
            "text": text.json, "context": JSONValue(windows.context), "windows": JSONValue(windows.sequences.count),
            "positions": JSONValue(windows.countedPositions), "stores": .array(names.indices.map(store)),
            "threads": JSONValue(machine.threadCount),
            "isa": .string(String(cString: lamina_isa_name(kernels.pointee.isa))),
            "peak_memory_bytes": JSONValue(lamina_peak_resident_bytes()),
        ]
    }

    private func store(_ index: Int) -> JSONValue {
        let (size, result) = (sizes[index], results[index])
        var members: [(key: String, value: JSONValue)] = [
            ("store", .string(names[index])),
            ("compute", computes[index].map { .string($0.rawValue) } ?? .null),
            ("bytes", JSONValue(size.byteCount)), ("bits_per_weight", JSONValue(size.bitsPerWeight)),
            ("bits_per_matrix_weight", JSONValue(size.bitsPerMatrixWeight)),
            ("tokens_per_second", JSONValue(result.tokensPerSecond)), ("seconds", JSONValue(result.seconds)),
            ("bytes_read", JSONValue(result.bytesRead)),
        ]
        let perplexity = Perplexity(logProbabilities: result.scores.map(\.logProbability))
        members += CompareReport.members("perplexity", perplexity.value)
        if index > 0 { members += compared(index) }
        return .object(JSONObject(members))
    }

    private func compared(_ index: Int) -> [(key: String, value: JSONValue)] {
        let comparison = comparisons[index - 1]
        return CompareReport.members("perplexity_quotient", comparison.ratio)
            + [("kl_divergence", CompareReport.distribution(comparison.divergence, comparison.divergences))]
            + CompareReport.members("same_top", comparison.sameTop)
            + [
                (
                    "probability_change",
                    CompareReport.distribution(
                        comparison.probabilityChange, comparison.probabilityChanges,
                        ("root_mean_square", comparison.rootMeanSquareChange))
                ),
                ("layer_errors", .array(results[index].layerErrors.map { JSONValue($0) })),
                ("matrices", .array(matrices.compactMap { matrix(of: $0, index - 1) })),
            ]
    }

    private func matrix(of matrix: MatrixErrors, _ other: Int) -> JSONValue? {
        matrix.errors[other].map { error in
            [
                "name": .string(matrix.name), "positions": JSONValue(matrix.positions),
                "weight_error": JSONValue(error.weight), "output_error": JSONValue(error.output),
            ]
        }
    }

    private static func members(_ name: String, _ value: Estimate) -> [(key: String, value: JSONValue)] {
        [(name, JSONValue(value.mean)), (name + "_error", JSONValue(value.error))]
    }

    private static func distribution(
        _ mean: Estimate, _ values: Distribution, _ further: (String, Estimate)? = nil
    ) -> JSONValue {
        var found = members("mean", mean)
        if let further { found += members(further.0, further.1) }
        found.append(("minimum", JSONValue(values.percentile(0))))
        found += percentiles.map { ($0.0, JSONValue(values.percentile($0.1))) }
        found.append(("maximum", JSONValue(values.percentile(1))))
        return .object(JSONObject(found))
    }
}
