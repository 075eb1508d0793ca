import ArgumentParser
import CSystem
import CommandLineSupport
import Inference
import LayerStore
import ModelCommandSupport
import TensorCore
import Text

/// Talks.
struct ChatCommand: ToolCommand {
    static let configuration = CommandConfiguration(
        commandName: "chat",
        abstract: "Talk with a model at the terminal, or over a pipe.",
        discussion: """
            Lines are messages; the answers appear as they are generated. What the model has read and said stays in its \
            KV cache, so a further turn costs only its new tokens. At a terminal lines can be edited and called back. \
            Ctrl-C stops an answer (what was said stays said), at the prompt it drops the line; Ctrl-D leaves. Over a \
            pipe every line is a message, and every answer ends with a line feed; with --json it is an object with \
            "text", "finish_reason" (stop, length or interrupted), "prompt_tokens", "kept_tokens" (those that were in \
            the KV cache), "generated_tokens", "prompt_seconds" and "generation_seconds".

            Commands:
            \(ChatRequest.helpText)
            The context is 4096 tokens, or what the model was made for, unless --ctx says otherwise; models whose rope \
            depends on the length take it for --ctx tokens. Sampling is as for generate; answer i, from 0, has the \
            seed plus i.

            Examples:
              lamina-run chat smollm2.lamina
              lamina-run chat smollm2.lamina --system "You speak like a pirate." --temp 0.7 --history ~/.lamina-history
              printf 'Hello\\nWho are you?\\n' | lamina-run chat smollm2.lamina --json --temp 0

            \(exitCodeHelp)
            """)

    @Argument(help: "The layer store.")
    var store: String

    @Option(help: ArgumentHelp("The system message.", valueName: "text"))
    var system: String?

    @Option(help: ArgumentHelp("A JSON file with the tools that the model may call: a list.", valueName: "file"))
    var tools: String?

    @Option(help: ArgumentHelp("Go on with a conversation that /save has written.", valueName: "file"))
    var load: String?

    @Option(help: ArgumentHelp("Remember lines in this file from one session to the next.", valueName: "file"))
    var history: String?

    @OptionGroup(title: "Sampling")
    var sampling: SamplingOptions

    @OptionGroup(title: "Resources")
    var resources: ResourceOptions

    @Option(name: [.customShort("n"), .long], help: ArgumentHelp("Most tokens of an answer.", valueName: "n"))
    var maxTokens = 1024

    @Flag(help: "Print a JSON object for every answer.")
    var json = false

    @Flag(name: [.short, .long], help: "No notes on standard error.")
    var quiet = false

    /// Positions to make room for without `--ctx`.
    private static let usualContext = 4096

    func validate() throws {
        guard maxTokens >= 1 else { throw ValidationError("--max-tokens must be at least 1, not \(maxTokens)") }
    }

    func execute() throws(LaminaError) {
        lamina_catch_signals()
        let kernels = try chosenKernels()
        let model = try StoredModel(try Store(path: store, in: RealFileSystem()))
        guard let text = try ModelText(model.store) else {
            throw LaminaError(.usage, store, "the store has no tokenizer, so it takes no text")
        }
        try sampling.check(vocabulary: model.config.vocabularySize, hasText: true)
        let defaults = try GenerationDefaults(model.store, vocabulary: model.config.vocabularySize)
        let toolList = try tools.map { (file) throws(LaminaError) in
            JSONValue.array(try Conversation.objects(file, member: "tools"))
        }
        var conversation = Conversation(system: system)
        if let load { try conversation.load(load) }
        let encoder = PromptEncoder(model: model, text: text)
        // A template that is not to be had is said before the first question, not after it.
        _ = try encoder.ids(messages: [ChatMessage(.user, "?").json], tools: toolList)
        let positions = try resources.positions(ChatCommand.usualContext, model: model)
        var plan = try SessionPlan(
            model, workload: .chat(positions: positions), options: resources.session, kernels: kernels)
        let forecast = try ForecastReport(&plan, step: .token, measuresCompute: !quiet)
        if !quiet { Console.note(forecast.announcement) }
        let engine = ChatEngine(
            session: try InferenceSession(plan), encoder: encoder, tokenizer: text.tokenizer,
            ends: defaults.ends(model, text, isChat: true), settings: sampling.settings(defaults: defaults.sampling),
            stops: sampling.stop)
        var chat = ChatLoop(
            engine: engine, conversation: conversation, tools: toolList, limit: maxTokens, printsJSON: json,
            isQuiet: quiet, keyValueBytes: plan.keyValueBytes, reader: LineReader(prompt: "> ", history: history))
        try chat.run()
    }
}
