import TensorCore

/// What Llama's relatives have in common with it: dimensions, names, norms, rope, a gated feed-forward network.
struct LlamaForm: Sendable {
    var hidden: Int
    var intermediate: Int
    var heads: HeadDimensions
    var rope: RopeSettings
    var norm: Norm
    var config: ModelConfig
    var tiesEmbeddings: Bool
    var function: ActivationFunction
    var float8Blocks: Float8Blocks?

    static let attentionPrefix = "model.layers.*.self_attn."
    static let feedForwardPrefix = "model.layers.*.mlp."
    static let frequencies = UnusedRule(
        name: attentionPrefix + "rotary_emb.inv_freq", reason: "rotary frequencies are computed from the config")

    /// Reads what transformers calls it; what is absent means what the class's defaults are. Throws `.malformed`.
    init(
        _ reader: ConfigReader, positions: Int? = nil, tiesEmbeddings: Bool = false, absentHeadDimension: Int? = nil,
        absentBase: Double = 10_000, rotatedShare: Double = 1, function: ActivationFunction? = nil
    ) throws(LaminaError) {
        float8Blocks = try reader.float8Blocks()
        hidden = try reader.width("hidden_size")
        intermediate = try reader.width("intermediate_size")
        heads = try reader.heads(hidden: hidden, absentDimension: absentHeadDimension)
        let vocabulary = try reader.vocabulary()
        let positions =
            if let positions { positions } else {
                try reader.positions(absent: reader.positions("max_sequence_length", absent: 2048))
            }
        rope = try RopeSettings(
            reader, dimension: reader.rotatedDimension(of: heads.dimension, absent: rotatedShare),
            absentBase: absentBase, maximumPositions: positions)
        norm = .rootMeanSquare(try reader.positiveFloat("rms_norm_eps", absent: 1e-6))
        config = ModelConfig(
            hiddenSize: hidden, layerCount: try reader.layerCount(), vocabularySize: vocabulary,
            maximumPositions: rope.reachablePositions, ropes: [rope],
            endTokens: try reader.tokens("eos_token_id", vocabulary: vocabulary))
        self.tiesEmbeddings = try reader.bool("tie_word_embeddings", absent: tiesEmbeddings)
        if let function {
            self.function = function
        } else {
            self.function = try reader.activation(absent: .silu)
            guard self.function == .silu else { throw reader.failure("hidden_act", expected: "\"silu\"") }
        }
    }

    /// Attention with separate matrices in every layer.
    func attention(window: Int? = nil, hasBias: Bool = false, hasOutputBias: Bool = false) -> HeadAttention {
        let prefix = LlamaForm.attentionPrefix
        return HeadAttention(
            hidden: hidden, heads: heads,
            projections: .separate(query: prefix + "q_proj", key: prefix + "k_proj", value: prefix + "v_proj"),
            hasBias: hasBias, outputName: prefix + "o_proj", hasOutputBias: hasOutputBias,
            form: AttentionForm(scale: 1 / Float(heads.dimension).squareRoot(), window: window))
    }

    /// The gated feed-forward network with separate matrices.
    func feedForward(hasBias: Bool = false) -> GatedFeedForward {
        let prefix = LlamaForm.feedForwardPrefix
        return GatedFeedForward(
            hidden: hidden, intermediate: intermediate,
            projections: .separate(gate: prefix + "gate_proj", up: prefix + "up_proj"), down: prefix + "down_proj",
            hasBias: hasBias, function: function)
    }

    /// Experts in the layers that have some, and a plain feed-forward network in the others.
    func feedForward(_ experts: ExpertFeedForward, in hasExperts: Bool) -> any LayerPart {
        if hasExperts { experts } else { feedForward() }
    }

    /// All layers alike.
    func model(
        window: Int? = nil, hasAttentionBias: Bool = false, hasFeedForwardBias: Bool = false
    ) -> DecoderModel {
        model(
            attention: { _ in
                attention(window: window, hasBias: hasAttentionBias, hasOutputBias: hasAttentionBias)
            },
            feedForward: { _ in feedForward(hasBias: hasFeedForwardBias) })
    }

    /// Layers given one by one.
    func model(
        attention: (Int) -> any LayerPart, feedForward: (Int) -> any LayerPart
    ) -> DecoderModel {
        let layers = 0..<config.layerCount
        return DecoderModel(
            config: config, norm: norm, attention: layers.map(attention), feedForward: layers.map(feedForward),
            tiesEmbeddings: tiesEmbeddings, unused: [LlamaForm.frequencies], float8Blocks: float8Blocks)
    }
}
