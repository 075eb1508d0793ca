import TensorCore
import Testing

@testable import Inference

/// A family's config.json in its smallest form, and what is wrong with it in some cases.
struct FamilyConfig: Sendable, CustomTestStringConvertible {
    var name: String
    /// JSON members without braces.
    var good: String
    var bad: [BadConfig] = []

    var testDescription: String { name }

    private static let llamaLike = """
        "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2, \
        "intermediate_size": 112, "vocab_size": 320, "rms_norm_eps": 1e-5, "max_position_embeddings": 2048
        """

    static let all: [FamilyConfig] = [
        FamilyConfig(name: "llama", good: llamaLike),
        FamilyConfig(
            name: "mistral", good: llamaLike + ", \"sliding_window\": 8",
            bad: [BadConfig(key: "sliding_window", value: "0"), BadConfig(key: "sliding_window", value: "\"8\"")]),
        FamilyConfig(
            name: "mixtral", good: llamaLike + ", \"num_local_experts\": 4, \"num_experts_per_tok\": 2",
            bad: [
                BadConfig(key: "num_local_experts", value: nil), BadConfig(key: "num_local_experts", value: "5000"),
                BadConfig(key: "num_experts_per_tok", value: "5", mentions: "1...4"),
                BadConfig(key: "num_experts_per_tok", value: "0"),
            ]),
        FamilyConfig(
            name: "qwen2", good: llamaLike,
            bad: [
                BadConfig(key: "use_sliding_window", value: "1"),
                BadConfig(key: "layer_types", value: "[\"full_attention\"]", mentions: "2"),
                BadConfig(key: "layer_types", value: "[\"full_attention\", \"linear_attention\"]"),
                BadConfig(key: "layer_types", value: "[\"sliding_attention\", \"full_attention\"]"),
            ]),
        FamilyConfig(
            name: "qwen2_moe",
            good: llamaLike + """
                , "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 40, \
                "shared_expert_intermediate_size": 72
                """,
            bad: [
                BadConfig(key: "mlp_only_layers", value: "[-1]", mentions: "layers"),
                BadConfig(key: "mlp_only_layers", value: "[\"0\"]"),
                BadConfig(key: "decoder_sparse_step", value: "0"),
                BadConfig(key: "moe_intermediate_size", value: nil),
                BadConfig(key: "shared_expert_intermediate_size", value: "-1"),
            ]),
        FamilyConfig(
            name: "qwen3", good: llamaLike,
            bad: [
                BadConfig(key: "head_dim", value: "0"),
                BadConfig(key: "attention_bias", value: "\"no\""),
            ]),
        FamilyConfig(
            name: "qwen3_moe",
            good: llamaLike + ", \"num_experts\": 8, \"num_experts_per_tok\": 2, \"moe_intermediate_size\": 40",
            bad: [BadConfig(key: "norm_topk_prob", value: "2")]),
        FamilyConfig(
            name: "qwen",
            good: """
                "hidden_size": 64, "num_attention_heads": 4, "kv_channels": 16, "num_hidden_layers": 2, \
                "intermediate_size": 224, "vocab_size": 320, "seq_length": 2048
                """,
            bad: [
                BadConfig(key: "no_bias", value: "false"), BadConfig(key: "kv_channels", value: "8"),
                BadConfig(key: "seq_length", value: nil), BadConfig(key: "rotary_pct", value: "1.5"),
                BadConfig(key: "rotary_emb_base", value: "0"),
            ]),
        FamilyConfig(
            name: "chatglm",
            good: """
                "hidden_size": 64, "num_attention_heads": 4, "kv_channels": 16, "num_layers": 2, \
                "ffn_hidden_size": 112, "padded_vocab_size": 320, "multi_query_attention": true, \
                "multi_query_group_num": 2, "add_qkv_bias": true
                """,
            bad: [
                BadConfig(key: "position_encoding_2d", value: "true", mentions: "ChatGLM-6B"),
                BadConfig(key: "rmsnorm", value: "false"), BadConfig(key: "quantization_bit", value: "4"),
                BadConfig(key: "multi_query_group_num", value: "3"), BadConfig(key: "num_layers", value: "-1"),
                BadConfig(key: "rope_ratio", value: "0"), BadConfig(key: "pre_seq_len", value: "128"),
            ]),
        FamilyConfig(name: "glm", good: llamaLike, bad: [BadConfig(key: "partial_rotary_factor", value: "0")]),
        FamilyConfig(name: "glm4", good: llamaLike, bad: [BadConfig(key: "partial_rotary_factor", value: "2")]),
        FamilyConfig(
            name: "baichuan", good: llamaLike, bad: [BadConfig(key: "vocab_size", value: "0")]),
        FamilyConfig(
            name: "internlm", good: llamaLike,
            bad: [
                BadConfig(key: "bias", value: "3"),
                BadConfig(key: "rotary", value: "{\"type\": \"yarn\"}", mentions: "rotary.type"),
                BadConfig(key: "rotary", value: "{\"base\": -1}", mentions: "rotary.base"),
            ]),
        FamilyConfig(
            name: "internlm2", good: llamaLike, bad: [BadConfig(key: "num_key_value_heads", value: "3")]),
        FamilyConfig(
            name: "phi3", good: llamaLike,
            bad: [
                BadConfig(
                    key: "rope_scaling", value: "{\"type\": \"longrope\", \"short_factor\": [1]}",
                    mentions: "short_factor"),
                BadConfig(
                    key: "rope_scaling",
                    value: """
                        {"type": "longrope", "short_factor": [1, 1, 1, 1, 1, 1, 1, 1], \
                        "long_factor": [1, 1, 1, 1, 1, 1, 1, 0]}
                        """, mentions: "long_factor"),
            ]),
        FamilyConfig(
            name: "gemma", good: llamaLike, bad: [BadConfig(key: "hidden_activation", value: "\"silu\"")]),
        FamilyConfig(
            name: "gemma2", good: llamaLike,
            bad: [
                BadConfig(key: "attn_logit_softcapping", value: "0"),
                BadConfig(key: "final_logit_softcapping", value: "-30"),
                BadConfig(key: "query_pre_attn_scalar", value: "0"),
            ]),
        FamilyConfig(
            name: "gemma3_text", good: llamaLike,
            bad: [
                BadConfig(key: "sliding_window_pattern", value: "0"),
                BadConfig(key: "rope_local_base_freq", value: "\"x\""),
            ]),
        FamilyConfig(
            name: "deepseek_v2", good: llamaLike + deepSeek,
            bad: [
                BadConfig(key: "topk_method", value: "\"noaux_tc\""),
                BadConfig(key: "norm_topk_prob", value: "true"), BadConfig(key: "kv_lora_rank", value: nil),
                BadConfig(key: "qk_rope_head_dim", value: "7", mentions: "even"),
                BadConfig(key: "v_head_dim", value: "0"),
            ]),
        FamilyConfig(
            name: "deepseek_v3", good: llamaLike + deepSeek,
            bad: [
                BadConfig(key: "scoring_func", value: "\"softmax\""), BadConfig(key: "n_group", value: "3"),
                BadConfig(key: "topk_group", value: "5", mentions: "1...4"),
                BadConfig(key: "n_group", value: "8", mentions: "2 experts"),
                BadConfig(key: "num_nextn_predict_layers", value: "-1"),
                BadConfig(key: "quantization_config", value: "{\"quant_method\": \"awq\"}", mentions: "awq"),
            ]),
        FamilyConfig(
            name: "smollm3", good: llamaLike,
            bad: [
                BadConfig(key: "no_rope_layers", value: "[1]", mentions: "2"),
                BadConfig(key: "no_rope_layers", value: "[1, 2]"),
                BadConfig(key: "no_rope_layer_interval", value: "0"),
            ]),
        FamilyConfig(name: "olmo2", good: llamaLike, bad: [BadConfig(key: "hidden_act", value: "\"gelu\"")]),
        FamilyConfig(
            name: "stablelm", good: llamaLike,
            bad: [BadConfig(key: "layer_norm_eps", value: "0"), BadConfig(key: "use_qkv_bias", value: "[]")]),
        FamilyConfig(
            name: "gpt_neox", good: llamaLike,
            bad: [
                BadConfig(key: "hidden_act", value: "\"tanhshrink\"", mentions: "gelu"),
                BadConfig(key: "rotary_pct", value: "0.01", mentions: "even"),
                BadConfig(key: "num_attention_heads", value: "12"),
            ]),
    ]

