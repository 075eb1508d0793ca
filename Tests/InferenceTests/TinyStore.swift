import CKernels
import Foundation
import Inference
import LayerStore
import TensorCore
import TestSupport

/// A layer store of a few kilobytes, written without the store writer: raw chunks behind flat headers. Its odd width,
/// its column ranges and its files that end inside a page are the cases a reader can get wrong.
struct TinyStore {
    static let vocabulary = 131

    static let config: JSONValue = [
        "model_type": "llama", "hidden_size": 35, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
        "num_hidden_layers": 2, "intermediate_size": 1100, "vocab_size": JSONValue(vocabulary),
        "max_position_embeddings": 64, "attention_bias": true, "eos_token_id": 2,
    ]

    /// How the matrices that activations are multiplied with are quantized.
    struct Quantization {
        var scheme: any QuantizationScheme
        /// Stores what the quantized weights stand for instead, as f32.
        var isWidened = false
    }

    /// Writes a store to `path`. Equal arguments give equal bytes; weights do not depend on `chunkBytes`.
    static func write(
        to path: String, chunkBytes: Int = 4096, isTied: Bool = false, dtype: DType = .bfloat16,
        quantization: Quantization? = nil
    ) throws {
        for folder in ["layers", "side"] {
            try FileManager.default.createDirectory(atPath: path + "/" + folder, withIntermediateDirectories: true)
        }
        var members = config.object?.members ?? []
        members.append(("tie_word_embeddings", .bool(isTied)))
        let object = JSONObject(members)
        let configBytes = JSONValue.object(object).canonicalBytes()
        let (architecture, definition) = try Architectures.detect(config: object, file: "config.json")
        let rules = definition.tensors
        var generator = SeededGenerator(seed: 7)
        var shards: [Manifest.Shard] = []
        let layers = ["embedding"] + (0..<definition.config.layerCount).map(String.init) + ["head"]
        for (index, layer) in layers.enumerated() {
            let place: TensorRule.Place = index == 0 ? .embedding : index == layers.count - 1 ? .head : .layer
            let shard = Shard(
                rules: rules.filter { $0.place == place }, chunkBytes: chunkBytes, dtype: dtype,
                quantization: quantization, using: &generator)
            let bytes = shard.bytes()
            try Data(bytes).write(to: URL(fileURLWithPath: "\(path)/layers/\(layer).h5"))
            shards.append(shard.entry(layer: layer, bytes: bytes))
        }
        try Data(configBytes).write(to: URL(fileURLWithPath: path + "/side/config.json"))
        let manifest = Manifest(
            tool: Manifest.Tool(version: "test", zstd: "none", hdf5: "none"), architecture: architecture.name,
            chunkBytes: chunkBytes,
            source: Manifest.Source(files: [
                Manifest.Source.File(path: "model.safetensors", size: 0, header: "side/config.json", dataOffset: 0)
            ]), shards: shards, tied: [],
            sideFiles: [
                Manifest.SideFile(
                    path: "side/config.json", size: UInt64(configBytes.count), digest: SHA256.digest(of: configBytes))
            ])
        try Data(manifest.encoded()).write(to: URL(fileURLWithPath: path + "/manifest.json"))
    }

    /// Runs `body` with a new store that is removed afterwards.
    static func with<Value>(
        chunkBytes: Int = 4096, isTied: Bool = false, dtype: DType = .bfloat16, quantization: Quantization? = nil,
        _ body: (String) throws -> Value
    ) throws -> Value {
        try Fixtures.withScratchFolder { folder in
            let path = folder + "/tiny.lamina"
            try write(
                to: path, chunkBytes: chunkBytes, isTied: isTied, dtype: dtype, quantization: quantization)
            return try body(path)
        }
    }
}

/// One shard being written.
private struct Shard {
    private var records: [TensorRecord] = []
    private var data: [[UInt8]] = []
    private let userBlock: UInt64

