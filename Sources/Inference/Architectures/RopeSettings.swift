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
    }

    public var base: Double
    /// Dimensions of a head that rotate; even.
    public var dimension: Int
    public var scaling: Scaling
    /// `max_position_embeddings`.
    public var maximumPositions: Int

    /// Positions the model can be given: dynamic scaling stretches beyond `maximumPositions` by its factor, the other
    /// kinds have theirs counted in already.
    public var reachablePositions: Int {
        guard case .dynamic(let factor) = scaling else { return maximumPositions }
        return Int(min(Double(maximumPositions) * factor, Double(ModelConfig.maximumContext)))
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
}

extension RopeSettings {
    /// Reads `rope_theta` and `rope_scaling`, or transformers 5's `rope_parameters`, which holds both.
    init(_ config: ConfigReader, dimension: Int, maximumPositions: Int) throws(LaminaError) {
        guard dimension > 0, dimension % 2 == 0 else {
            throw LaminaError(
                .malformed, config.file, "the head dimension cannot be rotated in pairs", expected: "an even number",
                found: "\(dimension)")
        }
        var base = try config.positive("rope_theta", absent: 10_000)
        let parameters: ConfigReader?
        if let both = try config.object("rope_parameters") {
            base = try both.positive("rope_theta", absent: base)
            parameters = both
        } else {
            parameters = try config.object("rope_scaling")
        }
        self.init(
            base: base, dimension: dimension,
            scaling: try parameters.map { (reader) throws(LaminaError) in
                try Scaling(reader, maximumPositions: maximumPositions)
            } ?? .none,
            maximumPositions: maximumPositions)
    }
}

extension RopeSettings.Scaling {
    init(_ reader: ConfigReader, maximumPositions: Int) throws(LaminaError) {
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
        case "yarn": self = .yarn(try YarnSettings(reader, maximumPositions: maximumPositions))
        default: throw reader.failure(key, expected: "one of: default, dynamic, linear, llama3, yarn")
        }
    }
}

extension ConfigReader {
    /// A rope `factor`, at least 1 as in transformers.
    fileprivate func factor() throws(LaminaError) -> Double {
        let factor = try positive("factor")
        guard factor >= 1 else { throw failure("factor", expected: "a number of at least 1") }
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
        let scale = try reader.positiveIfPresent("mscale")
        let scaleAll = try reader.positiveIfPresent("mscale_all_dim")
        if let stated = try reader.positiveIfPresent("attention_factor") {
            attentionFactor = stated
        } else if let scale, let scaleAll {
            attentionFactor = YarnSettings.attention(factor, scale) / YarnSettings.attention(factor, scaleAll)
        } else {
            attentionFactor = YarnSettings.attention(factor, 1)
        }
    }

    private static func attention(_ factor: Double, _ scale: Double) -> Double {
        factor <= 1 ? 1 : 0.1 * scale * Rope.logarithm(factor) + 1
    }
}
