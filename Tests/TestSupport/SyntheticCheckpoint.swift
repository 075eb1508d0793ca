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

    /// Bytes that no arithmetic leaves alone: every bit pattern of one- and two-byte types in turn; of wider ones zeros
    /// and infinities of both signs, subnormal numbers, quiet and signalling NaNs with payloads, then random bits.
    public static func hostileBytes(_ count: Int, dtype: DType, using generator: inout SeededGenerator) -> [UInt8] {
        let bits = UInt64(dtype.size * 8)
        let (mantissa, exponent): (UInt64, UInt64) = dtype.size == 4 ? (23, 255) : (52, 2047)
        let sign = UInt64(1) << (bits - 1)
        let infinity = exponent << mantissa
        let specials = [
            0, 1, (1 << mantissa) - 1, 1 << mantissa, infinity, infinity + 1, infinity + 0x1234,
            infinity | 1 << (mantissa - 1), (infinity | 1 << (mantissa - 1)) + 0x1234,
        ].flatMap { [$0, $0 | sign] }
        return (0..<count).flatMap { index in
            let pattern =
                dtype.size <= 2
                ? UInt64(index) : index < specials.count ? specials[index] : generator.next()
            return withUnsafeBytes(of: pattern.littleEndian) { Array($0.prefix(dtype.size)) }
        }
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
        /// Weights of `hostileBytes`, with which no model computes anything.
        public var isHostile = false

        public init() {}
    }

    /// Writes a llama checkpoint into `folder`: rows no multiple of 64, and matrices wide enough to be split by columns
    /// when chunks are small; `more` tensors follow in the same file.
    public static func writeLlama(
        _ sizes: LlamaSizes, to folder: String, seed: UInt64 = 7, more: [Tensor] = []
    ) throws {
        var generator = SeededGenerator(seed: seed)
        var tensors: [Tensor] = []
        func add(_ name: String, _ shape: [Int]) {
            let count = shape.reduce(1, *)
            let bytes =
                sizes.isHostile
                ? hostileBytes(count, dtype: sizes.dtype, using: &generator)
                : weights(count, dtype: sizes.dtype, using: &generator)
            tensors.append(Tensor(name: name, dtype: sizes.dtype, shape: shape, bytes: bytes))
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
        try Data(safetensors(tensors + more)).write(to: URL(fileURLWithPath: folder + "/model.safetensors"))
        try Data(config.text().utf8).write(to: URL(fileURLWithPath: folder + "/config.json"))
    }
}
