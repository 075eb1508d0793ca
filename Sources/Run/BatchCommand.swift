import ArgumentParser
import CSystem
import CommandLineSupport
import Inference
import LayerStore
import ModelCommandSupport
import TensorCore

/// Continues many prompts together.
struct BatchCommand: ToolCommand {
    static let configuration = CommandConfiguration(
        commandName: "batch",
        abstract: "Continue many prompts together, all sharing each pass over the weights.",
        discussion: """
            A pass over streamed weights takes the same time for one prompt as for many, until the processors are busy; \
            so many prompts together are answered many times as fast as one after the other. Every answer is that of \
            generate for this prompt alone, to the bit.

            INPUT holds one JSON object per line: {"prompt": "text to continue"}, {"ids": [1, 2, 3]} or \
            {"messages": [{"role": "user", "content": "…"}]} for the model's chat template; optional are "id", a string \
            or number that is echoed, "max_tokens" and "seed". All lines are checked before anything runs.

            OUTPUT gets one object per line in the order of the input: "id" if there was one, "index" (from 0), "text" \
            (null without a tokenizer), "ids", "prompt_tokens", "finish_reason" (stop, length or interrupted). It \
            appears when all is done; after a signal too, with what there is by then.

            The keys and values of all prompts must fit the memory. With --json a report: "prompts", \
            "finish_reasons", "seed", "timings" and "forecast" as generate has them, the forecast for a step in which \
            every prompt takes one token.

            Examples:
              lamina-run batch llama.lamina --input prompts.jsonl --output answers.jsonl --max-tokens 200
              lamina-run batch llama.lamina --input - --output - --memory 4GiB --temp 0.7 --seed 1 <prompts.jsonl

            \(exitCodeHelp)
            """)

    @Argument(help: "The layer store.")
    var store: String

    @Option(name: [.short, .long], help: ArgumentHelp("Prompts; - is standard input.", valueName: "file"))
    var input: String

    @Option(name: [.short, .long], help: ArgumentHelp("Answers; - is standard output.", valueName: "file"))
    var output: String

    @Flag(help: "Replace OUTPUT if it exists.")
    var force = false

    @OptionGroup(title: "Sampling")
    var sampling: SamplingOptions

    @OptionGroup(title: "Resources")
    var resources: ResourceOptions

    @Option(
        name: [.customShort("n"), .long],
        help: ArgumentHelp("Most tokens to generate for a prompt that does not say.", valueName: "n"))
    var maxTokens = 256

    @Flag(help: "Go on after an end-of-text token.")
    var ignoreEos = false

    @Flag(help: "Print a report as one JSON object on standard output.")
    var json = false

    @Flag(name: [.short, .long], help: "No progress and no figures on standard error.")
    var quiet = false

    @Flag(name: [.short, .long], help: "More figures on standard error.")
    var verbose = false

    func validate() throws {
        guard maxTokens >= 1 else { throw ValidationError("--max-tokens must be at least 1, not \(maxTokens)") }
        guard !(quiet && verbose) else { throw ValidationError("--quiet and --verbose contradict each other") }
        guard !(json && output == "-") else {
            throw ValidationError("--json needs standard output for itself: give --output a file")
        }
    }

    func execute() throws(LaminaError) {
        lamina_catch_signals()
        let started = lamina_monotonic_seconds()
        let kernels = try chosenKernels()
        let model = try StoredModel(try Store(path: store, in: RealFileSystem()))
        let text = try ModelText(model.store)
        let prompts = try BatchInput(encoder: PromptEncoder(model: model, text: text)).prompts(of: input)
        let answers = try OutputFile(output, replaces: force)
        try sampling.check(vocabulary: model.config.vocabularySize, hasText: text != nil)
        let defaults = try GenerationDefaults(model.store, vocabulary: model.config.vocabularySize)
        let settings = sampling.settings(defaults: defaults.sampling)
        let sequences = try sequences(prompts, model, text, defaults, settings)
        var plan = try BatchPlanner(model: model, options: resources.session, kernels: kernels).plan(sequences)
        let forecast = try ForecastReport(&plan, step: .step, measuresCompute: json || !quiet)
        if !quiet { Console.note("batch: \(prompts.count) prompts\n" + forecast.announcement) }
        let passes = (sequences.reduce(0) { $0 + $1.prompt.count } + plan.columns - 1) / plan.columns
        var generation = Generation(
            session: try InferenceSession(plan), sequences: sequences,
            observer: BatchProgress(promptLayers: passes * model.config.layerCount, isQuiet: quiet))
        generation.report.loadSeconds = lamina_monotonic_seconds() - started
        let outcome = generation.run()
        generation.observer.clear()
        _ = try outcome.get()
        try answers.publish(lines(prompts, generation.sequences, hasText: text != nil))
        let (report, statistics) = (generation.report, generation.session.statistics)
        if json {
            let result: JSONValue = [
                "prompts": JSONValue(prompts.count), "finish_reasons": finishReasons(generation.sequences),
                "seed": JSONValue(settings.seed),
                "timings": report.timings(statistics, kernels: kernels, threads: resources.threadCount),
                "forecast": forecast.json(report),
            ]
            try Console.out(result.text() + "\n")
        }
        if !quiet {
            Console.note(report.summary(statistics, kernels: kernels, verbose: verbose))
            if let line = forecast.summary(report) { Console.note(line) }
            if settings.temperature > 0 { Console.note("seed: \(settings.seed)\n") }
        }
        let signal = lamina_caught_signal()
        if signal != 0 { CommandLineTool.exitForSignal(signal) }
    }

