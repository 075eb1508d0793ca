import CSystem
import Inference
import TensorCore

/// Hears how a generation goes on.
protocol GenerationObserver {
    /// One layer of a pass over the prompts is done.
    mutating func finishedPromptLayer()
    /// A sequence has taken a token.
    mutating func took(_ step: SequenceGeneration.Step) throws(LaminaError)
    /// Every sequence that goes on has taken one; `report` counts the steps before.
    mutating func finishedStep(_ sequences: [SequenceGeneration], _ report: GenerationReport)
}

extension GenerationObserver {
    mutating func finishedPromptLayer() {}
    mutating func took(_ step: SequenceGeneration.Step) throws(LaminaError) {}
    mutating func finishedStep(_ sequences: [SequenceGeneration], _ report: GenerationReport) {}
}

/// Sequences being continued together: all prompts at once, then in every step one token of each that goes on.
struct Generation<Observer: GenerationObserver> {
    let session: InferenceSession
    /// Numbered as in the session.
    private(set) var sequences: [SequenceGeneration]
    var observer: Observer
    var report = GenerationReport()

    init(session: InferenceSession, sequences: [SequenceGeneration], observer: Observer) {
        self.session = session
        self.sequences = sequences
        self.observer = observer
    }

    /// Generates until every sequence has ended or a signal came. What was generated before an error is kept.
    mutating func run() -> Result<Void, LaminaError> {
        let result = Result { () throws(LaminaError) in try generate() }
        for number in sequences.indices { sequences[number].finishText() }
        report.generatedTokens = sequences.reduce(0) { $0 + $1.ids.count }
        return result
    }

    private mutating func generate() throws(LaminaError) {
        report.promptTokens = sequences.reduce(0) { $0 + $1.prompt.count }
        let started = lamina_monotonic_seconds()
        let prompts = sequences.enumerated().map { Feed(sequence: $0, tokens: $1.prompt) }
        var observer = observer
        let isComplete = try session.feed(prompts) {
            observer.finishedPromptLayer()
            return lamina_caught_signal() != 0
        }
        self.observer = observer
        guard isComplete else { return }
        report.promptSeconds = lamina_monotonic_seconds() - started
        let (before, generating) = (session.statistics, lamina_monotonic_seconds())
        defer { report.count(from: before, to: session.statistics, started: generating) }
        while true {
            let feeds = try nextTokens()
            report.generationSeconds = lamina_monotonic_seconds() - generating
            self.observer.finishedStep(sequences, report)
            guard !feeds.isEmpty, lamina_caught_signal() == 0,
                try session.feed(feeds, shouldStop: { lamina_caught_signal() != 0 })
            else { return }
            report.generationSteps += 1
            report.fedTokens += feeds.count
        }
    }

    /// Chooses a token for every sequence that has not ended, to be fed to those that go on.
    private mutating func nextTokens() throws(LaminaError) -> [Feed] {
        var feeds: [Feed] = []
        for number in sequences.indices where !sequences[number].isFinished {
            guard let step = try sequences[number].next(session, number: number) else { continue }
            try observer.took(step)
            if !sequences[number].isFinished { feeds.append(Feed(sequence: number, tokens: [step.id])) }
        }
        return feeds
    }
}
