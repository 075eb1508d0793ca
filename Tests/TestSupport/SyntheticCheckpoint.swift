import Foundation
import TensorCore

/// Builds safetensors bytes and small llama checkpoints with seeded weights.
public enum SyntheticCheckpoint {
    /// A tensor to write.
    public struct Tensor {
        public var name: String
        public var dtype: DType
        public var shape: [Int]
        public var bytes: [UInt8]

        public init(name: String, dtype: DType, shape: [Int], bytes: [UInt8]) {
            self.name = name
            self.dtype = dtype
            self.shape = shape
            self.bytes = bytes
        }
    }

    /// A safetensors file with these tensors in this order.
    public static func safetensors(_ tensors: [Tensor]) -> [UInt8] {
        var entries: [(key: String, value: JSONValue)] = []
        var data: [UInt8] = []
        for tensor in tensors {
            let begin = data.count
            data += tensor.bytes
            entries.append(
                (
                    tensor.name,
                    [
                        "dtype": .string(tensor.dtype.rawValue), "shape": .array(tensor.shape.map { JSONValue($0) }),
                        "data_offsets": [JSONValue(begin), JSONValue(data.count)],
                    ]
                ))
        }
        return file(header: Array(JSONValue.object(JSONObject(entries)).text().utf8), data: data)
    }

    /// A file with this header, well-formed or not, and its length field.
    public static func file(header: [UInt8], data: [UInt8]) -> [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: header.count >> (8 * $0)) } + header + data
    }

    /// Weights like trained ones: roughly normal with deviation 0.1, in any of the three float types.
    public static func weights(_ count: Int, dtype: DType, using generator: inout SeededGenerator) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count * dtype.size)
        for _ in 0..<count {
            // The sum of four uniform numbers is near enough to normal.
            var sum: Float = 0
            for _ in 0..<4 { sum += Float(generator.next() >> 40) / Float(1 << 24) - 0.5 }
            let value = sum * 0.17
            switch dtype {
            case .bfloat16: withUnsafeBytes(of: UInt16(value.bitPattern >> 16).littleEndian) { bytes += $0 }
            case .float16: withUnsafeBytes(of: halfBits(value).littleEndian) { bytes += $0 }
            default: withUnsafeBytes(of: value.bitPattern.littleEndian) { bytes += $0 }
            }
        }
        return bytes
    }

    /// Half precision, truncated; values here are far from its limits.
    private static func halfBits(_ value: Float) -> UInt16 {
        let bits = value.bitPattern
        let exponent = Int(bits >> 23 & 255) - 127 + 15
        guard exponent > 0 else { return UInt16(bits >> 16 & 0x8000) }
        return UInt16(bits >> 16 & 0x8000) | UInt16(exponent << 10) | UInt16(bits >> 13 & 0x3FF)
    }

    /// The sizes of a llama checkpoint.
    public struct LlamaSizes {
        public var hidden = 66
        public var intermediate = 1100
        public var layers = 2
        public var heads = 3
        public var keyValueHeads = 1
        public var headDimension = 22
        public var vocabulary = 150
        public var isTied = false
        public var dtype = DType.bfloat16

        public init() {}
    }

    /// Writes a llama checkpoint into `folder`: rows no multiple of 64, and matrices wide enough to be split by columns
    /// when chunks are small.
    public static func writeLlama(_ sizes: LlamaSizes, to folder: String, seed: UInt64 = 7) throws {
        var generator = SeededGenerator(seed: seed)
        var tensors: [Tensor] = []
        func add(_ name: String, _ shape: [Int]) {
            let count = shape.reduce(1, *)
            tensors.append(
                Tensor(
                    name: name, dtype: sizes.dtype, shape: shape,
                    bytes: weights(count, dtype: sizes.dtype, using: &generator)))
        }
        let queries = sizes.heads * sizes.headDimension
        let keys = sizes.keyValueHeads * sizes.headDimension
        add("model.embed_tokens.weight", [sizes.vocabulary, sizes.hidden])
        for layer in 0..<sizes.layers {
            let prefix = "model.layers.\(layer)."
            add(prefix + "input_layernorm.weight", [sizes.hidden])
            add(prefix + "self_attn.q_proj.weight", [queries, sizes.hidden])
            add(prefix + "self_attn.k_proj.weight", [keys, sizes.hidden])
            add(prefix + "self_attn.v_proj.weight", [keys, sizes.hidden])
            add(prefix + "self_attn.o_proj.weight", [sizes.hidden, queries])
            add(prefix + "post_attention_layernorm.weight", [sizes.hidden])
            add(prefix + "mlp.gate_proj.weight", [sizes.intermediate, sizes.hidden])
            add(prefix + "mlp.up_proj.weight", [sizes.intermediate, sizes.hidden])
            add(prefix + "mlp.down_proj.weight", [sizes.hidden, sizes.intermediate])
        }
        add("model.norm.weight", [sizes.hidden])
        if !sizes.isTied { add("lm_head.weight", [sizes.vocabulary, sizes.hidden]) }
        let config: JSONValue = [
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
            "hidden_size": JSONValue(sizes.hidden), "intermediate_size": JSONValue(sizes.intermediate),
            "num_hidden_layers": JSONValue(sizes.layers), "num_attention_heads": JSONValue(sizes.heads),
            "num_key_value_heads": JSONValue(sizes.keyValueHeads), "head_dim": JSONValue(sizes.headDimension),
            "vocab_size": JSONValue(sizes.vocabulary), "max_position_embeddings": 256,
            "rms_norm_eps": .number("1e-05"), "rope_theta": .number("10000.0"),
            "tie_word_embeddings": .bool(sizes.isTied), "bos_token_id": 1, "eos_token_id": 2,
        ]
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        try Data(safetensors(tensors)).write(to: URL(fileURLWithPath: folder + "/model.safetensors"))
        try Data(config.text().utf8).write(to: URL(fileURLWithPath: folder + "/config.json"))
    }
}
