import ArgumentParser
import CSystem
import CommandLineSupport
import Inference
import LayerStore
import ModelCommandSupport
import TensorCore

/// Measures how well a model predicts a text.
struct PerplexityCommand: ToolCommand {
    static let configuration = CommandConfiguration(
        commandName: "perplexity",
        abstract: "Measure how well a model predicts a text.",
        discussion: """
            The text is divided into windows of --ctx tokens that lie next to each other; in each, the predictions of \
            the second half count. The result is the exponential of the mean negative log-probability of the tokens \
            predicted, with its standard error, as llama-perplexity defines them (docs/perplexity.md). With --stride a \
            window begins every so many tokens and its last so many predictions count. Windows share each pass over the \
            weights, as many as memory allows.

            With --json one object: "perplexity" and "perplexity_error", "loss" (in nats) and "loss_error", "text", \
            "text_tokens", "context", "stride", "windows", "positions" that count, "compute" (null where there is no \
            choice), and "timings".

            Examples:
              lamina-run perplexity smollm2.lamina
              lamina-run perplexity llama.lamina --text wiki.test.raw --ctx 2048 --memory 4GiB
              lamina-run perplexity llama.lamina --windows 4 --json

            \(exitCodeHelp)
            """)

    @Argument(help: "The layer store.")
    var store: String

    @OptionGroup(title: "Text")
    var text: EvaluationTextOptions

    @Option(help: ArgumentHelp("Begin a window every n tokens, and count its last n predictions.", valueName: "n"))
    var stride: Int?

    @OptionGroup(title: "Resources")
    var machine: MachineOptions

    @Flag(help: "Print one JSON object.")
    var json = false

    @Flag(name: [.short, .long], help: "No progress and no figures on standard error.")
    var quiet = false

    func validate() throws {
        if let stride, !(1..<text.context).contains(stride) {
            throw ValidationError("--stride must be between 1 and \(text.context - 1), not \(stride)")
        }
    }

    func execute() throws(LaminaError) {
        lamina_catch_signals()
        let kernels = try chosenKernels()
        let model = try StoredModel(try Store(path: store, in: RealFileSystem()))
        let text = try text.load()
        let windows = try self.text.windows(of: text, for: model, stride: stride)
        let run = try EvaluationRun(
            model, windows.sequences, machine, kernels: kernels, label: "perplexity",
            measuresCompute: json || !quiet, isQuiet: quiet)
        let perplexity = Perplexity(logProbabilities: run.scores.map(\.logProbability))
        if json {
            var report = report(perplexity, windows, text)
            let compute = model.takesCodes ? machine.session.compute : nil
            report.members += [
                ("compute", compute.map { .string($0.rawValue) } ?? .null),
                ("timings", run.timings(machine, kernels: kernels)),
            ]
            try Console.out(JSONValue.object(report).text() + "\n")
        } else {
            try Console.out(summary(perplexity, windows, text))
        }
        if !quiet { Console.note(run.summary) }
    }

    private func summary(_ perplexity: Perplexity, _ windows: TextWindows, _ text: EvaluationText) -> String {
        let (value, loss) = (perplexity.value, perplexity.loss)
        let counted = windows.countedPositions
        return """
            perplexity  \(formatted(value.mean, decimals: 4)) ± \(formatted(value.error, decimals: 4))
            loss        \(formatted(loss.mean, decimals: 5)) ± \(formatted(loss.error, decimals: 5)) nats per token
            text        \(escapedForDisplay(text.name)), \(text.byteCount) bytes, \(windows.tokenCount) tokens
            windows     \(windows.sequences.count) of \(windows.context) tokens, \
            \(windows.countedPerWindow) predictions count in each, \(counted) in all

            """
    }

    private func report(_ perplexity: Perplexity, _ windows: TextWindows, _ text: EvaluationText) -> JSONObject {
        JSONObject([
            ("perplexity", JSONValue(perplexity.value.mean)), ("perplexity_error", JSONValue(perplexity.value.error)),
            ("loss", JSONValue(perplexity.loss.mean)), ("loss_error", JSONValue(perplexity.loss.error)),
            ("text", text.json), ("text_tokens", JSONValue(windows.tokenCount)),
            ("context", JSONValue(windows.context)), ("stride", windows.stride.map { JSONValue($0) } ?? .null),
            ("windows", JSONValue(windows.sequences.count)), ("positions", JSONValue(windows.countedPositions)),
        ])
    }
}