    private static let deepSeek = """
        , "kv_lora_rank": 24, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16, \
        "moe_intermediate_size": 40, "first_k_dense_replace": 1, "n_shared_experts": 2, "n_routed_experts": 8, \
        "num_experts_per_tok": 3, "n_group": 4, "topk_group": 2
        """

    func config(changing key: String? = nil, to value: String? = nil) throws -> JSONObject {
        let object = try #require(try JSONValue.parse(Array("{\(good)}".utf8)).object)
        var members = [("model_type", JSONValue.string(name))] + object.members.filter { $0.0 != key }
        if let key, let value { members.append((key, try JSONValue.parse(Array(value.utf8)))) }
        return JSONObject(members)
    }
}

@Suite struct FamilyConfigTests {
    @Test func everyFamilyIsListed() {
        #expect(Set(FamilyConfig.all.map(\.name)) == Set(Architectures.all.map(\.name)))
    }

    /// Every operation finds its tensors in the table and every tensor of the table is used.
    @Test(arguments: FamilyConfig.all) func tableAndArithmeticAgree(_ family: FamilyConfig) throws {
        let (architecture, model) = try Architectures.detect(config: family.config(), file: "config.json")
        #expect(architecture.name == family.name)
        var used: Set<String> = [model.network.embedding, model.network.head]
        for operation in model.network.layers.joined() + model.network.final { used.formUnion(operation.tensors) }
        #expect(used == Set(model.tensors.map(\.name)))
        #expect(Set(model.tensors.map(\.name)).count == model.tensors.count)
    }

