import ArgumentParser
import CSystem
import CommandLineSupport
import Inference
import LayerStore
import ModelCommandSupport
import TensorCore

/// Prints what the model says about a sequence of tokens, to compare it with another implementation.
struct LogitsCommand: ToolCommand {
    static let configuration = CommandConfiguration(
        commandName: "logits",
        abstract: "Print logits and log-probabilities for token ids.",
        discussion: """
            With --json one object: "logits", those of the last position for the whole vocabulary; "logprobs", \
            log p(id i+1 | ids up to i) for each id but the first; with --probes also "layers", mean, population \
            standard deviation and first values of the residual stream after every layer. Without --json the ten most \
            probable next tokens, one on a line: id and logit.

            Examples:
              lamina-run logits smollm2.lamina --ids 504,2849,282 --json
              lamina-run logits smollm2.lamina --ids 504,2849,282 --probes --json

            \(exitCodeHelp)
            """)

    @Argument(help: "The layer store.")
    var store: String

    @Option(help: ArgumentHelp("Token ids: 1,2,3.", valueName: "ids"))
    var ids: TokenList

    @Flag(help: "Also describe the residual stream after every layer; needs --json.")
    var probes = false

    @Flag(help: "Print one JSON object.")
    var json = false

    @OptionGroup(title: "Resources")
    var resources: ResourceOptions

    func validate() throws {
        if probes, !json { throw ValidationError("--probes needs --json") }
    }

    func execute() throws(LaminaError) {
        lamina_catch_signals()
        let kernels = try chosenKernels()
        let model = try StoredModel(try Store(path: store, in: RealFileSystem()))
        try checkTokens(ids.ids, model: model, option: "--ids")
        let positions = try resources.positions(ids.ids.count, model: model)
        guard ids.ids.count <= positions else {
            throw LaminaError(
                .usage, "--ctx", "more ids than the context has room for", expected: "at most \(positions)",
                found: "\(ids.ids.count)")
        }
        let session = try InferenceSession(
            model, workload: .score(tokens: ids.ids.count), options: resources.session, kernels: kernels)
        let scores = try session.score(ids.ids, probes: probes, shouldStop: { lamina_caught_signal() != 0 })
        guard let scores else { CommandLineTool.exitForSignal(lamina_caught_signal()) }
        let logits = try session.withLogits { Array($0) }
        try Console.out(json ? report(scores, logits).text() + "\n" : LogitsCommand.best(logits))
    }

    private func report(_ scores: InferenceSession.Scores, _ logits: [Float]) -> JSONValue {
        var members: [(key: String, value: JSONValue)] = [
            ("logits", .array(logits.map { JSONValue($0) })),
            ("logprobs", .array(scores.logProbabilities.map { JSONValue($0) })),
        ]
        if probes { members.append(("layers", .array(scores.probes.map(LogitsCommand.json)))) }
        return .object(JSONObject(members))
    }

    private static func json(_ probe: LayerProbe) -> JSONValue {
        [
            "mean": JSONValue(probe.mean), "std": JSONValue(probe.standardDeviation),
            "first8_position0": .array(probe.firstAtStart.map { JSONValue($0) }),
            "first8_last_position": .array(probe.firstAtEnd.map { JSONValue($0) }),
        ]
    }

    private static func best(_ logits: [Float]) -> String {
        let order = logits.indices.sorted { (logits[$1], $0) < (logits[$0], $1) }
        return order.prefix(10).map { "\($0)\t\(logits[$0])\n" }.joined()
    }
}
