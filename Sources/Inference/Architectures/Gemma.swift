import TensorCore

extension Architecture {
    /// Gemma (arXiv 2403.08295): norms whose weights are offsets from 1, scaled embeddings, GELU.
    public static let gemma = Architecture(
        name: "gemma", modelTypes: ["gemma"], classNames: ["GemmaForCausalLM"]
    ) { (reader) throws(LaminaError) in
        let form = try Gemma.form(reader)
        let attention = form.attention(hasBias: try reader.bool("attention_bias", absent: false))
        return Gemma.model(form, attention: { _ in attention })
    }

    /// Gemma 2 (arXiv 2408.00118): norms before and behind, capped scores and logits, a window on every other layer.
    public static let gemma2 = Architecture(
        name: "gemma2", modelTypes: ["gemma2"], classNames: ["Gemma2ForCausalLM"]
    ) { (reader) throws(LaminaError) in
        let form = try Gemma.form(reader)
        let count = form.config.layerCount
        let sliding = try reader.slidingLayers(count: count) ?? (0..<count).map { $0 % 2 == 0 }
        let base = try Gemma.attention(reader, form)
        let window = try reader.window(absent: Gemma.absentWindow)
        var model = Gemma.model(form) { layer in
            var attention = base
            attention.form.window = sliding[layer] ? window : nil
            return attention
        }
        model.layerNorms = Gemma.fourNorms
        model.headForm.softcap = try reader.positiveFloatIfPresent("final_logit_softcapping")
        return model
    }

    /// Gemma 3's text model (arXiv 2503.19786): norms of each head instead of caps, most layers with a window and a rope
    /// of their own.
    public static let gemma3 = Architecture(
        name: "gemma3_text", modelTypes: ["gemma3_text"], classNames: ["Gemma3ForCausalLM"]
    ) { (reader) throws(LaminaError) in
        var form = try Gemma.form(reader, absentBase: 1_000_000)
        form.config.ropes.append(try Gemma.localRope(reader, form))
        let count = form.config.layerCount
        let pattern = try reader.integer("sliding_window_pattern", in: 1...ModelConfig.maximumLayers, absent: 6)
        let sliding = try reader.slidingLayers(count: count) ?? (1...count).map { $0 % pattern != 0 }
        var base = try Gemma.attention(reader, form)
        let prefix = LlamaForm.attentionPrefix
        base.headNorms = (.shared(query: prefix + "q_norm", key: prefix + "k_norm"), form.norm)
        let window = try reader.window(absent: Gemma.absentWindow)
        var model = Gemma.model(form) { [base] layer in
            var attention = base
            attention.form.window = sliding[layer] ? window : nil
            attention.rope = sliding[layer] ? 1 : 0
            return attention
        }
        model.layerNorms = Gemma.fourNorms
        model.headForm.softcap = try reader.positiveFloatIfPresent("final_logit_softcapping")
        return model
    }
}

private enum Gemma {
    /// The window of layers that have one, where the config does not say.
    static let absentWindow = 4096

    static let fourNorms = DecoderModel.LayerNorms(
        beforeAttention: "input_layernorm", afterAttention: "post_attention_layernorm",
        beforeFeedForward: "pre_feedforward_layernorm", afterFeedForward: "post_feedforward_layernorm")

    static func form(_ reader: ConfigReader, absentBase: Double = 10_000) throws(LaminaError) -> LlamaForm {
        // Older files say "gelu" and mean the approximation, which is what the models were trained with.
        let key = reader.value("hidden_activation") == nil ? "hidden_act" : "hidden_activation"
        var function = try reader.activation(key, absent: .geluTanh)
        if key == "hidden_act", function == .gelu { function = .geluTanh }
        guard function == .geluTanh else { throw reader.failure(key, expected: "\"gelu_pytorch_tanh\"") }
        var form = try LlamaForm(
            reader, tiesEmbeddings: true, absentHeadDimension: 256, absentBase: absentBase, function: function)
        form.norm.kind = .rootMeanSquare(offset: 1)
        return form
    }

    static func model(_ form: LlamaForm, attention: (Int) -> any LayerPart) -> DecoderModel {
        var model = form.model(attention: attention, feedForward: { _ in form.feedForward() })
        model.embeddingScale = Float(form.hidden).squareRoot()
        return model
    }

    /// Attention of Gemma 2 and 3, but for window and rope.
    static func attention(_ reader: ConfigReader, _ form: LlamaForm) throws(LaminaError) -> HeadAttention {
        let hasBias = try reader.bool("attention_bias", absent: false)
        var attention = form.attention(hasBias: hasBias, hasOutputBias: hasBias)
        let divisor = try reader.positiveFloat("query_pre_attn_scalar", absent: 256)
        attention.form.scale = 1 / divisor.squareRoot()
        attention.form.softcap = try reader.positiveFloatIfPresent("attn_logit_softcapping")
        return attention
    }

    /// The rope of layers with a window: never scaled, unless the config gives it a section of its own.
    static func localRope(_ reader: ConfigReader, _ form: LlamaForm) throws(LaminaError) -> RopeSettings {
        if try RopeSettings.hasSections(reader) {
            return try RopeSettings(
                reader, dimension: form.rope.dimension, maximumPositions: form.rope.maximumPositions,
                section: "sliding_attention")
        }
        return RopeSettings(
            base: try reader.positive("rope_local_base_freq", absent: 10_000), dimension: form.rope.dimension,
            scaling: .none, maximumPositions: form.rope.maximumPositions)
    }
}
