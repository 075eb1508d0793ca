import TensorCore

extension Architecture {
    /// SmolLM3: Llama's form without positions in every fourth layer; where windows are used, these layers have them.
    public static let smolLM3 = Architecture(
        name: "smollm3", modelTypes: ["smollm3"], classNames: ["SmolLM3ForCausalLM"]
    ) { (reader) throws(LaminaError) in
        let form = try LlamaForm(reader, tiesEmbeddings: true, absentBase: 2_000_000)
        let rotates = try SmolLM3.rotatingLayers(reader, count: form.config.layerCount)
        let sliding = try reader.slidingLayers(count: form.config.layerCount) ?? rotates.map { !$0 }
        let window = try reader.bool("use_sliding_window", absent: false) ? reader.window() : nil
        let hasBias = try reader.bool("attention_bias", absent: false)
        let feedForward = form.feedForward(hasBias: try reader.bool("mlp_bias", absent: false))
        return form.model(
            attention: { layer in
                var attention = form.attention(
                    window: sliding[layer] ? window : nil, hasBias: hasBias, hasOutputBias: hasBias)
                if !rotates[layer] { attention.rope = nil }
                return attention
            }, feedForward: { _ in feedForward })
    }
}

private enum SmolLM3 {
    /// For each layer whether its heads rotate: 1 and 0 in `no_rope_layers`, in spite of its name, or all but every
    /// `no_rope_layer_interval`-th.
    static func rotatingLayers(_ reader: ConfigReader, count: Int) throws(LaminaError) -> [Bool] {
        guard let listed = reader.value("no_rope_layers") else {
            let interval = try reader.integer("no_rope_layer_interval", in: 1...ModelConfig.maximumLayers, absent: 4)
            return (1...count).map { $0 % interval != 0 }
        }
        let flags = listed.array?.compactMap(\.integer).filter { $0 == 0 || $0 == 1 } ?? []
        guard flags.count >= count, flags.count == listed.array?.count else {
            throw reader.failure("no_rope_layers", expected: "a list of at least \(count) zeros and ones")
        }
        return flags.prefix(count).map { $0 == 1 }
    }
}
