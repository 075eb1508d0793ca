import LayerStore
import TensorCore

extension Architecture {
    /// Llama 1 to 3.x and everything published in its form: RMS norms, rotary positions, grouped-query attention, gated
    /// feed-forward with SiLU, optional biases.
    public static let llama = Architecture(
        name: "llama", modelTypes: ["llama"], classNames: ["LlamaForCausalLM"],
        configure: { (object, file) throws(LaminaError) in try Llama.config(ConfigReader(object: object, file: file)) },
        tensors: Llama.tensors, unused: Llama.unused, ties: Llama.ties, network: Llama.network)
}

private enum Llama {
    static let embedding = "model.embed_tokens.weight"
    static let head = "lm_head.weight"
    static let finalNorm = "model.norm.weight"

    static func config(_ reader: ConfigReader) throws(LaminaError) -> ModelConfig {
        try reader.refuseQuantized()
        if let activation = try reader.string("hidden_act"), activation != "silu" {
            throw reader.failure("hidden_act", expected: "\"silu\"")
        }
        let widths = 1...ModelConfig.maximumWidth
        let hidden = try reader.integer("hidden_size", in: widths)
        let heads = try reader.integer("num_attention_heads", in: widths)
        let keyValueHeads = try reader.integer("num_key_value_heads", in: widths, absent: heads)
        guard heads % keyValueHeads == 0 else {
            throw reader.failure("num_key_value_heads", expected: "a divisor of num_attention_heads (\(heads))")
        }
        let headDimension: Int
        if reader.value("head_dim") != nil {
            headDimension = try reader.integer("head_dim", in: 1...65_536)
        } else {
            guard hidden % heads == 0 else {
                throw reader.failure(
                    "num_attention_heads", expected: "a divisor of hidden_size (\(hidden)) without head_dim")
            }
            headDimension = hidden / heads
        }
        let (queryWidth, overflow) = heads.multipliedReportingOverflow(by: headDimension)
        guard !overflow, queryWidth <= ModelConfig.maximumWidth else {
            throw reader.failure(
                "head_dim", expected: "at most \(ModelConfig.maximumWidth / heads) with \(heads) heads")
        }
        let vocabulary = try reader.integer("vocab_size", in: 1...ModelConfig.maximumVocabulary)
        let contexts = 1...ModelConfig.maximumContext
        let positions = try reader.integer(
            "max_position_embeddings", in: contexts,
            absent: try reader.integer("max_sequence_length", in: contexts, absent: 2048))
        let rope = try RopeSettings(reader, dimension: headDimension, maximumPositions: positions)
        return ModelConfig(
            hiddenSize: hidden, layerCount: try reader.integer("num_hidden_layers", in: 1...ModelConfig.maximumLayers),
            headCount: heads, keyValueHeadCount: keyValueHeads, headDimension: headDimension,
            intermediateSize: try reader.integer("intermediate_size", in: widths), vocabularySize: vocabulary,
            maximumPositions: rope.reachablePositions,
            normEpsilon: try reader.positiveFloat("rms_norm_eps", absent: 1e-6),
            rope: rope,
            tiesEmbeddings: try reader.bool("tie_word_embeddings", absent: false),
            hasAttentionBias: try reader.bool("attention_bias", absent: false),
            hasFeedForwardBias: try reader.bool("mlp_bias", absent: false),
            endTokens: try reader.tokens("eos_token_id", vocabulary: vocabulary))
    }

    private static func name(_ part: String) -> String { "model.layers.*." + part }

    static func tensors(_ config: ModelConfig) -> [TensorRule] {
        let tied = config.tiesEmbeddings
        let hidden = config.hiddenSize
        let attention = config.hasAttentionBias
        let feedForward = config.hasFeedForwardBias
        var rules = [
            TensorRule(
                name: embedding, shape: Shape([config.vocabularySize, hidden]), place: .embedding,
                layout: tied ? .panel64 : .rows, strongestCompression: .quantizable),
            .vector(name("input_layernorm.weight"), hidden),
        ]
        rules += projection("self_attn.q_proj", config.queryWidth, hidden, bias: attention)
        rules += projection("self_attn.k_proj", config.keyValueWidth, hidden, bias: attention)
        rules += projection("self_attn.v_proj", config.keyValueWidth, hidden, bias: attention)
        rules += projection("self_attn.o_proj", hidden, config.queryWidth, bias: attention)
        rules.append(.vector(name("post_attention_layernorm.weight"), hidden))
        rules += projection("mlp.gate_proj", config.intermediateSize, hidden, bias: feedForward)
        rules += projection("mlp.up_proj", config.intermediateSize, hidden, bias: feedForward)
        rules += projection("mlp.down_proj", hidden, config.intermediateSize, bias: feedForward)
        rules.append(.vector(finalNorm, hidden, in: .head))
        if !tied { rules.append(.matrix(head, config.vocabularySize, hidden, in: .head)) }
        return rules
    }

    private static func projection(_ part: String, _ rows: Int, _ columns: Int, bias: Bool) -> [TensorRule] {
        let matrix = TensorRule.matrix(name(part + ".weight"), rows, columns)
        return bias ? [matrix, .vector(name(part + ".bias"), rows)] : [matrix]
    }

    static func unused(_ config: ModelConfig) -> [UnusedRule] {
        let frequencies = UnusedRule(
            name: name("self_attn.rotary_emb.inv_freq"), reason: "rotary frequencies are computed from the config")
        guard config.tiesEmbeddings else { return [frequencies] }
        return [frequencies, UnusedRule(name: head, reason: "tie_word_embeddings makes the embedding matrix the head")]
    }

    static func ties(_ config: ModelConfig) -> [TieRule] {
        config.tiesEmbeddings ? [TieRule(name: head, target: embedding)] : []
    }

    static func network(_ config: ModelConfig) -> Network {
        let operations = layer(config)
        return Network(
            embedding: embedding, layer: { _ in operations },
            final: [.rmsNorm(.residual, weight: finalNorm, into: .normalized)], headInput: .normalized,
            head: config.tiesEmbeddings ? embedding : head)
    }

    private static func layer(_ config: ModelConfig) -> [Operation] {
        func project(_ input: Activation, _ part: String, bias: Bool, into output: Activation) -> Operation {
            .project(
                input, weight: name(part + ".weight"), bias: bias ? name(part + ".bias") : nil, into: output)
        }
        let attention = config.hasAttentionBias
        let feedForward = config.hasFeedForwardBias
        return [
            .rmsNorm(.residual, weight: name("input_layernorm.weight"), into: .normalized),
            project(.normalized, "self_attn.q_proj", bias: attention, into: .query),
            project(.normalized, "self_attn.k_proj", bias: attention, into: .key),
            project(.normalized, "self_attn.v_proj", bias: attention, into: .value),
            .rotateHalves(.query, heads: config.headCount),
            .rotateHalves(.key, heads: config.keyValueHeadCount),
            .attend(scale: 1 / Float(config.headDimension).squareRoot()),
            project(.mixed, "self_attn.o_proj", bias: attention, into: .projected),
            .add(.projected, into: .residual),
            .rmsNorm(.residual, weight: name("post_attention_layernorm.weight"), into: .normalized),
            project(.normalized, "mlp.gate_proj", bias: feedForward, into: .gate),
            project(.normalized, "mlp.up_proj", bias: feedForward, into: .up),
            .siluMultiply(gate: .gate, up: .up),
            project(.gate, "mlp.down_proj", bias: feedForward, into: .projected),
            .add(.projected, into: .residual),
        ]
    }
}
