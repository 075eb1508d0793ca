import CKernels
import CSystem
import CommandLineSupport
import Inference
import LayerStore
import TensorCore

/// What a generation did and what it took.
struct GenerationReport {
    /// Why it ended.
    enum FinishReason: String { case stop, length, interrupted }

    var ids: [Int] = []
    var finishReason = FinishReason.interrupted
    var promptTokens = 0
    var loadSeconds = 0.0
    var promptSeconds = 0.0
    var generationSeconds = 0.0
    /// Bytes read, and passes made, after the prompt.
    var generationBytes: UInt64 = 0
    var generationPasses = 0

    private func rate(_ count: Int, _ seconds: Double) -> Double { seconds > 0 ? Double(count) / seconds : 0 }
    private var bytesPerToken: Double { Double(generationBytes) / Double(max(1, generationPasses)) }

    /// The object `--json` prints.
    func json(
        text: String?, session: InferenceSession, kernels: KernelTable, threads: Int, seed: UInt64
    ) -> JSONValue {
        let statistics = session.statistics
        return [
            "text": JSONValue(text), "ids": .array(ids.map { JSONValue($0) }),
            "prompt_tokens": JSONValue(promptTokens), "finish_reason": .string(finishReason.rawValue),
            "seed": JSONValue(seed),
            "timings": [
                "load_seconds": JSONValue(loadSeconds), "prompt_seconds": JSONValue(promptSeconds),
                "generation_seconds": JSONValue(generationSeconds),
                "prompt_tokens_per_second": JSONValue(rate(promptTokens, promptSeconds)),
                "generation_tokens_per_second": JSONValue(rate(generationPasses, generationSeconds)),
                "read_seconds": JSONValue(statistics.readSeconds), "wait_seconds": JSONValue(statistics.waitSeconds),
                "check_seconds": JSONValue(statistics.checkSeconds),
                "decode_seconds": JSONValue(statistics.decodeSeconds),
                "compute_seconds": JSONValue(statistics.computeSeconds), "bytes_read": JSONValue(statistics.bytesRead),
                "bytes_per_token": JSONValue(bytesPerToken), "pass_bytes": JSONValue(statistics.passBytes),
                "resident_bytes": JSONValue(statistics.residentBytes), "hit_rate": JSONValue(statistics.hitRate),
                "peak_memory_bytes": JSONValue(lamina_peak_resident_bytes()),
                "isa": .string(String(cString: lamina_isa_name(kernels.pointee.isa))), "threads": JSONValue(threads),
                "io_mode": .string(statistics.readMode.rawValue), "io_depth": JSONValue(statistics.readDepth),
            ],
        ]
    }

    /// Lines for people.
    func summary(session: InferenceSession, kernels: KernelTable, verbose: Bool) -> String {
        let statistics = session.statistics
        var lines = [
            "prompt: \(promptTokens) tokens in \(formattedDuration(promptSeconds)), "
                + "\(formatted(rate(promptTokens, promptSeconds), decimals: 1)) tok/s",
            "generation: \(ids.count) tokens in \(formattedDuration(generationSeconds)), "
                + "\(formatted(rate(generationPasses, generationSeconds), decimals: 1)) tok/s",
            "read: \(formattedBytes(UInt64(bytesPerToken))) per token, \(formattedBytes(statistics.bytesRead)) in all "
                + "(\(statistics.readMode.rawValue))",
            "memory: \(formattedBytes(lamina_peak_resident_bytes())) at most",
        ]
        if verbose {
            lines += [
                "wait for disk: \(formattedDuration(statistics.waitSeconds)), check: "
                    + "\(formattedDuration(statistics.checkSeconds)), decode: "
                    + "\(formattedDuration(statistics.decodeSeconds)), multiply: "
                    + "\(formattedDuration(statistics.computeSeconds)), reading beside it: "
                    + formattedDuration(statistics.readSeconds),
                "resident: \(formattedBytes(statistics.residentBytes)) \(statistics.keepsDecoded ? "decoded" : "as stored") of "
                    + "\(formattedBytes(statistics.passBytes)) per pass; "
                    + "ring of \(formattedBytes(UInt64(statistics.ringBytes))); "
                    + "\(statistics.columns) prompt tokens per pass",
                "instruction set: \(String(cString: lamina_isa_name(kernels.pointee.isa)))",
            ]
        }
        return lines.joined(separator: "\n") + "\n"
    }
}
