import ArgumentParser
import CommandLineSupport
import LayerStore
import TensorCore

struct InspectCommand: ToolCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect",
        abstract: "List a store's layers and tensors: dtypes, shapes, codecs, sizes; errors of quantized ones.",
        discussion: """
            Examples:
              lamina-convert inspect smollm2.lamina
              lamina-convert inspect smollm2.lamina --layer 0
              lamina-convert inspect smollm2.lamina --json

            \(exitCodeHelp)
            """)

    @Argument(help: "The layer store.")
    var store: String

    @Option(help: "Only this layer: embedding, 0, 1, …, head or unused.")
    var layer: String?

    @Flag(help: "Print JSON.")
    var json = false

    func execute() throws(LaminaError) {
        let opened = try Store(path: store, in: RealFileSystem())
        var shards: [(shard: Manifest.Shard, header: ShardHeader)] = []
        for shard in opened.manifest.shards where layer == nil || shard.layer == layer {
            shards.append((shard, try opened.header(of: shard, file: try opened.open(shard))))
        }
        guard !shards.isEmpty || layer == nil else {
            throw LaminaError(
                .usage, "--layer \(layer ?? "")", "the store has no such layer",
                expected: opened.manifest.shards.map(\.layer).joined(separator: ", "))
        }
        try Console.out(json ? document(opened.manifest, shards).text() + "\n" : table(opened.manifest, shards))
    }

    private func table(
        _ manifest: Manifest, _ shards: [(shard: Manifest.Shard, header: ShardHeader)]
    ) -> String {
        var text =
            "\(manifest.architecture), store format \(Manifest.version), made by lamina \(manifest.tool.version)\n"
        var source: UInt64 = 0
        var size: UInt64 = 0
        for (shard, header) in shards {
            let bytes = shard.tensors.reduce(UInt64(0)) { $0 + $1.byteCount }
            source += bytes
            size += shard.size
            text += "\n\(shard.path)  \(formattedBytes(bytes)) -> \(formattedBytes(shard.size))\n"
            for (tensor, record) in zip(shard.tensors, header.tensors) {
                let columns = [
                    padded(escapedForDisplay(tensor.name), 52), padded(tensor.dtype.rawValue, 5),
                    padded(tensor.shape.description, 16), padded(tensor.layout.name, 8), padded(tensor.codec, 11),
                    padded("\(record.geometry.chunkCount) chunks", 11), formattedBytes(record.storedBytes),
                ]
                text += "  " + columns.joined(separator: " ") + lossText(tensor, record) + "\n"
                if let reason = tensor.unusedBecause { text += "    unused: \(escapedForDisplay(reason))\n" }
            }
        }
        for tie in manifest.tied { text += "\n\(escapedForDisplay(tie.name)) is \(escapedForDisplay(tie.target))\n" }
        let ratio = size == 0 ? 1 : Double(source) / Double(size)
        return text + "\n\(formattedBytes(source)) -> \(formattedBytes(size)), ratio \(formatted(ratio, decimals: 3))\n"
            + "root digest \(manifest.rootDigest)\n"
    }

    /// What quantization made of a tensor, empty for lossless ones.
    private func lossText(_ tensor: Manifest.Tensor, _ record: TensorRecord) -> String {
        guard let loss = tensor.quantization else { return "" }
        let noise = loss.signalToNoise.map { ", SNR \(formatted($0, decimals: 1)) dB" } ?? ""
        return "  \(formatted(record.bitsPerWeight, decimals: 3)) bits, error "
            + "\(formatted(100 * loss.relativeError, decimals: 3)) %\(noise)"
    }

    private func quantization(_ tensor: Manifest.Tensor, _ record: TensorRecord) -> JSONValue {
        guard let loss = tensor.quantization else { return .null }
        return [
            "relative_error": JSONValue(loss.relativeError),
            "snr_db": loss.signalToNoise.map { JSONValue($0) } ?? .null,
            "step": loss.step.map { JSONValue($0) } ?? .null, "bits_per_weight": JSONValue(record.bitsPerWeight),
        ]
    }

    private func padded(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }

    private func document(
        _ manifest: Manifest, _ shards: [(shard: Manifest.Shard, header: ShardHeader)]
    ) -> JSONValue {
        let layers: [JSONValue] = shards.map { shard, header in
            let tensors: [JSONValue] = zip(shard.tensors, header.tensors).map { tensor, record in
                [
                    "name": .string(tensor.name), "dtype": .string(tensor.dtype.rawValue),
                    "shape": .array(tensor.shape.dimensions.map { JSONValue($0) }),
                    "layout": .string(tensor.layout.name), "codec": .string(tensor.codec),
                    "chunks": JSONValue(record.geometry.chunkCount), "bytes": JSONValue(tensor.byteCount),
                    "stored_bytes": JSONValue(record.storedBytes), "sha256": .string(tensor.digest.description),
                    "unused_because": JSONValue(tensor.unusedBecause),
                    "quantization": quantization(tensor, record),
                ]
            }
            return [
                "path": .string(shard.path), "layer": .string(shard.layer), "size": JSONValue(shard.size),
                "sha256": .string(shard.digest.description), "tensors": .array(tensors),
            ]
        }
        return [
            "architecture": .string(manifest.architecture), "format_version": JSONValue(Manifest.version),
            "tool_version": .string(manifest.tool.version), "layers": .array(layers),
            "tied": .array(manifest.tied.map { ["name": .string($0.name), "target": .string($0.target)] }),
            "root_digest": .string(manifest.rootDigest.description),
        ]
    }
}
