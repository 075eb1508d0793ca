import CommandLineSupport
import Inference
import ModelCommandSupport
import TensorCore

/// What `plan` found, for people and for programs.
struct PlanReport {
    var store: String
    /// The prompt and answer that are planned for.
    var sequence: SequenceDemand
    var session: SessionPlan
    var forecast: Forecast
    var batchCount: Int
    /// Bytes of the batch's keys and values, and its forecast; `nil` if they do not fit.
    var batch: (keyValueBytes: Int, forecast: Forecast)?
    /// The memory they need if they do not fit.
    var batchNeeds: String?
    var sweep: [BudgetStep]
    var instructionSet: String

    // MARK: For people

    /// A table.
    var text: String {
        let lines = weightLines + expertLines + memoryLines + rateLines + timeLines + [""] + sweepLines
        return lines.map { $0 + "\n" }.joined()
    }

    private func line(_ title: String, _ text: String) -> String {
        title + String(repeating: " ", count: max(1, 10 - title.count)) + text
    }

    private var weightLines: [String] {
        let manifest = session.model.store.manifest
        let stored = manifest.shards.reduce(UInt64(0)) { $0 + $1.size }
        let share = formatted(100 * session.residentShare, decimals: 0)
        return [
            line(
                "model",
                "\(manifest.architecture), \(session.model.config.layerCount) layers, "
                    + "\(formattedBytes(stored)) in \(escapedForDisplay(store))"),
            line(
                "weights",
                "\(formattedBytes(session.passBytes)) per pass, \(share) % of it resident"
                    + (session.keepsDecoded ? ", decoded" : "")),
            line(
                "reads",
                "\(formattedBytes(UInt64(forecast.bytesPerStep))) per token, "
                    + "\(formattedBytes(UInt64(forecast.totalBytes))) for the whole run"),
        ]
    }

    /// What is read by every token, and what only where it is sent; nothing for dense models.
    private var expertLines: [String] {
        guard let experts = session.experts else { return [] }
        let routed = formatted(100 * Double(experts.bytesPerToken) / Double(max(1, experts.bytes)), decimals: 1)
        return [
            line(
                "experts",
                "\(experts.perToken) of \(experts.count) for a token in each of \(experts.layers) layers, "
                    + "\(formattedBytes(experts.bytesPerToken)) or \(routed) % of \(formattedBytes(experts.bytes))"),
            line(
                "",
                "\(formatted(100 * experts.cachedShare, decimals: 0)) % of them in memory; "
                    + "\(formattedBytes(session.denseBytes)) of other weights are for every token"),
        ]
    }

    private var memoryLines: [String] {
        [
            line(
                "memory",
                "\(formattedBytes(session.budgetBytes)) allowed, \(formattedBytes(session.plannedBytes)) used, "
                    + "at least \(formattedBytes(session.minimumBytes)) needed"),
            line(
                "",
                "weights \(formattedBytes(session.residentWeightBytes)), KV cache "
                    + "\(formattedBytes(session.keyValueBytes)), ring \(formattedBytes(session.ringBytes)); "
                    + "\(session.columns) prompt tokens per pass"),
        ]
    }

    private var rateLines: [String] {
        var lines = [
            line(
                "disk",
                forecast.disk.map {
                    "\(formattedBytes(UInt64($0.bytesPerSecond)))/s (\($0.mode.rawValue), \($0.depth) in flight of "
                        + "\(formattedBytes(session.requestBytes)))"
                } ?? "not measured: no file is as large as one request")
        ]
        guard let compute = forecast.compute else { return lines }
        var title = "compute"
        for (form, products) in compute.sortedProducts {
            let rates = products.map { product in
                product.columns == 1
                    ? "\(formattedBytes(UInt64(Double(form.dtype.size) / product.secondsPerWeight)))/s of weights"
                    : "\(formatted(product.flopsPerSecond / 1e9, decimals: 0)) GFLOP/s with \(product.columns) columns"
            }
            lines.append(
                line(title, "\(form.weightName) \(form.coding.rawValue): \(rates.joined(separator: ", "))"))
            title = ""
        }
        lines.append(line("", "\(compute.threads) threads, \(instructionSet)"))
        return lines
    }

    private var timeLines: [String] {
        func text(_ time: Forecast.Time, _ rate: Double?) -> String {
            guard let seconds = time.seconds, let rate else { return "unknown (\(formattedParts(time)))" }
            return "\(formattedTime(seconds)), \(formatted(rate, decimals: rate < 10 ? 2 : 0)) tok/s "
                + "(\(formattedParts(time)))"
        }
        let prefill = forecast.prefill
        let batchText =
            batch.map { ", a step: \(text($0.forecast.step, $0.forecast.tokensPerSecond))" }
            ?? " do not fit the memory\(batchNeeds.map { ": \($0) needed" } ?? "")"
        return [
            line("decode", "a token: \(text(forecast.step, forecast.tokensPerSecond))"),
            line(
                "prefill",
                "\(sequence.promptTokens) tokens: "
                    + text(prefill, prefill.seconds.map { Double(sequence.promptTokens) / $0 })),
            line("batch", "\(batchCount) prompts\(batchText)"),
        ]
    }

