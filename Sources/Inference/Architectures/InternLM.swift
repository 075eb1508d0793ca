import TensorCore

extension Architecture {
    /// InternLM: Llama's form with biases in attention, and a rope that may grow with the prompt.
    public static let internLM = Architecture(
        name: "internlm", modelTypes: ["internlm"], classNames: ["InternLMForCausalLM"]
    ) { (reader) throws(LaminaError) in
        var form = try LlamaForm(reader)
        if let rotary = try reader.object("rotary") {
            form.rope.base = try rotary.positive("base", absent: 10_000)
            switch try rotary.string("type") {
            case nil, "origin": form.rope.scaling = .none
            case "dynamic": form.rope.scaling = .dynamic(factor: try rotary.factor("scaling_factor", absent: 1))
            default: throw rotary.failure("type", expected: "\"origin\" or \"dynamic\"")
            }
            form.config.ropes = [form.rope]
            form.config.maximumPositions = form.rope.reachablePositions
        }
        return form.model(
            attention: { [form, hasBias = try reader.bool("bias", absent: true)] _ in
                form.attention(hasBias: hasBias, hasOutputBias: hasBias)
            }, feedForward: { [form] _ in form.feedForward() })
    }

    /// InternLM 2 and 2.5 (arXiv 2403.17297): one matrix for query, key and value, a group of heads behind the other.
    public static let internLM2 = Architecture(
        name: "internlm2", modelTypes: ["internlm2"], classNames: ["InternLM2ForCausalLM"]
    ) { (reader) throws(LaminaError) in
        let form = try LlamaForm(reader)
        let layer = "model.layers.*."
        let hasBias = try reader.bool("bias", absent: false)
        let attention = HeadAttention(
            hidden: form.hidden, heads: form.heads, projections: .grouped(layer + "attention.wqkv"), hasBias: hasBias,
            outputName: layer + "attention.wo", hasOutputBias: hasBias, form: form.attention().form)
        let feedForward = GatedFeedForward(
            hidden: form.hidden, intermediate: form.intermediate,
            projections: .separate(gate: layer + "feed_forward.w1", up: layer + "feed_forward.w3"),
            down: layer + "feed_forward.w2")
        var model = form.model(attention: { _ in attention }, feedForward: { _ in feedForward })
        model.embedding = "model.tok_embeddings.weight"
        model.head = "output.weight"
        model.layerNorms = DecoderModel.LayerNorms(beforeAttention: "attention_norm", beforeFeedForward: "ffn_norm")
        return model
    }
}
