import ArgumentParser
import CKernels
import CommandLineSupport
import Inference
import LayerStore
import ModelCommandSupport
import TensorCore

/// Tells what running a model will cost.
struct PlanCommand: ToolCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan",
        abstract: "Tell what running a model will cost: bytes, memory, time.",
        discussion: """
            Measures the disk on the store's own files and the processors with the engine's kernels, about two seconds \
            in all, and forecasts from that and the engine's own division of memory what a token, a prompt and a batch \
            will take, and what more or less memory would change. Nothing is generated, and the weights are not loaded.

            With --json one object: "model", "memory_bytes" (the budget), "minimum_bytes", "planned_bytes", \
            "ring_bytes", "kv_cache_bytes", "columns" (tokens per pass of a prompt), "pass_bytes", "resident_bytes" (as \
            they are kept), "streamed_bytes_per_pass", "bytes_per_token", "resident_share", "keeps_decoded", \
            "weight_bytes" (of all weights), "experts" null or {"layers", "count" (of a layer), "per_token", "bytes", \
            "bytes_per_token", "dense_bytes" (of weights that every token uses), "cache_bytes", "cached_share"}, "disk" \
            {"bytes_per_second", "mode", "depth"} or null where no file is large enough to measure, "compute" \
            {"threads", "isa", "products": [{"dtype", "coding", "weight_bytes_per_second" (decoded, one column), \
            "flops": [{"columns", "per_second"}]}], "checked_bytes_per_second", "attention_seconds_per_score", \
            "barrier_seconds"}, "decode" {"seconds_per_token", "disk_seconds", "compute_seconds"}, "prefill" {"tokens", \
            "seconds", "disk_seconds", "compute_seconds"}, "batch" {"sequences", "tokens_per_second", \
            "seconds_per_step", "disk_seconds", "compute_seconds", "kv_cache_bytes"} or {"sequences", "too_small": true}, \
            "sweep" [{"memory_bytes", "resident_share", "bytes_per_token", "seconds_per_token"} or {"memory_bytes", \
            "too_small": true}]. Seconds are null where the disk was not measured.

            Examples:
              lamina-run plan llama.lamina
              lamina-run plan llama.lamina --memory 4GiB --prompt-tokens 2000 --max-tokens 500 --batch 50

            \(exitCodeHelp)
            """)

    @Argument(help: "The layer store.")
    var store: String

    @Option(
        help: ArgumentHelp(
            "Tokens of the prompt. Default: 512, less where the context has no room for them.", valueName: "n"))
    var promptTokens: Int?

    @Option(name: [.customShort("n"), .long], help: ArgumentHelp("Tokens to generate.", valueName: "n"))
    var maxTokens = 128

    @Option(help: ArgumentHelp("Prompts that advance together in the forecast for a batch.", valueName: "n"))
    var batch = 16

    @OptionGroup(title: "Resources")
    var resources: ResourceOptions

    @Flag(help: "Print one JSON object.")
    var json = false

    func validate() throws {
        guard maxTokens >= 1 else { throw ValidationError("--max-tokens must be at least 1, not \(maxTokens)") }
        guard (1...1_000_000).contains(batch) else {
            throw ValidationError("--batch must be between 1 and 1000000, not \(batch)")
        }
        if let promptTokens, promptTokens < 1 {
            throw ValidationError("--prompt-tokens must be at least 1, not \(promptTokens)")
        }
    }

    func execute() throws(LaminaError) {
        let kernels = try chosenKernels()
        let model = try StoredModel(try Store(path: store, in: RealFileSystem()))
        // A tokenizer takes memory, too, when the model runs; what counts is what was ever in use.
        _ = try ModelText(model.store)
        let report = try report(model, kernels: kernels)
        try Console.out(json ? report.json.text() + "\n" : report.text)
    }

    private func report(_ model: StoredModel, kernels: KernelTable) throws(LaminaError) -> PlanReport {
        let room = try resources.positions(maxTokens - 1 + (promptTokens ?? 512), model: model)
        let prompt = promptTokens ?? max(1, min(512, room - maxTokens + 1))
        let limit = try resources.limit(promptTokens: prompt, maxTokens: maxTokens, model: model)
        var session = try SessionPlan(
            model, workload: .generate(promptTokens: prompt, newTokens: limit), options: resources.session,
            kernels: kernels)
        let forecast = try session.thoroughForecast()
        let sequence = SequenceDemand(promptTokens: prompt, newTokens: limit)
        let (batch, problem) = batched(session, [SequenceDemand](repeating: sequence, count: batch))
        return PlanReport(
            store: store, sequence: sequence, session: session, forecast: forecast, batchCount: self.batch,
            batch: batch.map {
                ($0.keyValueBytes, Forecast($0, disk: forecast.disk, compute: forecast.compute))
            },
            batchNeeds: problem?.expected,
            sweep: session.sweep(disk: forecast.disk, compute: forecast.compute),
            instructionSet: String(cString: lamina_isa_name(kernels.pointee.isa)))
    }

    /// The same for many sequences, or why they do not fit.
    private func batched(
        _ session: SessionPlan, _ sequences: [SequenceDemand]
    ) -> (plan: SessionPlan?, problem: LaminaError?) {
        do throws(LaminaError) {
            return (try session.replanned(workload: .generate(sequences)), nil)
        } catch {
            return (nil, error)
        }
    }
}
