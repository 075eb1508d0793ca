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
        var scanner = JSONScanner(bytes)
        var map: [(tensor: String, file: String)]?
        var totalSize: UInt64?
        var members: Set<[UInt8]> = []
        do throws(LaminaError) {
            guard try scanner.peekKind() == .object else { throw LaminaError(.malformed, "", "not a JSON object") }
            try scanner.scanObjectBytes { (key, scanner) throws(LaminaError) in
                guard members.insert(Array(key)).inserted else { throw scanner.failure("duplicate key") }
                if key.elementsEqual("weight_map".utf8) {
                    map = try WeightIndex.scanMap(&scanner, suffix: suffix)
                } else if key.elementsEqual("metadata".utf8) {
                    totalSize = try JSONValue(scanning: &scanner).object?["total_size"]?.unsignedInteger
                } else {
                    try scanner.skipValue()
                }
            }
            try scanner.finish()
        } catch {
            throw error.about(file)
        }
        guard let map else { throw LaminaError(.malformed, file, "no \"weight_map\" object") }
        files = Array(Set(map.map(\.file))).sorted()
        guard !files.isEmpty, files.count <= WeightFiles.maximumFiles else {
            throw LaminaError(.malformed, file, "the weight map names no file, or too many")
        }
        entries = map
        self.totalSize = totalSize
    }

    /// Entry by entry, since a tree of a hostile index would be many times its size.
    private static func scanMap(
        _ scanner: inout JSONScanner, suffix: String
    ) throws(LaminaError) -> [(tensor: String, file: String)] {
        guard try scanner.peekKind() == .object else { throw scanner.failure("\"weight_map\" is not an object") }
        var entries: [(tensor: String, file: String)] = []
        var tensors: Set<[UInt8]> = []
        // Most entries name the file that the one before named: one string for all of them.
        var last = ""
        try scanner.scanObjectBytes { (key, scanner) throws(LaminaError) in
            try TensorName.check(key)
            let tensor = String(decoding: key, as: UTF8.self)
            guard tensors.count < SafetensorsHeader.maximumTensors else {
                throw LaminaError(
                    .malformed, "", "the weight map lists more than \(SafetensorsHeader.maximumTensors) tensors")
            }
            guard tensors.insert(Array(key)).inserted else {
                throw LaminaError(.malformed, "", "the weight map lists the name twice", tensor: tensor)
            }
            let value = try JSONValue(scanning: &scanner)
            guard let name = value.string, isPlainFileName(name, suffix: suffix) else {
                throw LaminaError(
                    .malformed, "", "the weight map names something that is no plain file name",
                    expected: "a name like model-00001-of-00002\(suffix)", found: value.summary, tensor: tensor)
            }
            if !last.utf8.elementsEqual(name.utf8) { last = name }
            entries.append((tensor, last))
        }
        return entries
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