    init(
        rules: [TensorRule], chunkBytes: Int, dtype: DType, quantization: TinyStore.Quantization?,
        using generator: inout SeededGenerator
    ) {
        let quantized = rules.map { $0.layout == .panel64 ? quantization : nil }
        let geometries = zip(rules, quantized).map { rule, quantized in
            quantized.map { Shard.geometry(rule, $0, chunkBytes) }
                ?? ChunkGeometry(shape: rule.shape, dtype: dtype, layout: rule.layout, targetBytes: chunkBytes)
        }
        userBlock = ShardHeader.userBlockSize(
            for: zip(rules, geometries).map { ($0.name, $0.shape.dimensions.count, $1.chunkCount) })
        var offset = userBlock
        for (index, (rule, geometry)) in zip(rules, geometries).enumerated() {
            let source = SyntheticCheckpoint.weights(rule.shape.elementCount, dtype: dtype, using: &generator)
            let panels = quantized[index].map { QuantizedMatrix(source, dtype, rule.shape, $0.scheme) }
            let isWidened = quantized[index]?.isWidened == true
            let scheme = isWidened ? nil : quantized[index]?.scheme
            let dtype = isWidened ? DType.float32 : dtype
            let weights = isWidened ? panels?.widened ?? [] : source
            var chunks: [ChunkRecord] = []
            for chunk in 0..<geometry.chunkCount {
                let bytes =
                    scheme == nil
                    ? Shard.chunk(chunk, of: weights, geometry, dtype) : panels?.chunk(chunk, geometry) ?? []
                chunks.append(
                    ChunkRecord(
                        offset: offset, storedSize: UInt32(bytes.count), encoding: .raw,
                        hash: bytes.withUnsafeBytes { xxh3($0) }))
                data.append(bytes)
                offset += UInt64(roundedUp(bytes.count, to: 4096))
            }
            records.append(
                TensorRecord(
                    name: rule.name, dtype: dtype, shape: rule.shape, codec: scheme ?? RawCodec(), geometry: geometry,
                    chunks: chunks))
        }
    }

    private static func geometry(
        _ rule: TensorRule, _ quantization: TinyStore.Quantization, _ chunkBytes: Int
    ) -> ChunkGeometry {
        quantization.isWidened
            ? ChunkGeometry(shape: rule.shape, dtype: .float32, layout: .panel64, targetBytes: chunkBytes)
            : ChunkGeometry(
                shape: rule.shape, dtype: .bfloat16, layout: .panel16, scheme: quantization.scheme,
                targetBytes: chunkBytes)
    }

    /// One slot: the chunk's elements in the order of the layout, zero behind them.
    private static func chunk(_ index: Int, of weights: [UInt8], _ geometry: ChunkGeometry, _ dtype: DType) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: geometry.slotBytes)
        let extent = geometry.chunk(index)
        let size = dtype.size
        let columns = min(extent.columnCount, geometry.columns - extent.firstColumn)
        for unit in 0..<extent.unitCount {
            let row = (extent.firstUnit + unit) * geometry.unitRows
            let source = (row * geometry.columns + extent.firstColumn) * size
            let target = unit * geometry.unitRows * extent.columnCount * size
            guard geometry.layout == .panel64 else {
                bytes.replaceSubrange(
                    target..<(target + columns * size), with: weights[source..<(source + columns * size)])
                continue
            }
            let pack = lamina_kernels_reference().pointee.pack_panel
            weights.withUnsafeBytes { weights in
                bytes.withUnsafeMutableBytes { bytes in
                    (dtype == .bfloat16 ? pack.0 : dtype == .float16 ? pack.1 : pack.2)?(
                        weights.baseAddress.map { $0 + source }, geometry.columns, min(64, geometry.rows - row),
                        geometry.width(ofUnit: extent.firstUnit + unit), columns, bytes.baseAddress.map { $0 + target })
                }
            }
        }
        return bytes
    }

    func bytes() -> [UInt8] {
        let end = records.flatMap(\.chunks).map { $0.offset + UInt64($0.storedSize) }.max() ?? userBlock
        var bytes = ShardHeader(userBlockSize: userBlock, fileSize: end, tensors: records).encoded()
        for (record, chunk) in zip(records.flatMap(\.chunks), data) {
            bytes += [UInt8](repeating: 0, count: Int(record.offset) - bytes.count) + chunk
        }
        return bytes
    }

    func entry(layer: String, bytes: [UInt8]) -> Manifest.Shard {
        let digest = SHA256.digest(of: bytes)
        return Manifest.Shard(
            path: "layers/\(layer).h5", layer: layer, size: UInt64(bytes.count), digest: digest,
            tensors: records.map { record in
                Manifest.Tensor(
                    name: record.name.replacingOccurrences(of: "*", with: layer), storedName: record.name,
                    dtype: record.dtype, shape: record.shape, layout: record.geometry.layout, codec: record.codec.name,
                    sourceFile: 0, sourceOffset: 0, digest: digest,
                    quantization: record.codec.isLossless ? nil : Manifest.Quantization(relativeError: 0.1))
            })
    }
}
