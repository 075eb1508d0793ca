import ArgumentParser
import CSystem
import CommandLineSupport
import Inference
import LayerStore
import ModelCommandSupport
import TensorCore
import Text

/// Continues a prompt.
struct GenerateCommand: ToolCommand {
    static let configuration = CommandConfiguration(
        commandName: "generate",
        abstract: "Continue a prompt (the default command).",
        discussion: """
            The text appears as it is generated; what a token is expected to cost is told before on standard error, and \
            figures about speed, reading and memory follow there. Generation ends before an end-of-text token of the model, after --max-tokens, or with the context.

            Without sampling options the model's generation_config.json decides; where it does not ask for sampling, \
            the most probable token is taken each time (--temp 0). Top-k, top-p and min-p default to 40, 0.95 and \
            0.05 once sampling is asked for here only. Text is continued as it is; --chat puts it into the model's \
            chat template.

            Text ends before a --stop string, too, of which nothing is printed. Steps of sampling and their order: \
            docs/sampling.md.

            With --json one object: "text", "ids", "prompt_tokens", "finish_reason" (stop, length or interrupted), "seed", \
            "timings", and "forecast" {"bytes_per_pass", "streamed_bytes_per_pass", "bytes_per_token", "resident_share", \
            "disk_bytes_per_second", "disk_seconds", "compute_seconds", "seconds_per_token", \
            "measured_seconds_per_token", "error" (forecast by measured, less 1), "achieved_disk_bytes_per_second", \
            "error_at_achieved_rate" (of a forecast with that rate)}; null where it is not known: the disk is measured \
            only where much is to be read. With --samples "text", "ids", "finish_reason" and "seed" are in the objects of \
            "samples". "timings" has "hit_rate", the share of a pass's bytes that was in memory, and \
            "expert_hit_rate", that of the experts that tokens were sent to; null for a model without experts.

            Examples:
              lamina-run smollm2.lamina --prompt "The capital of France is" --max-tokens 20
              lamina-run smollm2.lamina --chat -p "Write a haiku." --temp 0.7 --seed 1
              echo "Once upon a time" | lamina-run smollm2.lamina - --memory 256MiB --json
              lamina-run smollm2.lamina --chat -p "Name a colour." --temp 1 --samples 4 --stop "."
              lamina-run model.lamina --ids 1,15043 --temp 0

            \(exitCodeHelp)
            """)

    @Argument(help: "The layer store.")
    var store: String

    @OptionGroup(title: "Prompt")
    var prompt: PromptOptions

    @OptionGroup(title: "Sampling")
    var sampling: SamplingOptions

    @OptionGroup(title: "Resources")
    var resources: ResourceOptions

    @Option(name: [.customShort("n"), .long], help: ArgumentHelp("Most tokens to generate.", valueName: "n"))
    var maxTokens = 256

    @Option(
        help: ArgumentHelp(
            "Independent answers to generate together; sample i, from 0, has the seed plus i.", valueName: "n"))
    var samples = 1

    @Flag(help: "Go on after an end-of-text token.")
    var ignoreEos = false

    @Flag(help: "Print one JSON object at the end instead of text as it comes.")
    var json = false

    @Flag(name: [.short, .long], help: "No figures on standard error.")
    var quiet = false

    @Flag(name: [.short, .long], help: "More figures on standard error.")
    var verbose = false

    func validate() throws {
        guard maxTokens >= 1 else { throw ValidationError("--max-tokens must be at least 1, not \(maxTokens)") }
        guard (1...1024).contains(samples) else {
            throw ValidationError("--samples must be from 1 to 1024, not \(samples)")
        }
        guard !(quiet && verbose) else { throw ValidationError("--quiet and --verbose contradict each other") }
    }

