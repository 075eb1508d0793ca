import TensorCore

extension Architecture {
    /// DeepSeek-V2 (arXiv 2405.04434): latent attention, many small experts chosen by softmax, shared ones.
    public static let deepSeekV2 = Architecture(
        name: "deepseek_v2", modelTypes: ["deepseek_v2"], classNames: ["DeepseekV2ForCausalLM"]
    ) { (reader) throws(LaminaError) in
        try reader.require("norm_topk_prob", false)
        guard try reader.string("scoring_func") ?? "softmax" == "softmax" else {
            throw reader.failure("scoring_func", expected: "\"softmax\"")
        }
        let groups: Routing.Groups
        switch try reader.string("topk_method") ?? "greedy" {
        case "greedy": groups = .all
        case "group_limited_greedy":
            let (count, kept) = try DeepSeek.groups(reader)
            groups = .byMaximum(count: count, kept: kept)
        default: throw reader.failure("topk_method", expected: "\"greedy\" or \"group_limited_greedy\"")
        }
        return try DeepSeek.model(reader, scores: .softmax, groups: groups, hasScoreBias: false)
    }

    /// DeepSeek-V3 and R1 (arXiv 2412.19437): experts chosen by sigmoid with a bias that balances them, the best groups
    /// by their two best experts.
    public static let deepSeekV3 = Architecture(
        name: "deepseek_v3", modelTypes: ["deepseek_v3"], classNames: ["DeepseekV3ForCausalLM"]
    ) { (reader) throws(LaminaError) in
        guard try reader.string("scoring_func") ?? "sigmoid" == "sigmoid" else {
            throw reader.failure("scoring_func", expected: "\"sigmoid\"")
        }
        guard try reader.string("topk_method") ?? "noaux_tc" == "noaux_tc" else {
            throw reader.failure("topk_method", expected: "\"noaux_tc\"")
        }
        let (count, kept) = try DeepSeek.groups(reader)
        return try DeepSeek.model(
            reader, scores: .sigmoid, groups: .byTopTwo(count: count, kept: kept), hasScoreBias: true)
    }
}

private enum DeepSeek {
    /// Groups of experts, and how many of them experts are chosen from.
    static func groups(_ reader: ConfigReader) throws(LaminaError) -> (count: Int, kept: Int) {
        let experts = try reader.integer("n_routed_experts", in: 1...ModelConfig.maximumExperts)
        let count = try reader.integer("n_group", in: 1...experts)
        guard experts % count == 0, experts / count >= 2 || count == 1 else {
            throw reader.failure("n_group", expected: "a number of groups of equal size, of 2 experts at least")
        }
        let kept = try reader.integer("topk_group", in: 1...count)
        let chosen = try reader.integer("num_experts_per_tok", in: 1...experts)
        guard chosen <= kept * (experts / count) else {
            throw reader.failure(
                "num_experts_per_tok", expected: "at most the \(kept * (experts / count)) experts of topk_group groups")
        }
        return (count, kept)
    }

    static func model(
        _ reader: ConfigReader, scores: Routing.Scores, groups: Routing.Groups, hasScoreBias: Bool
    ) throws(LaminaError) -> DecoderModel {
        let rotated = try reader.integer("qk_rope_head_dim", in: 2...65_536)
        let form = try LlamaForm(reader, absentHeadDimension: rotated)
        let attention = try attention(reader, form, rotated: rotated)
        let experts = try experts(
            reader, form, scores: scores, groups: groups, hasScoreBias: hasScoreBias)
        let dense = try reader.integer("first_k_dense_replace", in: 0...ModelConfig.maximumLayers, absent: 0)
        let frequency = try reader.integer("moe_layer_freq", in: 1...ModelConfig.maximumLayers, absent: 1)
        var model = form.model(
            attention: { _ in attention },
            feedForward: { form.feedForward(experts, in: $0 >= dense && $0 % frequency == 0) })
        model.unused += try predictionLayers(reader, after: form.config.layerCount)
        return model
    }

    private static func attention(
        _ reader: ConfigReader, _ form: LlamaForm, rotated: Int
    ) throws(LaminaError) -> LatentAttention {
        let plain = try reader.integer("qk_nope_head_dim", in: 1...65_536)
        var scale = 1 / Float(plain + rotated).squareRoot()
        if case .yarn(let yarn) = form.rope.scaling, let share = yarn.scaleOfAllDimensions {
            let factor = Float(YarnSettings.attention(yarn.factor, share))
            scale *= factor * factor
        }
        return LatentAttention(
            prefix: LlamaForm.attentionPrefix, hidden: form.hidden, headCount: form.heads.count,
            queryRank: reader.value("q_lora_rank") == nil ? nil : try reader.width("q_lora_rank"),
            rank: try reader.width("kv_lora_rank"), plainDimension: plain, rotatedDimension: rotated,
            valueDimension: try reader.integer("v_head_dim", in: 1...65_536),
            hasBias: try reader.bool("attention_bias", absent: false),
            // The norms of latent vectors have the default, whatever the others have.
            norm: .rootMeanSquare(1e-6), form: AttentionForm(scale: scale))
    }

    private static func experts(
        _ reader: ConfigReader, _ form: LlamaForm, scores: Routing.Scores, groups: Routing.Groups, hasScoreBias: Bool
    ) throws(LaminaError) -> ExpertFeedForward {
        let prefix = LlamaForm.feedForwardPrefix
        var routing = try reader.routing(
            experts: "n_routed_experts", normalizes: reader.bool("norm_topk_prob", absent: hasScoreBias))
        routing.scores = scores
        routing.groups = groups
        routing.scale = try reader.positiveFloat("routed_scaling_factor", absent: 1)
        let intermediate = try reader.width("moe_intermediate_size")
        var experts = ExpertFeedForward(
            hidden: form.hidden, intermediate: intermediate, router: prefix + "gate",
            scoreBias: hasScoreBias ? prefix + "gate.e_score_correction_bias" : nil, routing: routing,
            gate: prefix + "experts.#.gate_proj", up: prefix + "experts.#.up_proj",
            down: prefix + "experts.#.down_proj")
        let count = try reader.integer("n_shared_experts", in: 0...ModelConfig.maximumExperts, absent: 0)
        if count > 0 {
            let shared = prefix + "shared_experts."
            experts.shared = GatedFeedForward(
                hidden: form.hidden, intermediate: count * intermediate,
                projections: .separate(gate: shared + "gate_proj", up: shared + "up_proj"), down: shared + "down_proj")
        }
        return experts
    }

    /// Layers behind the last that only help training.
    private static func predictionLayers(
        _ reader: ConfigReader, after count: Int
    ) throws(LaminaError) -> [UnusedRule] {
        let layers = try reader.integer("num_nextn_predict_layers", in: 0...64, absent: 0)
        return (count..<(count + layers)).map {
            UnusedRule(
                name: "model.layers.\($0).", reason: "multi-token prediction is not part of the forward pass")
        }
    }
}
