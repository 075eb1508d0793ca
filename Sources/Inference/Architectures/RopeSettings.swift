import TensorCore

/// Rotary position embedding as config.json asks for it.
public struct RopeSettings: Sendable, Equatable {
    /// How frequencies are stretched for contexts beyond the pretrained one.
    public enum Scaling: Sendable, Equatable {
        case none
        /// All frequencies divided by the factor.
        case linear(factor: Double)
        /// The base grows once the prompt is longer than the model's positions.
        case dynamic(factor: Double)
        case llama3(factor: Double, lowFrequency: Double, highFrequency: Double, originalPositions: Double)
        case yarn(YarnSettings)
        /// Frequencies divided by factors of their own, for prompts up to the original positions and beyond.
        case longrope(LongRopeSettings)
        /// Qwen 1: the base grows with every doubling of the prompt beyond the trained positions.
        case byOctave(trainedPositions: Double)
    }

    public var base: Double
    /// Dimensions of a head that rotate; even.
    public var dimension: Int
    public var scaling: Scaling
    /// `max_position_embeddings`.
    public var maximumPositions: Int

    /// Positions the model can be given: dynamic scaling stretches to any prompt, the other kinds have theirs counted in
    /// `maximumPositions` already.
    public var reachablePositions: Int {
        guard case .dynamic = scaling else { return maximumPositions }
        return ModelConfig.maximumContext
    }
}

/// YaRN's parameters with transformers' defaults filled in.
public struct YarnSettings: Sendable, Equatable {
    public var factor: Double
    public var betaFast: Double
    public var betaSlow: Double
    public var originalPositions: Double
    /// Whether the correction range is rounded to whole dimensions.
    public var truncates: Bool
    /// What cosine and sine are multiplied with.
    public var attentionFactor: Double
    /// `mscale_all_dim`, which latent attention also scales its scores by.
    public var scaleOfAllDimensions: Double?
}

extension RopeSettings {
    /// Reads `rope_theta` and `rope_scaling`, or transformers 5's `rope_parameters`, which holds both, in some families in
    /// a section for each kind of layer. `absentBase` is what the family means without a base. Throws `.malformed`.
    init(
        _ config: ConfigReader, dimension: Int, baseKey: String = "rope_theta", absentBase: Double = 10_000,
        maximumPositions: Int, section: String = "full_attention"
    ) throws(LaminaError) {
        var base = try config.positive(baseKey, absent: absentBase)
        var parameters = try config.object("rope_parameters")
        if let both = parameters {
            parameters = try both.object(section) ?? both
            base = try parameters?.positive("rope_theta", absent: base) ?? base
        } else {
            parameters = try config.object("rope_scaling")
        }
        self.init(
            base: base, dimension: dimension,
            scaling: try parameters.map { (reader) throws(LaminaError) in
                try Scaling(reader, config, dimension: dimension, maximumPositions: maximumPositions)
            } ?? .none,
            maximumPositions: maximumPositions)
    }

    /// Whether `rope_parameters` has a section for each kind of layer.
    static func hasSections(_ config: ConfigReader) throws(LaminaError) -> Bool {
        try config.object("rope_parameters")?.object("sliding_attention") != nil
    }
}

extension ConfigReader {
    /// How many values of a head of `dimension` rotate: all, or the share that `partial_rotary_factor`, or the key given,
    /// says. Throws `.malformed` unless they come in pairs.
    func rotatedDimension(
        of dimension: Int, share key: String = "partial_rotary_factor", absent: Double = 1
    ) throws(LaminaError) -> Int {
        // transformers 5 keeps it beside the base, under one name for all families; what stands there counts.
        let newKey = "partial_rotary_factor"
        let parameters = try object("rope_parameters")
        let (reader, key) = parameters?.value(newKey) == nil ? (self, key) : (parameters ?? self, newKey)
        let share = try reader.positive(key, absent: absent)
        guard share <= 1 else { throw reader.failure(key, expected: "a number above 0, at most 1") }
        let rotated = Int(Double(dimension) * share)
        guard rotated > 0, rotated % 2 == 0 else {
            throw LaminaError(
                .malformed, file, "the head dimension cannot be rotated in pairs", expected: "an even number",
                found: "\(rotated)")
        }
        return rotated
    }
}

