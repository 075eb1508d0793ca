import TensorCore

extension Architecture {
    /// Qwen 1 (arXiv 2309.16609): one matrix with a bias for query, key and value; beyond the trained length the rope's
    /// base grows with the prompt and queries grow with their position.
    public static let qwen = Architecture(
        name: "qwen", modelTypes: ["qwen"], classNames: ["QWenLMHeadModel"]
    ) { (reader) throws(LaminaError) in
        try reader.refuseQuantized()
        try reader.require("no_bias", true)
        try reader.require("scale_attn_weights", true)
        let hidden = try reader.width("hidden_size")
        let heads = try reader.heads(hidden: hidden, keyValueHeads: nil, dimension: "kv_channels")
        guard heads.queryWidth == hidden else {
            throw reader.failure("kv_channels", expected: "hidden_size / num_attention_heads")
        }
        let vocabulary = try reader.vocabulary()
        let trained = try reader.positions("seq_length")
        let grows = try reader.bool("use_dynamic_ntk", absent: true)
        let rope = RopeSettings(
            base: try reader.positive("rotary_emb_base", absent: 10_000),
            dimension: try reader.rotatedDimension(of: heads.dimension, share: "rotary_pct", absent: 1),
            scaling: grows ? .byOctave(trainedPositions: Double(trained)) : .none,
            maximumPositions: try reader.positions(absent: trained))
        let layer = "transformer.h.*."
        let intermediate = try reader.integer("intermediate_size", in: 2...ModelConfig.maximumWidth) / 2
        let attention = HeadAttention(
            hidden: hidden, heads: heads, projections: .concatenated(layer + "attn.c_attn"), hasBias: true,
            outputName: layer + "attn.c_proj",
            scalesBeyond: try reader.bool("use_logn_attn", absent: true) ? trained : nil,
            form: AttentionForm(scale: 1 / Float(heads.dimension).squareRoot()))
        let feedForward = GatedFeedForward(
            hidden: hidden, intermediate: intermediate,
            projections: .separate(gate: layer + "mlp.w2", up: layer + "mlp.w1"), down: layer + "mlp.c_proj")
        let count = try reader.layerCount()
        return DecoderModel(
            config: ModelConfig(
                hiddenSize: hidden, layerCount: count, vocabularySize: vocabulary,
                maximumPositions: rope.maximumPositions, ropes: [rope],
                endTokens: try reader.tokens("eos_token_id", vocabulary: vocabulary)),
            embedding: "transformer.wte.weight", layerPrefix: layer, finalNorm: "transformer.ln_f",
            norm: .rootMeanSquare(try reader.positiveFloat("layer_norm_epsilon", absent: 1e-6)),
            layerNorms: DecoderModel.LayerNorms(beforeAttention: "ln_1", beforeFeedForward: "ln_2"),
            attention: (0..<count).map { _ in attention }, feedForward: (0..<count).map { _ in feedForward },
            tiesEmbeddings: false)
    }
}
