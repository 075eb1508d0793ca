import TensorCore

extension Architecture {
    /// Qwen 3 (arXiv 2505.09388): norms of each query and key head instead of Qwen 2's biases.
    public static let qwen3 = Architecture(
        name: "qwen3", modelTypes: ["qwen3"], classNames: ["Qwen3ForCausalLM"]
    ) { (reader) throws(LaminaError) in
        let form = try LlamaForm(reader, absentHeadDimension: 128)
        let attention = try Qwen3.attention(reader, form)
        return form.model(attention: { attention[$0] }, feedForward: { _ in form.feedForward() })
    }

    /// Qwen 3 MoE: without a shared expert.
    public static let qwen3MoE = Architecture(
        name: "qwen3_moe", modelTypes: ["qwen3_moe"], classNames: ["Qwen3MoeForCausalLM"]
    ) { (reader) throws(LaminaError) in
        let form = try LlamaForm(reader, absentHeadDimension: nil)
        let attention = try Qwen3.attention(reader, form)
        let experts = try QwenExperts.feedForward(reader, form)
        let layers = try QwenExperts.layers(reader, count: form.config.layerCount)
        return form.model(
            attention: { attention[$0] }, feedForward: { form.feedForward(experts, in: layers[$0]) })
    }
}

private enum Qwen3 {
    /// Attention of every layer.
    static func attention(_ reader: ConfigReader, _ form: LlamaForm) throws(LaminaError) -> [HeadAttention] {
        let hasBias = try reader.bool("attention_bias", absent: false)
        let prefix = LlamaForm.attentionPrefix
        return try reader.qwenWindows(layers: form.config.layerCount).map { window in
            var attention = form.attention(window: window, hasBias: hasBias, hasOutputBias: hasBias)
            attention.headNorms = (.shared(query: prefix + "q_norm", key: prefix + "k_norm"), form.norm)
            return attention
        }
    }
}
