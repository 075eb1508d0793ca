import LayerStore
import TensorCore

/// A store that can be run: its architecture and checked config, every tensor of the architecture's table accounted for.
public struct StoredModel: Sendable {
    public let store: Store
    public let architecture: Architecture
    public let definition: ModelDefinition
    public var config: ModelConfig { definition.config }

    /// Throws `.malformed` for a config that is wrong or not supported, or a store that lacks a layer or a tensor;
    /// `.damaged` and `.io` for files that cannot be read as written.
    public init(_ store: Store) throws(LaminaError) {
        self.store = store
        let file = store.location(of: "side/config.json")
        guard let bytes = try store.sideFile("config.json") else {
            throw LaminaError(.malformed, store.path, "the store has no config.json", hint: "convert again")
        }
        let document: JSONValue
        do throws(LaminaError) {
            document = try JSONValue.parse(bytes)
        } catch {
            throw error.about(file)
        }
        guard let object = document.object else {
            throw LaminaError(.malformed, file, "not a JSON object", found: document.summary)
        }
        (architecture, definition) = try Architectures.detect(config: object, file: file)
        guard architecture.name == store.manifest.architecture else {
            throw LaminaError(
                .malformed, store.location(of: Manifest.fileName), "the manifest and config.json disagree",
                expected: "architecture \(architecture.name)", found: store.manifest.architecture)
        }
        try checkTensors()
    }

    /// Whether some of its weights can be multiplied as 8-bit codes.
    public var takesCodes: Bool {
        store.manifest.shards.contains { shard in
            shard.tensors.contains { Schemes.named($0.codec)?.form.takesCodes == true }
        }
    }

    /// The manifest's `layer` for a place.
    static func layerName(_ place: TensorRule.Place, layer: Int) -> String {
        switch place {
        case .embedding: "embedding"
        case .layer: String(layer)
        case .head: "head"
        }
    }

    /// The table's rows per layer name, in the order of a pass.
    var expectedTensors: [(layer: String, rules: [TensorRule])] {
        let rules = definition.tensors
        var expected = [("embedding", rules.filter { $0.place == .embedding })]
        let perLayer = rules.filter { $0.place == .layer }
        for layer in 0..<config.layerCount {
            expected.append((String(layer), perLayer.filter { $0.applies(to: layer) }))
        }
        expected.append(("head", rules.filter { $0.place == .head }))
        return expected
    }

    private func checkTensors() throws(LaminaError) {
        let quantizable = definition.quantizableRules
        let manifestFile = store.location(of: Manifest.fileName)
        var shards: [String: Manifest.Shard] = [:]
        for shard in store.manifest.shards {
            guard shards.updateValue(shard, forKey: shard.layer) == nil else {
                throw LaminaError(.malformed, manifestFile, "the layer is listed twice", layer: shard.layer)
            }
        }
        for (layer, rules) in expectedTensors where !rules.isEmpty {
            guard let shard = shards[layer] else {
                throw LaminaError(.malformed, manifestFile, "the store lacks this layer", layer: layer)
            }
            let tensors = Dictionary(shard.tensors.map { ($0.storedName, $0) }, uniquingKeysWith: { first, _ in first })
            for rule in rules {
                guard let tensor = tensors[rule.name] else {
                    throw LaminaError(
                        .malformed, manifestFile, "the store lacks this tensor", layer: layer, tensor: rule.name)
                }
                let mayBeQuantized = quantizable[Array(rule.name.utf8)] != nil
                try StoredModel.check(
                    tensor, rule, mayBeQuantized: mayBeQuantized, file: manifestFile, layer: layer)
                guard tensor.dtype == .float8E4M3 else { continue }
                try checkFloat8(rule, scales: tensors[rule.name + Float8Blocks.scaleSuffix], layer: layer)
            }
        }
    }

    private func checkFloat8(
        _ rule: TensorRule, scales: Manifest.Tensor?, layer: String
    ) throws(LaminaError) {
        let shape = definition.float8Blocks?.scaleShape(rule.shape)
        guard let scales, let shape, scales.shape == shape, scales.dtype == .float32, scales.layout == .rows else {
            throw LaminaError(
                .malformed, store.location(of: Manifest.fileName), "the FP8 matrix lacks its scales",
                expected: shape.map { "F32 \($0)" } ?? "a config.json that says how weights were quantized",
                layer: layer, tensor: rule.name + Float8Blocks.scaleSuffix)
        }
    }

    private static func check(
        _ tensor: Manifest.Tensor, _ rule: TensorRule, mayBeQuantized: Bool, file: String, layer: String
    ) throws(LaminaError) {
        guard tensor.shape == rule.shape else {
            throw LaminaError(
                .malformed, file, "the tensor's shape contradicts config.json", expected: "\(rule.shape)",
                found: "\(tensor.shape)", layer: layer, tensor: tensor.name)
        }
        guard tensor.layout == rule.layout || (mayBeQuantized && tensor.layout == .panel16) else {
            throw LaminaError(
                .malformed, file, "the tensor has the wrong layout",
                expected: rule.layout.name + (mayBeQuantized ? " or \(TensorLayout.panel16.name)" : ""),
                found: tensor.layout.name, layer: layer, tensor: tensor.name)
        }
        guard WeightType(tensor.dtype) != nil, tensor.dtype != .float8E4M3 || rule.mayBeFloat8 else {
            throw LaminaError(
                .malformed, file, "cannot compute with this dtype", expected: "BF16, F16 or F32",
                found: tensor.dtype.rawValue, layer: layer, tensor: tensor.name)
        }
    }
}
