import ArgumentParser
import CSystem
import CommandLineSupport
import Inference
import LayerStore
import TensorCore
import Text

/// Continues a prompt.
struct GenerateCommand: ToolCommand {
    static let configuration = CommandConfiguration(
        commandName: "generate",
        abstract: "Continue a prompt (the default command).",
        discussion: """
            The text appears as it is generated; figures about speed, reading and memory follow on standard error. \
            Generation ends before an end-of-text token of the model, after --max-tokens, or with the context.

            Without sampling options the model's generation_config.json decides; where it does not ask for sampling, \
            the most probable token is taken each time (--temp 0). Top-k, top-p and min-p default to 40, 0.95 and \
            0.05 once sampling is asked for here only. Text is continued as it is; --chat puts it into the model's \
            chat template.

            Examples:
              lamina-run smollm2.lamina --prompt "The capital of France is" --max-tokens 20
              lamina-run smollm2.lamina --chat -p "Write a haiku." --temp 0.7 --seed 1
              echo "Once upon a time" | lamina-run smollm2.lamina - --memory 256MiB --json
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
        guard !(quiet && verbose) else { throw ValidationError("--quiet and --verbose contradict each other") }
    }

    func execute() throws(LaminaError) {
        lamina_catch_signals()
        let started = lamina_monotonic_seconds()
        let kernels = try chosenKernels()
        let model = try StoredModel(try Store(path: store, in: RealFileSystem()))
        let text = try ModelText(model.store)
        let tokens = try prompt.tokens(model: model, text: text)
        let defaults = try GenerationDefaults(model.store, vocabulary: model.config.vocabularySize)
        let settings = sampling.settings(defaults: defaults.sampling)
        // The last token generated is not fed back, so it needs no position.
        let wanted = tokens.count.addingReportingOverflow(maxTokens - 1)
        let positions = try resources.positions(wanted.overflow ? Int.max : wanted.partialValue, model: model)
        guard tokens.count <= positions else {
            throw LaminaError(
                .usage, "--ctx", "the prompt is longer than the context", expected: "at most \(positions) tokens",
                found: "\(tokens.count)")
        }
        let limit = min(maxTokens, positions - tokens.count + 1)
        let session = try InferenceSession(
            model, workload: .generate(promptTokens: tokens.count, newTokens: limit),
            options: resources.session, kernels: kernels)
        var ends = Set(defaults.endTokens ?? model.config.endTokens)
        ends.formUnion(text?.endTokens(isChat: prompt.chat) ?? [])
        var generation = Generation(
            session: session, sampler: try Sampler(settings: settings), ends: ignoreEos ? [] : ends, limit: limit,
            tokenizer: text?.tokenizer, streams: !json)
        generation.report.loadSeconds = lamina_monotonic_seconds() - started
        let outcome = generation.run(tokens)
        let report = generation.report
        // What was said so far stays said, whatever ended it.
        if !json { try Console.out(generation.endOfText) }
        _ = try outcome.get()
        if json {
            try Console.out(
                report.json(
                    text: text == nil ? nil : generation.text, session: session, kernels: kernels,
                    threads: resources.threadCount, seed: settings.seed
                ).text() + "\n")
        }
        if !quiet { Console.note(report.summary(session: session, kernels: kernels, verbose: verbose)) }
        let signal = lamina_caught_signal()
        if signal != 0 { CommandLineTool.exitForSignal(signal) }
    }
}
