import CSystem
import TensorCore

/// Progress of long work on standard error: a redrawn bar with bytes, rate and time left on a terminal, one line per
/// finished part elsewhere, nothing when quiet.
public final class ProgressReport {
    private let label: String
    private let totalBytes: UInt64
    private let isQuiet: Bool
    private let isInteractive: Bool
    private let started = lamina_monotonic_seconds()
    private var lastDrawn = 0.0
    private var doneBytes: UInt64 = 0
    private var drewBar = false

    /// Work of `totalBytes`, named `label`.
    public init(label: String, totalBytes: UInt64, isQuiet: Bool) {
        self.label = label
        self.totalBytes = totalBytes
        self.isQuiet = isQuiet
        isInteractive = Console.isInteractive
    }

    private var elapsed: Double { lamina_monotonic_seconds() - started }

    /// `bytes` more are done.
    public func advance(by bytes: UInt64) {
        doneBytes += bytes
        // Ten times a second is enough for the eye.
        guard !isQuiet, isInteractive, lamina_monotonic_seconds() - lastDrawn > 0.1 else { return }
        lastDrawn = lamina_monotonic_seconds()
        drawBar()
    }

    private func drawBar() {
        let fraction = totalBytes == 0 ? 1 : min(1, Double(doneBytes) / Double(totalBytes))
        let rate = Double(doneBytes) / max(elapsed, 1e-6)
        let left = rate > 0 ? Double(totalBytes - min(doneBytes, totalBytes)) / rate : .infinity
        let width = 24
        let filled = Int(fraction * Double(width))
        let bar = String(repeating: "█", count: filled) + String(repeating: "░", count: width - filled)
        let line =
            "\(label) \(bar) \(Int(fraction * 100)) %  \(formattedBytes(doneBytes)) of \(formattedBytes(totalBytes))  "
            + "\(formattedBytes(UInt64(rate)))/s  \(formattedDuration(left)) left"
        Console.note("\r\u{1B}[K" + String(line.prefix(max(20, Console.columns - 1))))
        drewBar = true
    }

    /// A part is done: a line where there is no bar.
    public func finishedPart(_ text: String) {
        guard !isQuiet, !isInteractive else { return }
        Console.note("\(label): \(escapedForDisplay(text))\n")
    }

    /// Ends the bar and prints a summary: `text`, bytes, time and rate.
    public func finish(_ text: String) {
        clear()
        guard !isQuiet else { return }
        let rate = Double(doneBytes) / max(elapsed, 1e-6)
        Console.note(
            "\(text): \(formattedBytes(doneBytes)) in \(formattedDuration(elapsed)), \(formattedBytes(UInt64(rate)))/s\n"
        )
    }

    /// Removes the bar, so that an error or a note stands on its own line.
    public func clear() {
        if drewBar { Console.note("\r\u{1B}[K") }
        drewBar = false
    }
}
