import TensorCore

extension Architecture {
    /// ChatGLM2, ChatGLM3 and GLM-4 in the layout of their own code: one matrix for query, key and value, half of each
    /// head rotates in neighbouring pairs.
    public static let chatGLM = Architecture(
        name: "chatglm", modelTypes: ["chatglm"], classNames: ["ChatGLMModel", "ChatGLMForConditionalGeneration"]
    ) { (reader) throws(LaminaError) in
        try ChatGLM.check(reader)
        let hidden = try reader.width("hidden_size")
        let isGrouped = try reader.bool("multi_query_attention", absent: false)
        let heads = try reader.heads(
            hidden: hidden, keyValueHeads: isGrouped ? "multi_query_group_num" : nil, dimension: "kv_channels")
        let vocabulary = try reader.vocabulary(
            reader.value("padded_vocab_size") == nil ? "vocab_size" : "padded_vocab_size")
        let rope = RopeSettings(
            base: 10_000 * (try reader.positive("rope_ratio", absent: 1)),
            dimension: try reader.rotatedDimension(of: heads.dimension, absent: 0.5), scaling: .none,
            maximumPositions: try reader.positions("seq_length", absent: 2048))
        let layer = "transformer.encoder.layers.*."
        let hasBias = try reader.bool("add_bias_linear", absent: false)
        let attention = HeadAttention(
            hidden: hidden, heads: heads, projections: .concatenated(layer + "self_attention.query_key_value"),
            hasBias: try reader.bool("add_qkv_bias", absent: false) || hasBias,
            outputName: layer + "self_attention.dense", hasOutputBias: hasBias, ropeStyle: .pairs,
            form: AttentionForm(scale: 1 / Float(heads.dimension).squareRoot()))
        let feedForward = GatedFeedForward(
            hidden: hidden, intermediate: try reader.width("ffn_hidden_size"),
            projections: .fused(layer + "mlp.dense_h_to_4h"), down: layer + "mlp.dense_4h_to_h", hasBias: hasBias)
        let count = try reader.layerCount(reader.value("num_layers") == nil ? "num_hidden_layers" : "num_layers")
        return DecoderModel(
            config: ModelConfig(
                hiddenSize: hidden, layerCount: count, vocabularySize: vocabulary,
                maximumPositions: rope.maximumPositions, ropes: [rope],
                endTokens: try reader.tokens("eos_token_id", vocabulary: vocabulary)),
            embedding: "transformer.embedding.word_embeddings.weight", layerPrefix: layer,
            finalNorm: "transformer.encoder.final_layernorm", head: "transformer.output_layer.weight",
            norm: .rootMeanSquare(try reader.positiveFloat("layernorm_epsilon", absent: 1e-5)),
            attention: (0..<count).map { _ in attention }, feedForward: (0..<count).map { _ in feedForward },
            tiesEmbeddings: try reader.bool("tie_word_embeddings", absent: false),
            unused: [
                UnusedRule(
                    name: "transformer.rotary_pos_emb.inv_freq",
                    reason: "rotary frequencies are computed from the config")
            ])
    }
}

private enum ChatGLM {
    /// Refuses the first ChatGLM, whose positions are two-dimensional, and settings that no published model has.
    static func check(_ reader: ConfigReader) throws(LaminaError) {
        try reader.refuseQuantized()
        for key in ["position_encoding_2d", "inner_hidden_size"] where reader.value(key) != nil {
            throw reader.failure(key, expected: "none: ChatGLM-6B (the first) is not supported; ChatGLM2 and later are")
        }
        for (key, expected) in [
            ("rmsnorm", true), ("post_layer_norm", true), ("original_rope", true),
            ("apply_residual_connection_post_layernorm", false),
        ] {
            try reader.require(key, expected)
        }
        for key in ["quantization_bit", "pre_seq_len"] where reader.value(key) != nil {
            guard try reader.integer(key, in: 0...Int(Int32.max)) == 0 else {
                throw reader.failure(key, expected: "0 or null")
            }
        }
    }
}
