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

    @Option(help: ArgumentHelp("Make recent tokens less probable; 1 changes nothing.", valueName: "x"))
    var repeatPenalty: Double?

    @Option(help: ArgumentHelp("Tokens that count as recent; -1 means all.", valueName: "n"))
    var repeatLastN: Int?

    @Option(help: ArgumentHelp("Start of the random numbers; the same seed gives the same text.", valueName: "n"))
    var seed: UInt64?

    func validate() throws {
        do throws(LaminaError) {
            try settings(defaults: nil).validate()
        } catch {
            throw ValidationError("\(error)")
        }
    }

    /// The options given, over the model's own defaults; without either, greedy. An option that only matters when
    /// sampling asks for sampling.
    func settings(defaults: SamplerSettings?) -> SamplerSettings {
        let wantsSampling = temperature != nil || topK != nil || topP != nil || minP != nil || seed != nil
        var settings = defaults ?? (wantsSampling ? SamplerSettings() : .greedy)
        if let temperature { settings.temperature = temperature }
        if let topK { settings.topK = topK }
        if let topP { settings.topP = topP }
        if let minP { settings.minP = minP }
        if let repeatPenalty { settings.repeatPenalty = repeatPenalty }
        if let repeatLastN { settings.repeatLastN = repeatLastN }
        settings.seed = seed ?? lamina_random_bits()
        return settings
    }
}