    func execute() throws(LaminaError) {
        lamina_catch_signals()
        let started = lamina_monotonic_seconds()
        let kernels = try chosenKernels()
        let model = try StoredModel(try Store(path: store, in: RealFileSystem()))
        let text = try ModelText(model.store)
        let tokens = try prompt.tokens(model: model, text: text)
        try sampling.check(vocabulary: model.config.vocabularySize, hasText: text != nil)
        let defaults = try GenerationDefaults(model.store, vocabulary: model.config.vocabularySize)
        let settings = sampling.settings(defaults: defaults.sampling)
        let limit = try resources.limit(promptTokens: tokens.count, maxTokens: maxTokens, model: model)
        let demand = SequenceDemand(promptTokens: tokens.count, newTokens: limit)
        var plan = try SessionPlan(
            model, workload: .generate([SequenceDemand](repeating: demand, count: samples)),
            options: resources.session, kernels: kernels)
        let forecast = try ForecastReport(&plan, step: samples == 1 ? .token : .step, measuresCompute: json || !quiet)
        if !quiet { Console.note(forecast.announcement) }
        var sequences: [SequenceGeneration] = []
        for settings in seeded(settings) {
            sequences.append(
                SequenceGeneration(
                    prompt: tokens, limit: limit,
                    ends: ignoreEos ? [] : defaults.ends(model, text, isChat: prompt.chat),
                    sampler: try Sampler(settings: settings), tokenizer: text?.tokenizer, stops: sampling.stop))
        }
        var generation = Generation(
            session: try InferenceSession(plan), sequences: sequences,
            observer: TextStream(isOn: !json && samples == 1, hasText: text != nil))
        generation.report.loadSeconds = lamina_monotonic_seconds() - started
        let outcome = generation.run()
        // What was said so far stays said, whatever ended it.
        try generation.observer.finish(generation.sequences[0])
        _ = try outcome.get()
        try finish(generation, settings, forecast, kernels, hasText: text != nil)
    }

    /// The settings of every sample.
    private func seeded(_ settings: SamplerSettings) -> [SamplerSettings] {
        (0..<samples).map { number in
            var settings = settings
            settings.seed &+= UInt64(number)
            return settings
        }
    }

    /// Prints what is not printed yet.
    private func finish(
        _ generation: Generation<TextStream>, _ settings: SamplerSettings, _ forecast: ForecastReport,
        _ kernels: KernelTable, hasText: Bool
    ) throws(LaminaError) {
        let (report, statistics) = (generation.report, generation.session.statistics)
        let answers = zip(generation.sequences, seeded(settings)).map { $0.json(hasText: hasText, seed: $1.seed) }
        if json {
            var members = samples == 1 ? answers[0].members : [("samples", .array(answers.map(JSONValue.object)))]
            members += [
                ("prompt_tokens", JSONValue(generation.sequences[0].prompt.count)),
                ("timings", report.timings(statistics, kernels: kernels, threads: resources.threadCount)),
                ("forecast", forecast.json(report)),
            ]
            try Console.out(JSONValue.object(JSONObject(members)).text() + "\n")
        } else if samples > 1 {
            for (number, answer) in generation.sequences.enumerated() {
                let text = hasText ? answer.text : answer.ids.map(String.init).joined(separator: " ")
                try Console.out("--- sample \(number), seed \(settings.seed &+ UInt64(number))\n\(text)\n")
            }
        }
        if !quiet {
            Console.note(report.summary(statistics, kernels: kernels, verbose: verbose))
            if let line = forecast.summary(report) { Console.note(line) }
        }
        let signal = lamina_caught_signal()
        if signal != 0 { CommandLineTool.exitForSignal(signal) }
    }
}

/// Prints the answer as it comes: its text, or, without a tokenizer, its ids.
private struct TextStream: GenerationObserver {
    let isOn: Bool
    let hasText: Bool
    private var printedBytes = 0
    private var printedIDs = 0

    init(isOn: Bool, hasText: Bool) {
        self.isOn = isOn
        self.hasText = hasText
    }

    mutating func took(_ step: SequenceGeneration.Step) throws(LaminaError) {
        guard isOn else { return }
        if let text = step.text {
            try Console.out(text)
            printedBytes += text.utf8.count
        } else if !hasText {
            try Console.out(printedIDs == 0 ? "\(step.id)" : " \(step.id)")
            printedIDs += 1
        }
    }

    /// Prints what was held back and a line feed; nothing if there was no token.
    func finish(_ answer: SequenceGeneration) throws(LaminaError) {
        guard isOn, !answer.ids.isEmpty else { return }
        try Console.out(String(decoding: answer.text.utf8.dropFirst(printedBytes), as: UTF8.self) + "\n")
    }
}
