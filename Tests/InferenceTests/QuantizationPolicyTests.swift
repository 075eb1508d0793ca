import LayerStore
import TensorCore
import TestSupport
import Testing

@testable import Inference

@Suite struct QuantizationPolicyTests {
    private func definition(_ model: String) throws -> ModelDefinition {
        let path = "models/\(model)/config.json"
        let config = try #require(try JSONValue.parse(try Fixtures.bytes(path)).object)
        return try Architectures.detect(config: config, file: path).definition
    }

    /// Every tensor of the table, as a checkpoint has it.
    private func candidates(_ definition: ModelDefinition) -> [QuantizationPolicy.Candidate] {
        definition.tensors.flatMap { rule in
            let layers = rule.place == .layer ? (0..<definition.config.layerCount).filter(rule.applies) : [0]
            return layers.map { layer in
                QuantizationPolicy.Candidate(
                    name: rule.place == .layer ? LayerPlan.name(rule.name, layer: layer) : rule.name,
                    storedName: rule.name, dtype: .bfloat16, shape: rule.shape, isUnused: false)
            }
        }
    }

    /// What the tensors of `model` become when everything that may be quantized is.
    private func quantized(_ model: String) throws -> (names: Set<String>, all: Set<String>) {
        let definition = try definition(model)
        let tensors = candidates(definition)
        let everything = QuantizationPolicy.Rule(pattern: "*", target: QuantizationTarget(BlockInt8()))
        let policy = QuantizationPolicy(
            layers: QuantizationTarget(BlockCodebook4()), embeddings: nil, head: nil, rules: [everything])
        let targets = try policy.targets(for: tensors, of: definition)
        let names = zip(tensors, targets).filter { $0.1 != nil }.map(\.0.name)
        return (Set(names), Set(tensors.map(\.name)))
    }

    @Test(arguments: ["llama2-gqa", "mixtral", "deepseek-v2", "baichuan2", "gemma2"])
    func normsRoutersAndHeadwiseMatricesStayExact(_ prefix: String) throws {
        let model = try #require(Fixtures.models(prefix).first)
        let (names, all) = try quantized(model)
        #expect(!names.isEmpty)
        for name in all.subtracting(names) {
            let isKnown = ["norm", "bias", "kv_b_proj", "lm_head", ".gate.weight"].contains { name.contains($0) }
            #expect(isKnown, "\(name) could be quantized")
        }
        let exact = names.filter { name in
            name.contains("norm") || name.hasSuffix("bias") || name.contains("kv_b_proj")
                || name.hasSuffix("mlp.gate.weight") || name.hasSuffix("block_sparse_moe.gate.weight")
        }
        #expect(exact.isEmpty, "\(exact)")
        #expect(names.contains("lm_head.weight") == (all.contains("lm_head.weight") && prefix != "baichuan2"))
    }

    /// Embeddings, head and small matrices have rules of their own; the last pattern wins.
    @Test func theLastRuleWins() throws {
        let definition = try definition(try #require(Fixtures.models("llama2-gqa").first))
        let tensors = candidates(definition)
        func codecs(_ rules: [QuantizationPolicy.Rule]) throws -> [String: String] {
            let policy = QuantizationPolicy(
                layers: QuantizationTarget(BlockCodebook4()), embeddings: nil, head: QuantizationTarget(RowInt8()),
                rules: rules)
            let targets = try policy.targets(for: tensors, of: definition)
            return Dictionary(uniqueKeysWithValues: zip(tensors, targets).map { ($0.name, $1?.scheme.name ?? "exact") })
        }
        let all = QuantizationPolicy.Rule(pattern: "*", target: QuantizationTarget(BlockInt8()))
        let down = QuantizationPolicy.Rule(pattern: "*.0.mlp.down_proj.*", target: nil)
        let found = try codecs([all, down])
        #expect(found["model.layers.0.mlp.down_proj.weight"] == "exact")
        #expect(found["model.layers.1.mlp.down_proj.weight"] == "q8")
        #expect(try codecs([down, all])["model.layers.0.mlp.down_proj.weight"] == "q8")
        // All matrices of this model's layers are small, the head is not.
        let standard = try codecs([])
        #expect(standard.filter { $0.value != "exact" } == ["lm_head.weight": "int8-row"])
        let head = QuantizationPolicy.Rule(pattern: "lm_head.*", target: nil)
        let nothing = #expect(throws: LaminaError.self) { try codecs([head]) }
        #expect(nothing?.problem.contains("nothing is quantized") == true)
        #expect(throws: LaminaError.self) {
            try codecs([all, QuantizationPolicy.Rule(pattern: "nobody", target: nil)])
        }
        let norm = QuantizationPolicy.Rule(pattern: "model.norm.weight", target: QuantizationTarget(BlockInt8()))
        let failure = #expect(throws: LaminaError.self) { try codecs([all, norm]) }
        #expect(failure?.problem.contains("stay exact") == true)
    }

    @Test(arguments: [
        ("a.b", "a.b", true), ("a.b", "a.*", true), ("a.b", "*", true), ("a.b", "*b", true), ("a.b", "?.?", true),
        ("a.b", "a", false), ("a.b", "*c*", false), ("abab", "*ab", true), ("abab", "a*a*", true), ("ab", "???", false),
        ("", "*", true), ("", "?", false), ("aXbXc", "a*X*c", true), ("aXb", "a*X", false), ("ä.b", "?.b", true),
    ])
    func patterns(_ name: String, _ pattern: String, _ matches: Bool) {
        #expect(globMatches(name, pattern: pattern) == matches)
    }
}
