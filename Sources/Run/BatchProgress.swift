import CSystem
import CommandLineSupport

/// A line on a terminal about how far a batch is, and how long the rest can take; nothing elsewhere or when quiet.
struct BatchProgress: GenerationObserver {
    private let isShown: Bool
    /// Layers of all passes over the prompts, and those that are done.
    private let promptLayers: Int
    private var finishedLayers = 0
    private let started = lamina_monotonic_seconds()
    private var lastDrawn = 0.0

    init(promptLayers: Int, isQuiet: Bool) {
        self.promptLayers = promptLayers
        isShown = !isQuiet && Console.isInteractive
    }

    mutating func finishedPromptLayer() {
        finishedLayers += 1
        let elapsed = lamina_monotonic_seconds() - started
        let left = elapsed * Double(promptLayers - finishedLayers) / Double(finishedLayers)
        draw("batch: prompts \(100 * finishedLayers / max(1, promptLayers)) %  \(formattedDuration(left)) left")
    }

    mutating func finishedStep(_ sequences: [SequenceGeneration], _ report: GenerationReport) {
        let done = sequences.reduce(0) { $0 + $1.ids.count }
        let finished = sequences.count(where: \.isFinished)
        // Those that have ended take no more tokens.
        let most = sequences.reduce(0) { $0 + ($1.isFinished ? $1.ids.count : $1.limit) }
        var line = "batch: \(done) of at most \(most) tokens, \(finished) of \(sequences.count) answers"
        if let each = report.secondsPerStep {
            let steps = sequences.reduce(0) { $1.isFinished ? $0 : max($0, $1.limit - $1.ids.count) }
            line += "  \(formatted(report.tokensPerSecond, decimals: 1)) tok/s  "
            line += "at most \(formattedDuration(each * Double(steps))) left"
        }
        draw(line)
    }

    private mutating func draw(_ line: String) {
        // Ten times a second is enough for the eye.
        guard isShown, lamina_monotonic_seconds() - lastDrawn > 0.1 else { return }
        lastDrawn = lamina_monotonic_seconds()
        Console.note("\r\u{1B}[K" + String(line.prefix(max(20, Console.columns - 1))))
    }

    /// Removes the line, so that what follows stands on its own.
    func clear() {
        if isShown { Console.note("\r\u{1B}[K") }
    }
}
