import TensorCore

extension Architecture {
    /// GPT-NeoX and Pythia (arXiv 2204.06745): layer norms and biases everywhere, heads of query, key and value one
    /// behind the other, a feed-forward network without a gate, side by side with attention.
    public static let gptNeoX = Architecture(
        name: "gpt_neox", modelTypes: ["gpt_neox"], classNames: ["GPTNeoXForCausalLM"]
    ) { (reader) throws(LaminaError) in
        try reader.refuseQuantized()
        let hidden = try reader.width("hidden_size")
        let heads = try reader.heads(hidden: hidden, keyValueHeads: nil, dimension: nil)
        let vocabulary = try reader.vocabulary()
        let rope = try RopeSettings(
            reader, dimension: reader.rotatedDimension(of: heads.dimension, share: "rotary_pct", absent: 0.25),
            baseKey: "rotary_emb_base", maximumPositions: reader.positions(absent: 2048))
        let layer = "gpt_neox.layers.*."
        let hasBias = try reader.bool("attention_bias", absent: true)
        let attention = HeadAttention(
            hidden: hidden, heads: heads, projections: .grouped(layer + "attention.query_key_value"), hasBias: hasBias,
            outputName: layer + "attention.dense", hasOutputBias: hasBias,
            form: AttentionForm(scale: 1 / Float(heads.dimension).squareRoot()))
        let intermediate = try reader.width("intermediate_size")
        let feedForward = PlainFeedForward(
            up: Projection(name: layer + "mlp.dense_h_to_4h", rows: intermediate, columns: hidden, hasBias: true),
            down: Projection(name: layer + "mlp.dense_4h_to_h", rows: hidden, columns: intermediate, hasBias: true),
            function: try reader.activation(absent: .gelu))
        let count = try reader.layerCount()
        var model = DecoderModel(
            config: ModelConfig(
                hiddenSize: hidden, layerCount: count, vocabularySize: vocabulary,
                maximumPositions: rope.reachablePositions, ropes: [rope],
                endTokens: try reader.tokens("eos_token_id", vocabulary: vocabulary)),
            embedding: "gpt_neox.embed_in.weight", layerPrefix: layer, finalNorm: "gpt_neox.final_layer_norm",
            head: "embed_out.weight",
            norm: Norm(kind: .layer, epsilon: try reader.positiveFloat("layer_norm_eps", absent: 1e-5)),
            hasNormBias: true, attention: (0..<count).map { _ in attention },
            feedForward: (0..<count).map { _ in feedForward },
            tiesEmbeddings: try reader.bool("tie_word_embeddings", absent: false))
        if try reader.bool("use_parallel_residual", absent: true) { model.order = .parallel }
        model.unused = [
            UnusedRule(name: layer + "attention.bias", reason: "the causal mask is computed"),
            UnusedRule(name: layer + "attention.masked_bias", reason: "the causal mask is computed"),
            UnusedRule(
                name: layer + "attention.rotary_emb.inv_freq", reason: "rotary frequencies are computed from the config"
            ),
        ]
        return model
    }
}
