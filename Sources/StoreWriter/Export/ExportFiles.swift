import LayerStore
import TensorCore

/// The files of a checkpoint written anew from a store: safetensors, whatever the weights came as, with the tensors under
/// the names, dtypes and shapes of their source.
public enum ExportFiles {
    /// What a file of weights may take, as transformers chooses it.
    public static let defaultFileBytes = 5_000_000_000
    /// As large as readers of safetensors accept.
    private static let maximumHeaderBytes = 100_000_000
    private static let singleName = "model.safetensors"

    private typealias Entry = (shard: Int, index: Int, tensor: Manifest.Tensor)

    /// `model.safetensors`, or, where that would have more than `fileBytes` of tensors, several and their index; and the
    /// store's side files but for indexes. Tensors lie in the order of a forward pass, in each file those with larger
    /// elements first, so that all are aligned. `usedOnly` leaves out those that running the model does not need.
    ///
    /// Throws `.malformed` for names that cannot be written, `.limit` for a header that would be too large.
    public static func all(
        of store: Store, fileBytes: Int = defaultFileBytes, usedOnly: Bool = false
    ) throws(LaminaError) -> [CheckpointFile] {
        let parts = parts(of: store.manifest, fileBytes: UInt64(fileBytes), usedOnly: usedOnly)
        var files: [CheckpointFile] = []
        var weightMap: [(key: String, value: JSONValue)] = []
        for (index, part) in parts.enumerated() {
            let name = parts.count == 1 ? singleName : partName(index + 1, of: parts.count)
            let aligned = part.sorted {
                (-$0.tensor.dtype.size, $0.shard, $0.index) < (-$1.tensor.dtype.size, $1.shard, $1.index)
            }
            files.append(try weights(name, aligned, store))
            weightMap += part.map { ($0.tensor.name, .string(name)) }
        }
        files += SourceFiles.sideFiles(of: store).filter { !SourceFiles.isIndex($0.name) }
        if parts.count > 1 {
            let total = parts.joined().reduce(UInt64(0)) { $0 + $1.tensor.byteCount }
            let index: JSONValue = [
                "metadata": ["total_size": JSONValue(total)], "weight_map": .object(JSONObject(weightMap)),
            ]
            let bytes = index.canonicalBytes() + [0x0A]
            files.append(
                CheckpointFile(
                    name: singleName + ".index.json", size: UInt64(bytes.count), content: .small(.bytes(bytes)),
                    digest: nil))
        }
        try CheckpointFile.checkNames(files, manifest: store.location(of: Manifest.fileName))
        return files
    }

    /// Which tensors go into which file, in the order of the store.
    private static func parts(of manifest: Manifest, fileBytes: UInt64, usedOnly: Bool) -> [[Entry]] {
        var parts: [[Entry]] = [[]]
        var bytes: UInt64 = 0
        for (shard, entry) in manifest.shards.enumerated() {
            for (index, tensor) in entry.tensors.enumerated() where !usedOnly || tensor.unusedBecause == nil {
                if bytes + tensor.byteCount > fileBytes, !parts[parts.count - 1].isEmpty {
                    parts.append([])
                    bytes = 0
                }
                parts[parts.count - 1].append((shard, index, tensor))
                bytes += tensor.byteCount
            }
        }
        return parts
    }

    private static func partName(_ number: Int, of count: Int) -> String {
        func padded(_ value: Int) -> String {
            let digits = String(value)
            return String(repeating: "0", count: max(0, 5 - digits.count)) + digits
        }
        return "model-\(padded(number))-of-\(padded(count)).safetensors"
    }

    private static func weights(
        _ name: String, _ entries: [Entry], _ store: Store
    ) throws(LaminaError) -> CheckpointFile {
        var members: [(key: String, value: JSONValue)] = [("__metadata__", ["format": "pt"])]
        var places: [WeightFileLayout.Place] = []
        var end: UInt64 = 0
        for (shard, index, tensor) in entries {
            guard !tensor.name.utf8.elementsEqual("__metadata__".utf8) else {
                throw LaminaError(.malformed, store.path, "safetensors has no tensor of this name", tensor: tensor.name)
            }
            let start = end
            end += tensor.byteCount
            members.append(
                (
                    tensor.name,
                    [
                        "dtype": .string(tensor.dtype.rawValue),
                        "shape": .array(tensor.shape.dimensions.map { JSONValue($0) }),
                        "data_offsets": [JSONValue(start), JSONValue(end)],
                    ]
                ))
            places.append(WeightFileLayout.Place(shard: shard, tensor: index, bytes: start..<end))
        }
        let header = try header(JSONValue.object(JSONObject(members)), name)
        let offset = UInt64(header.count)
        let layout = WeightFileLayout(
            size: offset + end,
            places: places.map { place in
                var moved = place
                moved.bytes = (place.bytes.lowerBound + offset)..<(place.bytes.upperBound + offset)
                return moved
            })
        return CheckpointFile(
            name: name, size: layout.size, content: .weights(layout, other: .bytes(header)), digest: nil)
    }

    /// The length field and the header, padded with spaces so that the tensors begin at a multiple of 8.
    private static func header(_ value: JSONValue, _ name: String) throws(LaminaError) -> [UInt8] {
        var text = Array(value.text().utf8)
        text += [UInt8](repeating: UInt8(ascii: " "), count: roundedUp(text.count, to: 8) - text.count)
        guard text.count <= maximumHeaderBytes else {
            throw LaminaError(
                .limit, name, "the header would be too large", expected: "at most \(maximumHeaderBytes) bytes",
                found: "\(text.count)", hint: "write more and smaller files")
        }
        return (0..<8).map { UInt8(truncatingIfNeeded: text.count >> (8 * $0)) } + text
    }
}
