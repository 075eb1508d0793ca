import TensorCore

extension Architecture {
    /// Qwen 1.5, 2 and 2.5 (arXiv 2407.10671): Llama's form with biases on query, key and value; the upper layers may
    /// have a sliding window.
    public static let qwen2 = Architecture(
        name: "qwen2", modelTypes: ["qwen2"], classNames: ["Qwen2ForCausalLM"]
    ) { (reader) throws(LaminaError) in
        let form = try LlamaForm(reader)
        let windows = try reader.qwenWindows(layers: form.config.layerCount)
        return form.model(
            attention: { form.attention(window: windows[$0], hasBias: true) }, feedForward: { _ in form.feedForward() })
    }

    /// Qwen 1.5 and 2 MoE: Qwen2 with experts, and one that every token goes through, behind a gate of its own.
    public static let qwen2MoE = Architecture(
        name: "qwen2_moe", modelTypes: ["qwen2_moe"], classNames: ["Qwen2MoeForCausalLM"]
    ) { (reader) throws(LaminaError) in
        let form = try LlamaForm(reader)
        let windows = try reader.qwenWindows(layers: form.config.layerCount)
        let hasBias = try reader.bool("qkv_bias", absent: true)
        var experts = try QwenExperts.feedForward(reader, form)
        let prefix = LlamaForm.feedForwardPrefix + "shared_expert."
        experts.shared = GatedFeedForward(
            hidden: form.hidden, intermediate: try reader.width("shared_expert_intermediate_size"),
            projections: .separate(gate: prefix + "gate_proj", up: prefix + "up_proj"), down: prefix + "down_proj")
        experts.sharedGate = LlamaForm.feedForwardPrefix + "shared_expert_gate"
        let layers = try QwenExperts.layers(reader, count: form.config.layerCount)
        return form.model(
            attention: { form.attention(window: windows[$0], hasBias: hasBias) },
            feedForward: { [experts] in form.feedForward(experts, in: layers[$0]) })
    }
}

/// What the MoE models of Qwen 2 and 3 have in common.
enum QwenExperts {
    static func feedForward(_ reader: ConfigReader, _ form: LlamaForm) throws(LaminaError) -> ExpertFeedForward {
        let prefix = LlamaForm.feedForwardPrefix
        return ExpertFeedForward(
            hidden: form.hidden, intermediate: try reader.width("moe_intermediate_size"), router: prefix + "gate",
            routing: try reader.routing(
                experts: reader.expertsKey, normalizes: reader.bool("norm_topk_prob", absent: false)),
            gate: prefix + "experts.#.gate_proj", up: prefix + "experts.#.up_proj",
            down: prefix + "experts.#.down_proj")
    }

    /// For each layer whether it has experts: every `decoder_sparse_step`-th, but for those named otherwise.
    static func layers(_ reader: ConfigReader, count: Int) throws(LaminaError) -> [Bool] {
        let step = try reader.integer("decoder_sparse_step", in: 1...ModelConfig.maximumLayers, absent: 1)
        var layers = (1...count).map { $0 % step == 0 }
        guard let exceptions = reader.value("mlp_only_layers") else { return layers }
        for entry in exceptions.array ?? [exceptions] {
            guard let layer = entry.integer, layer >= 0 else {
                throw reader.failure("mlp_only_layers", expected: "a list of layers")
            }
            // Layers that the model does not have are named by configs that were cut down.
            if layer < count { layers[layer] = false }
        }
        return layers
    }
}

extension ConfigReader {
    /// The window of each layer in Qwen 2 and 3: with `use_sliding_window`, layers from `max_window_layers` on, or those
    /// that `layer_types` names.
    func qwenWindows(layers count: Int) throws(LaminaError) -> [Int?] {
        let sliding = try slidingLayers(count: count)
        guard try bool("use_sliding_window", absent: false) else {
            guard sliding?.contains(true) != true else {
                throw failure("layer_types", expected: "\"full_attention\" only without use_sliding_window")
            }
            return [Int?](repeating: nil, count: count)
        }
        guard let window = try window() else { return [Int?](repeating: nil, count: count) }
        let first = try integer("max_window_layers", in: 0...ModelConfig.maximumLayers, absent: 28)
        return (0..<count).map { sliding?[$0] ?? ($0 >= first) ? window : nil }
    }

    /// What the number of experts is called: newer versions of transformers write Mixtral's name.
    fileprivate var expertsKey: String { value("num_experts") == nil ? "num_local_experts" : "num_experts" }

    /// The experts that the key `experts` counts, of which `num_experts_per_tok` are chosen by the softmax of the router's products.
    func routing(experts: String, normalizes: Bool) throws(LaminaError) -> Routing {
        let count = try integer(experts, in: 1...ModelConfig.maximumExperts)
        return Routing(
            experts: count, chosen: try integer("num_experts_per_tok", in: 1...count), scores: .softmax, groups: .all,
            normalizes: normalizes, scale: 1)
    }
}
