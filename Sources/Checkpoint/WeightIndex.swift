import TensorCore

/// `model.safetensors.index.json` or `pytorch_model.bin.index.json`: which tensor is in which file.
struct WeightIndex {
    /// Tensor name → file, in the order of the document.
    let entries: [(tensor: String, file: String)]
    /// Distinct file names, sorted.
    let files: [String]
    let totalSize: UInt64?

    /// `suffix` is what every file's name must end with.
    init(_ bytes: [UInt8], suffix: String, file: String) throws(LaminaError) {
        var entries: [(tensor: String, file: String)] = []
        var totalSize: UInt64?
        do throws(LaminaError) {
            guard let document = try JSONValue.parse(bytes).object, let map = document["weight_map"]?.object else {
                throw LaminaError(.malformed, "", "no \"weight_map\" object")
            }
            for (tensor, value) in map.members {
                guard let name = value.string, WeightIndex.isPlainFileName(name, suffix: suffix) else {
                    throw LaminaError(
                        .malformed, "", "the weight map names something that is no plain file name",
                        expected: "a name like model-00001-of-00002\(suffix)", found: value.summary, tensor: tensor)
                }
                entries.append((tensor, name))
            }
            totalSize = document["metadata"]?.object?["total_size"]?.unsignedInteger
        } catch {
            throw error.about(file)
        }
        files = Array(Set(entries.map(\.file))).sorted()
        guard !files.isEmpty, files.count <= WeightFiles.maximumFiles else {
            throw LaminaError(.malformed, file, "the weight map names no file, or too many")
        }
        self.entries = entries
        self.totalSize = totalSize
    }

    /// A name that is a file of this folder on any system: no separator, no `..`, no escape, no device.
    static func isPlainFileName(_ name: String, suffix: String) -> Bool {
        guard name.utf8.count <= 255, name.hasSuffix(suffix), name.utf8.count > suffix.utf8.count else { return false }
        guard !name.hasPrefix("."), !name.hasPrefix("-") else { return false }
        return name.utf8.allSatisfy(PlainName.has)
    }

    /// Tensors that the index and the files do not agree on.
    func contradictions(with files: [WeightFile]) -> [String] {
        var problems: [String] = []
        var places: [[UInt8]: String] = [:]
        for file in files {
            for tensor in file.tensors {
                let key = Array(tensor.name.utf8)
                if let other = places[key] {
                    problems.append("\(escapedForDisplay(tensor.name)) is in \(other) and in \(file.name)")
                } else {
                    places[key] = file.name
                }
            }
        }
        for entry in entries {
            guard let place = places.removeValue(forKey: Array(entry.tensor.utf8)) else {
                problems.append("\(entry.file) lacks \(escapedForDisplay(entry.tensor))")
                continue
            }
            if place != entry.file {
                problems.append("\(escapedForDisplay(entry.tensor)) is in \(place), not in \(entry.file)")
            }
        }
        let unlisted = places.map { (String(decoding: $0.key, as: UTF8.self), $0.value) }.sorted { $0.0 < $1.0 }
        problems += unlisted.map { "\($0.1) holds \(escapedForDisplay($0.0)), which the index does not list" }
        return problems
    }
}