    @Test(arguments: FamilyConfig.all) func refusesByName(_ family: FamilyConfig) throws {
        let common = [
            BadConfig(key: "num_attention_heads", value: "0"), BadConfig(key: "hidden_size", value: "1e3"),
            BadConfig(key: "quantization_config", value: "{\"quant_method\": \"gptq\"}", mentions: "gptq"),
        ]
        for bad in family.bad + common {
            let config = try family.config(changing: bad.key, to: bad.value)
            let error = #expect(throws: LaminaError.self, "\(bad.testDescription)") {
                try Architectures.detect(config: config, file: "dir/config.json")
            }
            let message = error?.description ?? ""
            #expect(error?.kind == .malformed && error?.subject == "dir/config.json", "\(message)")
            let key = bad.mentions == "even" ? "head dimension" : bad.key
            #expect(message.contains(key), "\(message)")
            #expect(bad.mentions.isEmpty || message.contains(bad.mentions), "\(message)")
        }
    }
}

extension Inference.Operation {
    /// Names of the tensors an operation uses.
    fileprivate var tensors: [String] {
        switch self {
        case .norm(_, _, let weight, let bias, _), .project(_, let weight, let bias, _):
            [weight] + (bias.map { [$0] } ?? [])
        case .headNorm(_, _, let weights): weights
        case .absorb(_, _, let weight, _, _), .expand(_, let weight, _, _, _): [weight]
        case .route(_, let bias): bias.map { [$0] } ?? []
        case .experts(let mixture):
            (0..<mixture.experts).flatMap { expert in
                [mixture.gate, mixture.up, mixture.down].map { ExpertMixture.name($0, expert: expert) }
            }
        case .rotate, .scaleBeyond, .attend, .activate, .add, .addGated, .scale: []
        }
    }
}
