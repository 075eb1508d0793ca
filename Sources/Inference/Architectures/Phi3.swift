import TensorCore

extension Architecture {
    /// Phi-3 and Phi-4 (arXiv 2404.14219): Llama's form with fused matrices; long contexts with frequencies of their own.
    public static let phi3 = Architecture(
        name: "phi3", modelTypes: ["phi3"], classNames: ["Phi3ForCausalLM"]
    ) { (reader) throws(LaminaError) in
        let form = try LlamaForm(reader)
        var attention = form.attention(window: try reader.window())
        attention.projections = .concatenated(LlamaForm.attentionPrefix + "qkv_proj")
        var feedForward = form.feedForward()
        feedForward.projections = .fused(LlamaForm.feedForwardPrefix + "gate_up_proj")
        return form.model(attention: { [attention] _ in attention }, feedForward: { [feedForward] _ in feedForward })
    }
}
