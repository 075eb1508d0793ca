import ArgumentParser
import CSystem
import CommandLineSupport
import Inference
import LayerStore
import ModelCommandSupport
import TensorCore

/// Says how probable given continuations are.
struct ScoreCommand: ToolCommand {
    static let configuration = CommandConfiguration(
        commandName: "score",
        abstract: "Say how probable given continuations of prompts are.",
        discussion: """
            INPUT holds one JSON object per line: {"prompt": "text", "continuation": "text"}; instead of either, token \
            ids in "prompt_ids" and "continuation_ids"; optional is "id", a string or number that is echoed. An empty \
            prompt stands for the token that texts begin with. Texts become tokens as in lm-evaluation-harness: both \
            together, spaces at the prompt's end counted to the continuation, and without the tokens that a text begins \
            with unless --bos is given.

            OUTPUT gets one object per line in the order of the input: "id" if there was one, "index" (from 0), \
            "logprob", the sum over the continuation's tokens of log p given all before, "is_greedy", whether each of \
            them is the most probable one, "tokens" and "prompt_tokens", their numbers; with --per-token also "ids" and \
            "logprobs". All requests share each pass over the weights, as many as memory allows; each result is that of \
            the request alone, to the bit.

            With --json a report: "requests", "tokens" of all continuations, and "timings".

            Examples:
              lamina-run score llama.lamina --input requests.jsonl --output scores.jsonl
              echo '{"prompt": "1 + 1 =", "continuation": " 2"}' | lamina-run score llama.lamina --input - --output -

            \(exitCodeHelp)
            """)

    @Argument(help: "The layer store.")
    var store: String

    @Option(name: [.short, .long], help: ArgumentHelp("Requests; - is standard input.", valueName: "file"))
    var input: String

    @Option(name: [.short, .long], help: ArgumentHelp("Results; - is standard output.", valueName: "file"))
    var output: String

    @Flag(help: "Replace OUTPUT if it exists.")
    var force = false

    @Flag(help: "Put the tokens that a text begins with before each prompt.")
    var bos = false

    @Flag(help: "Also give each token's id and log-probability.")
    var perToken = false

    @OptionGroup(title: "Resources")
    var resources: ResourceOptions

    @Flag(help: "Print a report as one JSON object on standard output.")
    var json = false

    @Flag(name: [.short, .long], help: "No progress and no figures on standard error.")
    var quiet = false

    func validate() throws {
        guard !(json && output == "-") else {
            throw ValidationError("--json needs standard output for itself: give --output a file")
        }
    }

    func execute() throws(LaminaError) {
        lamina_catch_signals()
        let kernels = try chosenKernels()
        let model = try StoredModel(try Store(path: store, in: RealFileSystem()))
        let input = ScoreInput(model: model, text: try ModelText(model.store), addsBeginning: bos)
        let requests = try input.requests(of: self.input)
        for request in requests {
            let positions = try resources.positions(request.sequence.fed, model: model)
            guard request.sequence.fed <= positions else {
                throw LaminaError(
                    .malformed, request.place, "longer than the context", expected: "at most \(positions + 1) tokens",
                    found: "\(request.sequence.tokens.count)")
            }
        }
        let results = try OutputFile(output, replaces: force)
        let run = try EvaluationRun(
            model, requests.map(\.sequence), resources.machine, kernels: kernels, label: "score",
            measuresCompute: json || !quiet, isQuiet: quiet)
        try results.publish(lines(requests, run.scores))
        if json {
            let report: JSONValue = [
                "requests": JSONValue(requests.count),
                "tokens": JSONValue(requests.reduce(0) { $0 + $1.continuation.count }),
                "timings": run.timings(resources.machine, kernels: kernels),
            ]
            try Console.out(report.text() + "\n")
        }
        if !quiet { Console.note(run.summary) }
    }

    private func lines(_ requests: [ScoreRequest], _ scores: [PositionScore]) -> String {
        var lines = ""
        var left = scores[...]
        for (index, request) in requests.enumerated() {
            let own = left.prefix(request.continuation.count)
            left = left.dropFirst(own.count)
            let isGreedy = zip(own, request.continuation).allSatisfy { $0.topToken == $1 }
            var members: [(key: String, value: JSONValue)] = request.id.map { [("id", $0)] } ?? []
            members += [
                ("index", JSONValue(index)), ("logprob", JSONValue(own.reduce(0) { $0 + $1.logProbability })),
                ("is_greedy", .bool(isGreedy)), ("tokens", JSONValue(own.count)),
                ("prompt_tokens", JSONValue(request.prompt.count)),
            ]
            if perToken {
                members += [
                    ("ids", .array(request.continuation.map { JSONValue($0) })),
                    ("logprobs", .array(own.map { JSONValue($0.logProbability) })),
                ]
            }
            lines += JSONValue.object(JSONObject(members)).text() + "\n"
        }
        return lines
    }
}
