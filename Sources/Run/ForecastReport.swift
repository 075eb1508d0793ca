import CommandLineSupport
import Inference
import ModelCommandSupport
import TensorCore

/// What a run is expected to cost, told before it, and beside what it did cost, after it.
struct ForecastReport {
    /// What a step gives.
    enum Step: String {
        /// One token.
        case token
        /// A token of every sequence.
        case step
    }

    private let forecast: Forecast
    private let step: Step
    private let passBytes: Int
    private let streamedBytes: Int
    private let residentShare: Double
    private let keepsDecoded: Bool
    /// Bytes of all weights, of which an expert model needs a part for a token.
    private let weightBytes: Int
    private let hasExperts: Bool

    /// Measures what `session`, which is about to begin, needs. Throws as `SessionPlan.forecastForRun`.
    init(_ session: inout SessionPlan, step: Step, measuresCompute: Bool) throws(LaminaError) {
        forecast = try session.forecastForRun(measuresCompute: measuresCompute)
        self.step = step
        passBytes = session.passBytes
        streamedBytes = session.streamedPassBytes
        residentShare = session.residentShare
        keepsDecoded = session.keepsDecoded
        weightBytes = session.weightBytes
        hasExperts = session.experts != nil
    }

    /// Lines before the first token.
    var announcement: String {
        let all = formattedBytes(weightBytes)
        guard forecast.stepCount > 0 else { return "weights: \(all), for the prompt only\n" }
        let share = formatted(100 * residentShare, decimals: 0)
        var lines = [
            streamedBytes == 0
                ? "weights: all \(all) stay in memory\(keepsDecoded ? ", decoded" : "")"
                : (hasExperts
                    ? "weights: \(all), \(formattedBytes(passBytes)) of them for a token, \(share) % of that in memory, "
                    : "weights: \(share) % of \(all) stay in memory, ")
                    + "\(formattedBytes(UInt64(forecast.bytesPerStep))) to read per \(step.rawValue)"
        ]
        var parts: [String] = []
        if let disk = forecast.disk {
            let rate = formattedBytes(UInt64(disk.bytesPerSecond))
            parts.append("disk: \(rate)/s (\(disk.mode.rawValue), \(disk.depth) in flight)")
        }
        if let rate = forecast.tokensPerSecond, let seconds = forecast.step.seconds {
            parts.append(
                "expected: \(formatted(rate, decimals: rate < 10 ? 2 : 0)) tok/s, \(formattedTime(seconds)) per "
                    + "\(step.rawValue) (\(formattedParts(forecast.step)))")
        }
        if !parts.isEmpty { lines.append(parts.joined(separator: "; ")) }
        return lines.joined(separator: "\n") + "\n"
    }

    /// The forecast with the disk as fast as it turned out to be.
    private func corrected(_ report: GenerationReport) -> Double? {
        guard let rate = report.achievedDiskRate else { return forecast.step.seconds }
        var forecast = forecast
        let known = forecast.disk ?? DiskRate(bytesPerSecond: rate, mode: .buffered, depth: 1)
        forecast.disk = DiskRate(bytesPerSecond: rate, mode: known.mode, depth: known.depth)
        return forecast.step.seconds
    }

    /// How far `expected` was from what was measured: above 0 if it took less.
    private func error(_ expected: Double?, _ report: GenerationReport) -> Double? {
        guard let expected, let measured = report.secondsPerStep, measured > 0 else { return nil }
        return expected / measured - 1
    }

    /// A line afterwards; `nil` if nothing was expected, or nothing came of it.
    func summary(_ report: GenerationReport) -> String? {
        guard let measured = report.secondsPerStep, let afterwards = corrected(report) else { return nil }
        func deviation(_ seconds: Double) -> String {
            let percent = formatted(100 * (seconds / measured - 1), decimals: 0)
            return "\(formattedTime(seconds)) (\(percent.hasPrefix("-") ? "" : "+")\(percent) %)"
        }
        var line = "forecast: "
        if let seconds = forecast.step.seconds { line += "\(deviation(seconds)), " }
        if report.achievedDiskRate != nil { line += "with the disk as it was \(deviation(afterwards)), " }
        return line + "measured \(formattedTime(measured)) per \(step.rawValue)\n"
    }

    /// `forecast` of what `--json` prints.
    func json(_ report: GenerationReport) -> JSONValue {
        let seconds = "seconds_per_\(step.rawValue)"
        return [
            "bytes_per_pass": JSONValue(passBytes), "streamed_bytes_per_pass": JSONValue(streamedBytes),
            "bytes_per_\(step.rawValue)": JSONValue(UInt64(forecast.bytesPerStep)),
            "resident_share": JSONValue(residentShare),
            "disk_bytes_per_second": JSONValue(optional: forecast.disk?.bytesPerSecond),
            "disk_seconds": JSONValue(optional: forecast.step.disk),
            "compute_seconds": JSONValue(optional: forecast.step.compute),
            seconds: JSONValue(optional: forecast.step.seconds),
            "measured_" + seconds: JSONValue(optional: report.secondsPerStep),
            "error": JSONValue(optional: error(forecast.step.seconds, report)),
            "achieved_disk_bytes_per_second": JSONValue(optional: report.achievedDiskRate),
            "error_at_achieved_rate": JSONValue(optional: error(corrected(report), report)),
        ]
    }
}