extension RopeSettings.Scaling {
    init(
        _ reader: ConfigReader, _ config: ConfigReader, dimension: Int, maximumPositions: Int
    ) throws(LaminaError) {
        // Both keys may be present in files that were updated; the new one counts.
        let key = reader.value("rope_type") == nil ? "type" : "rope_type"
        switch try reader.string(key) {
        case nil where reader.object["factor"] == nil, "default": self = .none
        case "linear": self = .linear(factor: try reader.factor())
        case "dynamic": self = .dynamic(factor: try reader.factor())
        case "llama3":
            let low = try reader.positive("low_freq_factor")
            let high = try reader.positive("high_freq_factor")
            guard high > low else {
                throw reader.failure("high_freq_factor", expected: "a number above low_freq_factor (\(low))")
            }
            self = .llama3(
                factor: try reader.factor(), lowFrequency: low, highFrequency: high,
                originalPositions: try reader.positive("original_max_position_embeddings"))
        // Phi-3 began with other names for it.
        case "longrope", "su",
            "yarn" where reader.value("short_factor") != nil:
            self = .longrope(
                try LongRopeSettings(reader, config, dimension: dimension, maximumPositions: maximumPositions))
        case "yarn": self = .yarn(try YarnSettings(reader, maximumPositions: maximumPositions))
        default: throw reader.failure(key, expected: "one of: default, dynamic, linear, llama3, longrope, yarn")
        }
    }
}

extension ConfigReader {
    /// A rope `factor`, at least 1 as in transformers.
    func factor(_ key: String = "factor", absent: Double? = nil) throws(LaminaError) -> Double {
        let factor = try positive(key, absent: absent)
        guard factor >= 1 else { throw failure(key, expected: "a number of at least 1") }
        return factor
    }
}

extension YarnSettings {
    init(_ reader: ConfigReader, maximumPositions: Int) throws(LaminaError) {
        factor = try reader.factor()
        betaFast = try reader.positive("beta_fast", absent: 32)
        betaSlow = try reader.positive("beta_slow", absent: 1)
        guard betaFast >= betaSlow else {
            throw reader.failure("beta_fast", expected: "a number of at least beta_slow (\(betaSlow))")
        }
        originalPositions = try reader.positive("original_max_position_embeddings", absent: Double(maximumPositions))
        truncates = try reader.bool("truncate", absent: true)
        let scale = try reader.positiveUnlessZero("mscale")
        let scaleAll = try reader.positiveUnlessZero("mscale_all_dim")
        scaleOfAllDimensions = scaleAll
        if let stated = try reader.positiveIfPresent("attention_factor") {
            attentionFactor = stated
        } else if let scale, let scaleAll {
            attentionFactor = YarnSettings.attention(factor, scale) / YarnSettings.attention(factor, scaleAll)
        } else {
            attentionFactor = YarnSettings.attention(factor, 1)
        }
    }

    static func attention(_ factor: Double, _ scale: Double) -> Double {
        factor <= 1 ? 1 : 0.1 * scale * Rope.logarithm(factor) + 1
    }
}

/// LongRoPE's factors (arXiv 2402.13753), one per pair of values.
public struct LongRopeSettings: Sendable, Equatable {
    public var shortFactors: [Double]
    public var longFactors: [Double]
    /// Prompts of more positions take the long factors.
    public var originalPositions: Int
    /// What cosine and sine are multiplied with.
    public var attentionFactor: Double
}

extension LongRopeSettings {
    init(
        _ reader: ConfigReader, _ config: ConfigReader, dimension: Int, maximumPositions: Int
    ) throws(LaminaError) {
        shortFactors = try reader.factors("short_factor", count: dimension / 2)
        longFactors = try reader.factors("long_factor", count: dimension / 2)
        let key = "original_max_position_embeddings"
        originalPositions = try (config.value(key) == nil ? reader : config).positions(key)
        let stretch = try reader.positive("factor", absent: Double(maximumPositions) / Double(originalPositions))
        if let stated = try reader.positiveIfPresent("attention_factor") {
            attentionFactor = stated
        } else {
            attentionFactor =
                stretch <= 1
                ? 1 : (1 + Rope.logarithm(stretch) / Rope.logarithm(Double(originalPositions))).squareRoot()
        }
        guard attentionFactor.isFinite else {
            throw reader.failure(key, expected: "at least 2")
        }
    }
}

extension ConfigReader {
    /// A list of `count` finite numbers above 0.
    fileprivate func factors(_ key: String, count: Int) throws(LaminaError) -> [Double] {
        let expected = "a list of \(count) numbers above 0, one per pair of rotated values"
        guard let list = value(key)?.array, list.count == count else { throw failure(key, expected: expected) }
        var factors: [Double] = []
        for entry in list {
            guard let factor = entry.double, factor > 0 else { throw failure(key, expected: expected) }
            factors.append(factor)
        }
        return factors
    }
}
