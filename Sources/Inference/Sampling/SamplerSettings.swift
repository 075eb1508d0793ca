import TensorCore

/// How the next token is chosen. The defaults are llama.cpp's.
public struct SamplerSettings: Sendable, Equatable {
    /// Divides the logits; 0 means greedy: always the most probable token.
    public var temperature: Double
    /// Keeps that many of the most probable tokens; 0 keeps all.
    public var topK: Int
    /// Keeps the fewest tokens whose probabilities add up to this; 1 keeps all.
    public var topP: Double
    /// Keeps tokens at least this fraction as probable as the most probable; 0 keeps all.
    public var minP: Double
    /// Keeps the most typical tokens whose probabilities add up to this; 1 keeps all.
    public var typicalP: Double
    /// Makes recent tokens less probable; 1 changes nothing.
    public var repeatPenalty: Double
    /// Subtracted from the logits of recent tokens; 0 changes nothing.
    public var presencePenalty: Double
    /// Subtracted from the logits of recent tokens for every time they occurred; 0 changes nothing.
    public var frequencyPenalty: Double
    /// How many tokens count as recent; 0 none, -1 all.
    public var repeatLastN: Int
    /// Added to the logits first.
    public var logitBias: [LogitBias] = []
    /// Starts the random numbers; the same seed gives the same tokens on every machine.
    public var seed: UInt64

    public init(
        temperature: Double = 0.8, topK: Int = 40, topP: Double = 0.95, minP: Double = 0.05, typicalP: Double = 1,
        repeatPenalty: Double = 1, presencePenalty: Double = 0, frequencyPenalty: Double = 0, repeatLastN: Int = 64,
        seed: UInt64 = 0
    ) {
        self.temperature = temperature
        self.topK = topK
        self.topP = topP
        self.minP = minP
        self.typicalP = typicalP
        self.repeatPenalty = repeatPenalty
        self.presencePenalty = presencePenalty
        self.frequencyPenalty = frequencyPenalty
        self.repeatLastN = repeatLastN
        self.seed = seed
    }

    /// Always the most probable token.
    public static let greedy = SamplerSettings(temperature: 0)

    /// Whether the most probable token is taken without drawing.
    var takesBest: Bool { temperature == 0 || topK == 1 }

    var hasPenalties: Bool { repeatPenalty != 1 || presencePenalty != 0 || frequencyPenalty != 0 }

    /// Throws `.usage`, naming the command-line option, for a value out of range.
    public func validate() throws(LaminaError) {
        try require("--temp", temperature.isFinite && temperature >= 0, "a number from 0 up", "\(temperature)")
        try require("--top-k", topK >= 0, "a count from 0 up", "\(topK)")
        try require("--top-p", topP > 0 && topP <= 1, "a number above 0, up to 1", "\(topP)")
        try require("--min-p", minP >= 0 && minP <= 1, "a number from 0 to 1", "\(minP)")
        try require("--typical-p", typicalP > 0 && typicalP <= 1, "a number above 0, up to 1", "\(typicalP)")
        try require(
            "--repeat-penalty", repeatPenalty.isFinite && repeatPenalty > 0, "a number above 0", "\(repeatPenalty)")
        try require("--presence-penalty", presencePenalty.isFinite, "a finite number", "\(presencePenalty)")
        try require("--frequency-penalty", frequencyPenalty.isFinite, "a finite number", "\(frequencyPenalty)")
        try require("--repeat-last-n", repeatLastN >= -1, "a count from 0 up, or -1 for all", "\(repeatLastN)")
        for bias in logitBias {
            try require(
                "--logit-bias", bias.id >= 0 && bias.bias < .infinity, "a token id and a number below infinity",
                "\(bias.id)=\(bias.bias)")
        }
    }

    private func require(
        _ option: String, _ isValid: Bool, _ expected: String, _ found: String
    ) throws(LaminaError) {
        guard isValid else {
            throw LaminaError(.usage, option, "value out of range", expected: expected, found: found)
        }
    }
}
