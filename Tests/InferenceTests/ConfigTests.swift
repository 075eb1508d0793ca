import TensorCore
import Testing

@testable import Inference

/// A config.json with one thing wrong, and the key that the refusal must name.
struct BadConfig: Sendable, CustomTestStringConvertible {
    var key: String
    /// JSON text; `nil` removes the key.
    var value: String?
    /// What the message must contain besides the key.
    var mentions: String = ""

    var testDescription: String { "\(key): \(value ?? "absent")" }
}

@Suite struct ConfigTests {
    static let good: [(key: String, value: JSONValue)] = [
        ("model_type", "llama"), ("hidden_size", 64), ("num_attention_heads", 4), ("num_key_value_heads", 2),
        ("num_hidden_layers", 3), ("intermediate_size", 112), ("vocab_size", 320), ("rms_norm_eps", .number("1e-5")),
        ("max_position_embeddings", 2048), ("eos_token_id", [2, 5]),
    ]

    static func config(changing key: String? = nil, to value: String? = nil) throws -> JSONObject {
        var members = good.filter { $0.key != key }
        if let key, let value { members.append((key, try JSONValue.parse(Array(value.utf8)))) }
        return JSONObject(members)
    }

    @Test func readsTypedValuesAndDefaults() throws {
        let (architecture, model) = try Architectures.detect(config: try Self.config(), file: "config.json")
        #expect(architecture.name == "llama")
        #expect(model.config.endTokens == [2, 5])
        #expect(
            model.config.ropes == [RopeSettings(base: 10_000, dimension: 16, scaling: .none, maximumPositions: 2048)])
        let shapes = Dictionary(uniqueKeysWithValues: model.tensors.map { ($0.name, $0.shape) })
        #expect(shapes["model.layers.*.self_attn.k_proj.weight"] == Shape([32, 64]))
        #expect(shapes["lm_head.weight"] == Shape([320, 64]))
        #expect(model.ties.isEmpty && !shapes.keys.contains { $0.hasSuffix(".bias") })
        guard case .norm(let norm, _, _, _, _) = model.network.layers[0].first else {
            Issue.record("a layer begins with something else than a norm")
            return
        }
        #expect(norm == .rootMeanSquare(1e-5))
    }

    @Test func absentKeysMeanWhatTheyMeantWhenPublished() throws {
        var members = Self.good.filter { $0.key != "num_key_value_heads" && $0.key != "max_position_embeddings" }
        members.append(("max_sequence_length", 512))
        let (_, model) = try Architectures.detect(config: JSONObject(members), file: "config.json")
        #expect(model.tensors.contains { $0.name.hasSuffix("k_proj.weight") && $0.shape == Shape([64, 64]) })
        #expect(model.config.maximumPositions == 512)
    }

    @Test func architecturesAloneSuffice() throws {
        var members = Self.good.filter { $0.key != "model_type" }
        members.append(("architectures", ["LlamaForCausalLM"]))
        #expect(try Architectures.detect(config: JSONObject(members), file: "").architecture.name == "llama")
    }

    static let bad: [BadConfig] = [
        BadConfig(key: "model_type", value: "\"gpt_oss\"", mentions: "llama"),
        BadConfig(key: "model_type", value: "7"),
        BadConfig(key: "model_type", value: nil, mentions: "architectures"),
        BadConfig(key: "num_hidden_layers", value: "0"),
        BadConfig(key: "num_hidden_layers", value: "-1"),
        BadConfig(key: "num_hidden_layers", value: "1000000000", mentions: "1...10000"),
        BadConfig(key: "num_hidden_layers", value: "2.0"),
        BadConfig(key: "num_hidden_layers", value: nil, mentions: "nothing"),
        BadConfig(key: "num_hidden_layers", value: "99999999999999999999"),
        BadConfig(key: "num_attention_heads", value: "12", mentions: "hidden_size"),
        BadConfig(key: "num_attention_heads", value: "0"),
        BadConfig(key: "num_key_value_heads", value: "3", mentions: "num_attention_heads"),
        BadConfig(key: "num_key_value_heads", value: "\"2\""),
        BadConfig(key: "head_dim", value: "-16"),
        BadConfig(key: "head_dim", value: "15", mentions: "even"),
        BadConfig(key: "hidden_size", value: "9223372036854775807"),
        BadConfig(key: "hidden_size", value: nil),
        BadConfig(key: "intermediate_size", value: "0"),
        BadConfig(key: "vocab_size", value: "10000001", mentions: "10000000"),
        BadConfig(key: "rms_norm_eps", value: "0"),
        BadConfig(key: "rms_norm_eps", value: "1e999"),
        BadConfig(key: "rms_norm_eps", value: "1e-300", mentions: "f32"),
        BadConfig(key: "rms_norm_eps", value: "\"nan\""),
        BadConfig(key: "hidden_act", value: "\"gelu\"", mentions: "silu"),
        BadConfig(key: "attention_bias", value: "1"),
        BadConfig(key: "mlp_bias", value: "\"no\""),
        BadConfig(key: "tie_word_embeddings", value: "2"),
        BadConfig(key: "rope_theta", value: "0"),
        BadConfig(key: "rope_scaling", value: "[1]"),
        BadConfig(key: "rope_scaling", value: "{\"type\": \"xpos\"}", mentions: "llama3"),
        BadConfig(key: "rope_scaling", value: "{\"type\": \"linear\"}", mentions: "rope_scaling.factor"),
        BadConfig(
            key: "rope_scaling", value: "{\"type\": \"linear\", \"factor\": 0.5}", mentions: "rope_scaling.factor"),
        BadConfig(key: "rope_scaling", value: "{\"factor\": 2}", mentions: "rope_scaling.type"),
        BadConfig(
            key: "rope_scaling", value: "{\"rope_type\": \"llama3\", \"factor\": 8}", mentions: "low_freq_factor"),
        BadConfig(
            key: "rope_scaling",
            value: """
                {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4,
                "original_max_position_embeddings": 256}
                """, mentions: "high_freq_factor"),
        BadConfig(
            key: "rope_scaling", value: "{\"rope_type\": \"yarn\", \"factor\": 4, \"beta_fast\": 0.5}",
            mentions: "beta_fast"),
        BadConfig(key: "rope_parameters", value: "{\"rope_type\": \"longrope\"}", mentions: "short_factor"),
        BadConfig(key: "max_position_embeddings", value: "0"),
        BadConfig(key: "eos_token_id", value: "320", mentions: "320"),
        BadConfig(key: "eos_token_id", value: "[2, \"x\"]"),
        BadConfig(key: "quantization_config", value: "{\"quant_method\": \"gptq\"}", mentions: "gptq"),
    ]

    @Test(arguments: bad) func refusesByName(_ bad: BadConfig) throws {
        let config = try Self.config(changing: bad.key, to: bad.value)
        let error = #expect(throws: LaminaError.self) {
            try Architectures.detect(config: config, file: "dir/config.json")
        }
        #expect(error?.kind == .malformed)
        #expect(error?.subject == "dir/config.json")
        let message = error?.description ?? ""
        // The head dimension's parity concerns rotation, whatever gave the dimension.
        let key = bad.mentions == "even" ? "head dimension" : bad.key
        #expect(message.contains(key), "\(message)")
        #expect(bad.mentions.isEmpty || message.contains(bad.mentions), "\(message)")
    }

    @Test func dynamicScalingReachesBeyondThePretrainedPositions() throws {
        let object = try Self.config(changing: "rope_scaling", to: "{\"type\": \"dynamic\", \"factor\": 2.5}")
        #expect(try Architectures.detect(config: object, file: "").definition.config.maximumPositions > 1 << 20)
    }
}
