import CKernels
import CSystem
import CommandLineSupport
import Inference
import LayerStore
import TensorCore

/// An evaluation with what is told about it: a forecast before, progress, and what it took.
public struct EvaluationRun {
    public let scores: [PositionScore]
    public let statistics: SessionStatistics
    /// What the passes took, preparations apart.
    public let seconds: Double
    public let forecast: Forecast
    private let fedTokens: Int

    /// Evaluates `sequences`; `label` names the work on standard error. A signal ends the program. Throws what a session
    /// throws.
    public init(
        _ model: StoredModel, _ sequences: [EvaluationSequence], _ machine: MachineOptions, kernels: KernelTable,
        label: String, measuresCompute: Bool, isQuiet: Bool
    ) throws(LaminaError) {
        var plan = try SessionPlan(
            model, workload: .evaluate(sequences), options: machine.session, kernels: kernels)
        forecast = try plan.forecastForRun(measuresCompute: measuresCompute)
        if !isQuiet { Console.note(EvaluationRun.announcement(label, plan, forecast)) }
        let session = try InferenceSession(plan)
        var progress = StepProgress(
            label: label, steps: plan.evaluationPasses * model.config.layerCount, isQuiet: isQuiet)
        let started = lamina_monotonic_seconds()
        let outcome = Result { () throws(LaminaError) in
            try session.evaluate(sequences) {
                progress.finishedStep()
                return lamina_caught_signal() != 0
            }
        }
        progress.clear()
        guard let scores = try outcome.get() else { CommandLineTool.exitForSignal(lamina_caught_signal()) }
        self.scores = scores
        seconds = lamina_monotonic_seconds() - started
        statistics = session.statistics
        fedTokens = sequences.reduce(0) { $0 + $1.fed }
    }

    private static func announcement(_ label: String, _ plan: SessionPlan, _ forecast: Forecast) -> String {
        let passes = plan.evaluationPasses
        var line =
            "\(label): \(passes) \(passes == 1 ? "pass" : "passes") over \(formattedBytes(plan.weightBytes)) of weights, "
            + "\(formattedBytes(UInt64(forecast.totalBytes))) to read"
        if let disk = forecast.disk { line += " at \(formattedBytes(UInt64(disk.bytesPerSecond)))/s" }
        if let seconds = forecast.prefill.seconds {
            line += "; expected: \(formattedTime(seconds)) (\(formattedParts(forecast.prefill)))"
        } else if let compute = forecast.prefill.compute {
            // Too little is read for the disk to be measured.
            line += "; expected: at least \(formattedTime(compute))"
        }
        return line + "\n"
    }

    /// Tokens taken per second.
    public var tokensPerSecond: Double { seconds > 0 ? Double(fedTokens) / seconds : 0 }

    /// A line for people afterwards.
    public var summary: String {
        var line =
            "\(fedTokens) tokens in \(formattedTime(seconds)), \(formatted(tokensPerSecond, decimals: 1)) tok/s; "
            + "\(formattedBytes(statistics.bytesRead)) read; memory: \(formattedBytes(lamina_peak_resident_bytes())) "
            + "at most"
        if let expected = forecast.prefill.seconds, seconds > 0 {
            let percent = formatted(100 * (expected / seconds - 1), decimals: 0)
            line += "; forecast: \(percent.hasPrefix("-") ? "" : "+")\(percent) %"
        }
        return line + "\n"
    }

    /// `timings` of what `--json` prints.
    public func timings(_ machine: MachineOptions, kernels: KernelTable) -> JSONValue {
        [
            "seconds": JSONValue(seconds), "tokens": JSONValue(fedTokens),
            "tokens_per_second": JSONValue(tokensPerSecond), "passes": JSONValue(statistics.passes),
            "bytes_read": JSONValue(statistics.bytesRead),
            "expected_seconds": JSONValue(optional: forecast.prefill.seconds),
            "peak_memory_bytes": JSONValue(lamina_peak_resident_bytes()),
            "isa": .string(String(cString: lamina_isa_name(kernels.pointee.isa))),
            "threads": JSONValue(machine.threadCount),
        ]
    }
}
