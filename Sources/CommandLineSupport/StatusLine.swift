import CSystem

/// A line on a terminal that is drawn over and over; nothing elsewhere or when quiet.
public struct StatusLine {
    private let isShown: Bool
    private var lastDrawn = 0.0

    public init(isQuiet: Bool) { isShown = !isQuiet && Console.isInteractive }

    /// Draws `line` in place of the last one, unless that is too fresh.
    public mutating func draw(_ line: @autoclosure () -> String) {
        // Ten times a second is enough for the eye.
        guard isShown, lamina_monotonic_seconds() - lastDrawn > 0.1 else { return }
        lastDrawn = lamina_monotonic_seconds()
        Console.note("\r\u{1B}[K" + String(line().prefix(max(20, Console.columns - 1))))
    }

    /// Removes the line, so that what follows stands on its own.
    public func clear() {
        if isShown { Console.note("\r\u{1B}[K") }
    }
}

/// How far work of equal steps is, and how long the rest can take, on a status line.
public struct StepProgress {
    private let label: String
    private let steps: Int
    private var finished = 0
    private let started = lamina_monotonic_seconds()
    private var line: StatusLine

    /// Work of `steps` steps, named `label`.
    public init(label: String, steps: Int, isQuiet: Bool) {
        self.label = label
        self.steps = steps
        line = StatusLine(isQuiet: isQuiet)
    }

    public mutating func finishedStep() {
        finished += 1
        let elapsed = lamina_monotonic_seconds() - started
        let left = elapsed * Double(max(0, steps - finished)) / Double(finished)
        line.draw("\(label) \(100 * min(finished, steps) / max(1, steps)) %  \(formattedDuration(left)) left")
    }

    public func clear() { line.clear() }
}
