import TensorCore

extension Architecture {
    /// GLM-4 as transformers publishes it: half of each head rotates, in neighbouring pairs; gate and up are one matrix.
    public static let glm = Architecture(
        name: "glm", modelTypes: ["glm"], classNames: ["GlmForCausalLM"]
    ) { (reader) throws(LaminaError) in
        try GLM.model(reader)
    }

    /// GLM-4-0414: the same with a norm behind attention and behind the feed-forward network.
    public static let glm4 = Architecture(
        name: "glm4", modelTypes: ["glm4"], classNames: ["Glm4ForCausalLM"]
    ) { (reader) throws(LaminaError) in
        var model = try GLM.model(reader)
        model.layerNorms.afterAttention = "post_self_attn_layernorm"
        model.layerNorms.afterFeedForward = "post_mlp_layernorm"
        return model
    }
}

private enum GLM {
    static func model(_ reader: ConfigReader) throws(LaminaError) -> DecoderModel {
        let form = try LlamaForm(reader, absentHeadDimension: 128, rotatedShare: 0.5)
        var attention = form.attention(hasBias: try reader.bool("attention_bias", absent: false))
        attention.ropeStyle = .pairs
        var feedForward = form.feedForward()
        feedForward.projections = .fused(LlamaForm.feedForwardPrefix + "gate_up_proj")
        return form.model(attention: { [attention] _ in attention }, feedForward: { [feedForward] _ in feedForward })
    }
}
