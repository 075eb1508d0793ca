import TensorCore

extension Architecture {
    /// StableLM: layer norms with biases, a quarter of each head rotates; the 12B model norms its heads and computes
    /// attention and feed-forward side by side.
    public static let stableLM = Architecture(
        name: "stablelm", modelTypes: ["stablelm", "stablelm_epoch"],
        classNames: ["StableLmForCausalLM", "StableLMEpochForCausalLM"]
    ) { (reader) throws(LaminaError) in
        var form = try LlamaForm(reader, rotatedShare: 0.25)
        form.norm = Norm(kind: .layer, epsilon: try reader.positiveFloat("layer_norm_eps", absent: 1e-5))
        var attention = form.attention(hasBias: try reader.bool("use_qkv_bias", absent: false))
        if try reader.bool("qk_layernorm", absent: false) {
            let prefix = LlamaForm.attentionPrefix
            attention.headNorms = (
                .perHead(query: prefix + "q_layernorm.norms.#", key: prefix + "k_layernorm.norms.#"), form.norm
            )
        }
        var model = form.model(
            attention: { [attention] _ in attention }, feedForward: { [form] _ in form.feedForward() })
        model.hasNormBias = true
        if try reader.bool("use_parallel_residual", absent: false) {
            model.order = .parallel
            model.layerNorms.beforeFeedForward = nil
        }
        return model
    }
}