    private func sequences(
        _ prompts: [BatchPrompt], _ model: StoredModel, _ text: ModelText?, _ defaults: GenerationDefaults,
        _ settings: SamplerSettings
    ) throws(LaminaError) -> [SequenceGeneration] {
        let ends = ignoreEos ? [] : defaults.ends(model, text, isChat: false)
        let chatEnds = ignoreEos ? [] : defaults.ends(model, text, isChat: true)
        // A context that is wrong for any prompt is not the first line's fault.
        _ = try resources.positions(1, model: model)
        var sequences: [SequenceGeneration] = []
        for prompt in prompts {
            var settings = settings
            if let seed = prompt.seed { settings.seed = seed }
            do throws(LaminaError) {
                let limit = try resources.limit(
                    promptTokens: prompt.tokens.count, maxTokens: prompt.maxTokens ?? maxTokens, model: model)
                sequences.append(
                    SequenceGeneration(
                        prompt: prompt.tokens, limit: limit, ends: prompt.isChat ? chatEnds : ends,
                        sampler: try Sampler(settings: settings), tokenizer: text?.tokenizer, stops: sampling.stop))
            } catch {
                throw error.subject == "--ctx" ? error.about(prompt.place) : error
            }
        }
        return sequences
    }

    private func lines(_ prompts: [BatchPrompt], _ sequences: [SequenceGeneration], hasText: Bool) -> String {
        var lines = ""
        for (index, (prompt, sequence)) in zip(prompts, sequences).enumerated() {
            var members: [(key: String, value: JSONValue)] = prompt.id.map { [("id", $0)] } ?? []
            members += [
                ("index", JSONValue(index)), ("text", JSONValue(hasText ? sequence.text : nil)),
                ("ids", .array(sequence.ids.map { JSONValue($0) })),
                ("prompt_tokens", JSONValue(sequence.prompt.count)),
                ("finish_reason", .string(sequence.finishReason.rawValue)),
            ]
            lines += JSONValue.object(JSONObject(members)).text() + "\n"
        }
        return lines
    }

    private func finishReasons(_ sequences: [SequenceGeneration]) -> JSONValue {
        let counts = SequenceGeneration.FinishReason.allCases.map { reason in
            (key: reason.rawValue, value: JSONValue(sequences.count { $0.finishReason == reason }))
        }
        return .object(JSONObject(counts))
    }
}

/// Plans a session for a batch, and tells what would fit where it does not.
struct BatchPlanner {
    let model: StoredModel
    let options: SessionOptions
    let kernels: KernelTable

    private func workload(_ sequences: some Collection<SequenceGeneration>) -> Workload {
        .generate(sequences.map { SequenceDemand(promptTokens: $0.prompt.count, newTokens: $0.limit) })
    }

    /// Throws `.limit` with the memory that all prompts need and the number of them that fits.
    func plan(_ sequences: [SequenceGeneration]) throws(LaminaError) -> SessionPlan {
        let first = try SessionPlan(
            model, workload: workload(sequences.prefix(1)), options: options, kernels: kernels)
        do throws(LaminaError) {
            return try first.replanned(workload: workload(sequences))
        } catch {
            guard error.kind == .limit else { throw error }
            // The first fits; find the most that do.
            var (fits, tooMany) = (1, sequences.count)
            while tooMany - fits > 1 {
                let middle = (fits + tooMany) / 2
                let plan: SessionPlan? = try? first.replanned(workload: workload(sequences.prefix(middle)))
                if plan == nil { tooMany = middle } else { fits = middle }
            }
            var error = error
            error.problem = "the keys and values of \(sequences.count) prompts do not fit the memory"
            error.found = "\(first.budgetBytes >> 20) MiB, enough for the first \(fits)"
            error.hint = "raise --memory, lower --max-tokens, or divide the prompts among several runs"
            throw error
        }
    }
}