    private var sweepLines: [String] {
        let rows = sweep.map { step -> [String] in
            guard let gain = step.gain else { return [formattedBytes(step.memoryBytes), "too small", "", ""] }
            return [
                formattedBytes(step.memoryBytes), "\(formatted(100 * gain.residentShare, decimals: 0)) %",
                formattedBytes(UInt64(gain.bytesPerStep)), gain.step.seconds.map(formattedTime) ?? "unknown",
            ]
        }
        let table = [["memory", "resident", "read per token", "time per token"]] + rows
        return table.map { row in
            row.map { $0 + String(repeating: " ", count: max(1, 16 - $0.count)) }.joined()
                .split(separator: " ", omittingEmptySubsequences: false).joined(separator: " ")
        }.map { line in String(line[..<(line.lastIndex { $0 != " " }.map(line.index(after:)) ?? line.startIndex)]) }
    }

    // MARK: For programs

    /// What `--json` prints.
    var json: JSONValue {
        let step = forecast.step
        let prefill = forecast.prefill
        return [
            "model": .string(session.model.store.manifest.architecture),
            "memory_bytes": JSONValue(session.budgetBytes), "minimum_bytes": JSONValue(session.minimumBytes),
            "planned_bytes": JSONValue(session.plannedBytes), "ring_bytes": JSONValue(session.ringBytes),
            "kv_cache_bytes": JSONValue(session.keyValueBytes), "columns": JSONValue(session.columns),
            "pass_bytes": JSONValue(session.passBytes), "resident_bytes": JSONValue(session.residentWeightBytes),
            "streamed_bytes_per_pass": JSONValue(session.streamedPassBytes),
            "bytes_per_token": JSONValue(UInt64(forecast.bytesPerStep)),
            "resident_share": JSONValue(session.residentShare), "keeps_decoded": .bool(session.keepsDecoded),
            "weight_bytes": JSONValue(session.weightBytes), "experts": expertJSON,
            "disk": diskJSON, "compute": computeJSON,
            "decode": [
                "seconds_per_token": JSONValue(optional: step.seconds), "disk_seconds": JSONValue(optional: step.disk),
                "compute_seconds": JSONValue(optional: step.compute),
            ],
            "prefill": [
                "tokens": JSONValue(sequence.promptTokens), "seconds": JSONValue(optional: prefill.seconds),
                "disk_seconds": JSONValue(optional: prefill.disk),
                "compute_seconds": JSONValue(optional: prefill.compute),
            ],
            "batch": batchJSON, "sweep": .array(sweep.map(PlanReport.json)),
        ]
    }

    private var expertJSON: JSONValue {
        guard let experts = session.experts else { return .null }
        return [
            "layers": JSONValue(experts.layers), "count": JSONValue(experts.count),
            "per_token": JSONValue(experts.perToken), "bytes": JSONValue(experts.bytes),
            "bytes_per_token": JSONValue(experts.bytesPerToken), "dense_bytes": JSONValue(session.denseBytes),
            "cache_bytes": JSONValue(experts.cacheBytes), "cached_share": JSONValue(experts.cachedShare),
        ]
    }

    private var diskJSON: JSONValue {
        guard let disk = forecast.disk else { return .null }
        return [
            "bytes_per_second": JSONValue(disk.bytesPerSecond), "mode": .string(disk.mode.rawValue),
            "depth": JSONValue(disk.depth),
        ]
    }

    private var computeJSON: JSONValue {
        guard let compute = forecast.compute else { return .null }
        let products = compute.sortedProducts.map { form, products -> JSONValue in
            let single = products.first.map { Double(form.dtype.size) / $0.secondsPerWeight }
            return [
                "dtype": .string(form.weightName), "coding": .string(form.coding.rawValue),
                "weight_bytes_per_second": JSONValue(optional: single),
                "flops": .array(
                    products.map {
                        ["columns": JSONValue($0.columns), "per_second": JSONValue($0.flopsPerSecond)]
                    }),
            ]
        }
        return [
            "threads": JSONValue(compute.threads), "isa": .string(instructionSet), "products": .array(products),
            "checked_bytes_per_second": JSONValue(compute.checkedBytesPerSecond),
            "attention_seconds_per_score": JSONValue(compute.secondsPerScore),
            "barrier_seconds": JSONValue(compute.secondsPerBarrier),
        ]
    }

    private var batchJSON: JSONValue {
        guard let batch else { return ["sequences": JSONValue(batchCount), "too_small": true] }
        let step = batch.forecast.step
        return [
            "sequences": JSONValue(batchCount),
            "tokens_per_second": JSONValue(optional: batch.forecast.tokensPerSecond),
            "seconds_per_step": JSONValue(optional: step.seconds), "disk_seconds": JSONValue(optional: step.disk),
            "compute_seconds": JSONValue(optional: step.compute), "kv_cache_bytes": JSONValue(batch.keyValueBytes),
        ]
    }

    private static func json(_ step: BudgetStep) -> JSONValue {
        guard let gain = step.gain else { return ["memory_bytes": JSONValue(step.memoryBytes), "too_small": true] }
        return [
            "memory_bytes": JSONValue(step.memoryBytes), "resident_share": JSONValue(gain.residentShare),
            "bytes_per_token": JSONValue(UInt64(gain.bytesPerStep)),
            "seconds_per_token": JSONValue(optional: gain.step.seconds),
        ]
    }
}

extension ComputeRates {
    /// In a fixed order.
    fileprivate var sortedProducts: [(form: WeightForm, products: [Product])] {
        products.map { ($0.key, $0.value) }.sorted {
            ($0.0.weightName, $0.0.coding.rawValue) < ($1.0.weightName, $1.0.coding.rawValue)
        }
    }
}
