import ArgumentParser
import CSystem
import CommandLineSupport
import Inference
import TensorCore

/// How the next token is chosen.
struct SamplingOptions: ParsableArguments {
    @Option(
        name: .customLong("temp"),
        help: ArgumentHelp("Temperature; 0 always takes the most probable token.", valueName: "t"))
    var temperature: Double?

    @Option(help: ArgumentHelp("Keep the k most probable tokens; 0 keeps all.", valueName: "k"))
    var topK: Int?

    @Option(help: ArgumentHelp("Keep the fewest tokens whose probabilities reach p.", valueName: "p"))
    var topP: Double?

    @Option(help: ArgumentHelp("Keep tokens at least p times as probable as the best.", valueName: "p"))
    var minP: Double?

    @Option(
        help: ArgumentHelp("Keep the most typical tokens whose probabilities reach p; 1 keeps all.", valueName: "p"))
    var typicalP: Double?

    @Option(help: ArgumentHelp("Divide the logits of recent tokens by x; 1 changes nothing.", valueName: "x"))
    var repeatPenalty: Double?

    @Option(help: ArgumentHelp("Subtract x from the logits of recent tokens.", valueName: "x"))
    var presencePenalty: Double?

    @Option(
        help: ArgumentHelp("Subtract x from the logits of recent tokens for every time they occurred.", valueName: "x"))
    var frequencyPenalty: Double?

    @Option(help: ArgumentHelp("Tokens that count as recent; -1 means all.", valueName: "n"))
    var repeatLastN: Int?

    @Option(
        help: ArgumentHelp(
            "Add x to the logit of a token; -inf rules it out. May be given several times.", valueName: "id=x"))
    var logitBias: [LogitBias] = []

    @Option(
        help: ArgumentHelp(
            "End before this string, which is not printed. May be given several times.", valueName: "text"))
    var stop: [String] = []

    @Option(help: ArgumentHelp("Start of the random numbers; the same seed gives the same text.", valueName: "n"))
    var seed: UInt64?

    func validate() throws {
        do throws(LaminaError) {
            try settings(defaults: nil).validate()
        } catch {
            throw ValidationError("\(error)")
        }
        if stop.contains(where: \.isEmpty) { throw ValidationError("--stop needs a string that is not empty") }
    }

    /// The options given, over the model's own defaults; without either, greedy. An option that only matters when
    /// sampling asks for sampling.
    func settings(defaults: SamplerSettings?) -> SamplerSettings {
        let wantsSampling =
            temperature != nil || topK != nil || topP != nil || minP != nil || typicalP != nil || seed != nil
        var settings = defaults ?? (wantsSampling ? SamplerSettings() : .greedy)
        if wantsSampling, settings.temperature == 0 { settings.temperature = SamplerSettings().temperature }
        if let temperature { settings.temperature = temperature }
        if let topK { settings.topK = topK }
        if let topP { settings.topP = topP }
        if let minP { settings.minP = minP }
        if let typicalP { settings.typicalP = typicalP }
        if let presencePenalty { settings.presencePenalty = presencePenalty }
        if let frequencyPenalty { settings.frequencyPenalty = frequencyPenalty }
        if !logitBias.isEmpty { settings.logitBias = logitBias }
        if let repeatPenalty { settings.repeatPenalty = repeatPenalty }
        if let repeatLastN { settings.repeatLastN = repeatLastN }
        settings.seed = seed ?? lamina_random_bits()
        return settings
    }

    /// Throws `.usage` for stop strings without a tokenizer, and for a bias of a token that the model does not have.
    func check(vocabulary: Int, hasText: Bool) throws(LaminaError) {
        guard stop.isEmpty || hasText else {
            throw LaminaError(.usage, "--stop", "the store has no tokenizer, so there is no text to stop")
        }
        for bias in logitBias where bias.id >= vocabulary {
            throw LaminaError(
                .usage, "--logit-bias", "no such token", expected: "ids below \(vocabulary)", found: "\(bias.id)")
        }
    }
}

extension LogitBias: ExpressibleByArgument {
    /// `ID=BIAS`.
    public init?(argument: String) {
        let parts = argument.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, let id = Int(parts[0]), id >= 0, let bias = Float(parts[1]), bias < .infinity else {
            return nil
        }
        self.init(id: id, bias: bias)
    }
}
