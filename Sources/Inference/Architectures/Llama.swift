import TensorCore

extension Architecture {
    /// Llama 1 to 3.x and everything published in its form (Yi, SmolLM2, …): RMS norms, rotary positions, grouped-query
    /// attention, gated feed-forward with SiLU, optional biases.
    public static let llama = Architecture(
        name: "llama", modelTypes: ["llama"], classNames: ["LlamaForCausalLM"]
    ) { (reader) throws(LaminaError) in
        let form = try LlamaForm(reader)
        return form.model(
            hasAttentionBias: try reader.bool("attention_bias", absent: false),
            hasFeedForwardBias: try reader.bool("mlp_bias", absent: false))
    }
}
