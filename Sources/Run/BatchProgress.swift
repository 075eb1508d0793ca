import CSystem
import CommandLineSupport

/// A line on a terminal about how far a batch is, and how long the rest can take; nothing elsewhere or when quiet.
struct BatchProgress: GenerationObserver {
    /// How far the passes over the prompts are.
    private var prompts: StepProgress
    private var line: StatusLine

    /// `promptLayers` are the layers of all passes over the prompts.
    init(promptLayers: Int, isQuiet: Bool) {
        prompts = StepProgress(label: "batch: prompts", steps: promptLayers, isQuiet: isQuiet)
        line = StatusLine(isQuiet: isQuiet)
    }

    mutating func finishedPromptLayer() { prompts.finishedStep() }

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
        self.line.draw(line)
    }

    /// Removes the line, so that what follows stands on its own.
    func clear() { line.clear() }
}
