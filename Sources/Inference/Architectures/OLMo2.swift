import TensorCore

extension Architecture {
    /// OLMo 2 (arXiv 2501.00656): norms behind attention and feed-forward instead of before them, and of all query and
    /// all key heads together.
    public static let olmo2 = Architecture(
        name: "olmo2", modelTypes: ["olmo2"], classNames: ["Olmo2ForCausalLM"]
    ) { (reader) throws(LaminaError) in
        let form = try LlamaForm(reader)
        let hasBias = try reader.bool("attention_bias", absent: false)
        var attention = form.attention(hasBias: hasBias, hasOutputBias: hasBias)
        attention.headNorms = (
            .whole(query: LlamaForm.attentionPrefix + "q_norm", key: LlamaForm.attentionPrefix + "k_norm"), form.norm
        )
        var model = form.model(
            attention: { [attention] _ in attention }, feedForward: { _ in form.feedForward() })
        model.layerNorms = DecoderModel.LayerNorms(
            afterAttention: "post_attention_layernorm", afterFeedForward: "post_feedforward_layernorm")
        return model
    }
}
