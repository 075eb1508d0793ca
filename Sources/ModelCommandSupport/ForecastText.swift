import CommandLineSupport
import Inference

/// What disk and processors take, as far as it is known: `disk 2.1 s, compute 0.4 s`.
public func formattedParts(_ time: Forecast.Time) -> String {
    let parts = [("disk", time.disk), ("compute", time.compute)]
    return parts.map { "\($0) \($1.map(formattedTime) ?? "not measured")" }.joined(separator: ", ")
}
