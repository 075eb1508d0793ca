import CKernels
import CSystem
import CommandLineSupport
import Inference
import LayerStore
import TensorCore

/// What a generation did and what it took.
struct GenerationReport {
    var promptTokens = 0
    var generatedTokens = 0
    var loadSeconds = 0.0
    var promptSeconds = 0.0
    var generationSeconds = 0.0
    /// After the prompts: steps in which all sequences advanced, the tokens they took, the passes that needed, the
    /// bytes these read, and the seconds in which reads were under way.
    var generationSteps = 0
    var fedTokens = 0
    var generationPasses = 0
    var generationBytes: UInt64 = 0
    var generationReadSeconds = 0.0

    /// Takes over what a session did between two moments, the first of them `started`.
    mutating func count(from before: SessionStatistics, to after: SessionStatistics, started: Double) {
        generationSeconds = lamina_monotonic_seconds() - started
        generationPasses = after.passes - before.passes
        generationBytes = after.bytesRead - before.bytesRead
        generationReadSeconds = after.readSeconds - before.readSeconds
    }

    private func rate(_ count: Int, _ seconds: Double) -> Double { seconds > 0 ? Double(count) / seconds : 0 }
    private var bytesPerToken: Double { Double(generationBytes) / Double(max(1, fedTokens)) }
    /// Tokens of all sequences per second.
    var tokensPerSecond: Double { rate(fedTokens, generationSeconds) }
    /// `nil` if there was no step.
    var secondsPerStep: Double? { generationSteps > 0 ? generationSeconds / Double(generationSteps) : nil }
    /// Bytes per second while something was read; `nil` if nothing was.
    var achievedDiskRate: Double? {
        generationBytes > 0 && generationReadSeconds > 0 ? Double(generationBytes) / generationReadSeconds : nil
    }

    /// `timings` of what `--json` prints.
    func timings(_ statistics: SessionStatistics, kernels: KernelTable, threads: Int) -> JSONValue {
        [
            "load_seconds": JSONValue(loadSeconds), "prompt_seconds": JSONValue(promptSeconds),
            "generation_seconds": JSONValue(generationSeconds), "prompt_tokens": JSONValue(promptTokens),
            "generated_tokens": JSONValue(generatedTokens), "generation_steps": JSONValue(generationSteps),
            "generation_passes": JSONValue(generationPasses),
            "prompt_tokens_per_second": JSONValue(rate(promptTokens, promptSeconds)),
            "generation_tokens_per_second": JSONValue(tokensPerSecond),
            "read_seconds": JSONValue(statistics.readSeconds), "wait_seconds": JSONValue(statistics.waitSeconds),
            "check_seconds": JSONValue(statistics.checkSeconds),
            "decode_seconds": JSONValue(statistics.decodeSeconds),
            "compute_seconds": JSONValue(statistics.computeSeconds), "bytes_read": JSONValue(statistics.bytesRead),
            "generation_bytes": JSONValue(generationBytes),
            "generation_read_seconds": JSONValue(generationReadSeconds), "bytes_per_token": JSONValue(bytesPerToken),
            "pass_bytes": JSONValue(statistics.passBytes), "resident_bytes": JSONValue(statistics.residentBytes),
            "hit_rate": JSONValue(statistics.hitRate),
            "expert_hit_rate": JSONValue(optional: statistics.expertHitRate),
            "peak_memory_bytes": JSONValue(lamina_peak_resident_bytes()),
            "isa": .string(String(cString: lamina_isa_name(kernels.pointee.isa))), "threads": JSONValue(threads),
            "io_mode": .string(statistics.readMode.rawValue), "io_depth": JSONValue(statistics.readDepth),
        ]
    }

    private func expertText(_ statistics: SessionStatistics) -> String {
        statistics.expertHitRate.map { ", \(formatted(100 * $0, decimals: 0)) % of the experts" } ?? ""
    }

    /// Lines for people.
    func summary(_ statistics: SessionStatistics, kernels: KernelTable, verbose: Bool) -> String {
        var lines = [
            "prompt: \(promptTokens) tokens in \(formattedDuration(promptSeconds)), "
                + "\(formatted(rate(promptTokens, promptSeconds), decimals: 1)) tok/s",
            "generation: \(generatedTokens) tokens in \(formattedDuration(generationSeconds)), "
                + "\(formatted(tokensPerSecond, decimals: 1)) tok/s",
            "read: \(formattedBytes(UInt64(bytesPerToken))) per token, \(formattedBytes(statistics.bytesRead)) in all "
                + "in \(formattedDuration(statistics.readSeconds)) (\(statistics.readMode.rawValue), "
                + "\(statistics.readDepth) in flight); \(formatted(100 * statistics.hitRate, decimals: 0)) % of a pass "
                + "from memory" + expertText(statistics),
            "threads: waited \(formattedDuration(statistics.waitSeconds)), checked "
                + "\(formattedDuration(statistics.checkSeconds)), decoded "
                + "\(formattedDuration(statistics.decodeSeconds)), multiplied "
                + formattedDuration(statistics.computeSeconds),
            "memory: \(formattedBytes(lamina_peak_resident_bytes())) at most",
        ]
        if verbose {
            lines += [
                "resident: \(formattedBytes(statistics.residentBytes)) "
                    + "\(statistics.keepsDecoded ? "decoded" : "as stored") of "
                    + "\(formattedBytes(statistics.passBytes)) per pass; ring of "
                    + "\(formattedBytes(statistics.ringBytes)), requests of \(formattedBytes(statistics.requestBytes)); "
                    + "\(statistics.columns) prompt tokens per pass",
                "budget: \(formattedBytes(statistics.budgetBytes)), planned "
                    + "\(formattedBytes(statistics.plannedBytes)), at least \(formattedBytes(statistics.minimumBytes))",
                "instruction set: \(String(cString: lamina_isa_name(kernels.pointee.isa)))",
            ]
        }
        return lines.joined(separator: "\n") + "\n"
    }
}
