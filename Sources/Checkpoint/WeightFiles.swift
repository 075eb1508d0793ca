import TensorCore

/// The safetensors files of a checkpoint and the rule that decides which: the index if there is one, else
/// `model.safetensors`. All contradictions are listed at once, not one per run.
struct WeightFiles {
    static let single = "model.safetensors"
    static let index = "model.safetensors.index.json"
    /// Checkpoints have at most a few hundred files.
    static let maximumFiles = 100_000

    let files: [WeightFile]
    let warnings: [String]

    init(
        folder: String, names: [String], resolver: LinkResolver, in fileSystem: any FileSystem
    ) throws(LaminaError) {
        guard names.contains(WeightFiles.index) else {
            guard names.contains(WeightFiles.single) else { throw WeightFiles.nothingUsable(folder, names) }
            try resolver.check(WeightFiles.single)
            files = [
                try WeightFile(name: WeightFiles.single, path: folder + "/" + WeightFiles.single, in: fileSystem)
            ]
            warnings = []
            return
        }
        let indexPath = folder + "/" + WeightFiles.index
        try resolver.check(WeightFiles.index)
        let index = try WeightIndex(
            try fileSystem.readWhole(indexPath, limit: CheckpointFolder.maximumIndexBytes), file: indexPath)
        let strays = names.filter { name in
            name.hasPrefix("model") && name.hasSuffix(".safetensors") && !index.files.contains(name)
        }
        var problems = strays.map { "\($0) is in the folder but not in the index" }
        let missing = index.files.filter { !names.contains($0) }
        guard missing.isEmpty else {
            throw LaminaError(
                .missing, folder,
                "the index names files that are not here: \(missing.prefix(20).joined(separator: ", "))",
                hint: "download the missing files")
        }
        var files: [WeightFile] = []
        for name in index.files {
            try resolver.check(name)
            files.append(try WeightFile(name: name, path: folder + "/" + name, in: fileSystem))
        }
        problems += index.contradictions(with: files)
        guard problems.isEmpty else {
            let more = problems.count > 20 ? "; and \(problems.count - 20) more" : ""
            throw LaminaError(
                .malformed, indexPath,
                "the index and the files contradict each other: " + problems.prefix(20).joined(separator: "; ") + more,
                hint: "remove leftovers of another download, or download again")
        }
        self.files = files
        let total = files.reduce(UInt64(0)) { $0 + $1.tensorBytes }
        if let stated = index.totalSize, stated != total {
            warnings = ["\(WeightFiles.index): total_size says \(stated), the files hold \(total) bytes"]
        } else {
            warnings = []
        }
    }

    /// The most helpful thing to say of a folder without safetensors weights.
    private static func nothingUsable(_ folder: String, _ names: [String]) -> LaminaError {
        func has(_ matches: (String) -> Bool) -> Bool { names.contains(where: matches) }
        if names.isEmpty { return LaminaError(.missing, folder, "the folder is empty", expected: single) }
        let found: (String, String)? =
            if has({ $0.hasPrefix("pytorch_model") && $0.hasSuffix(".bin") }) {
                ("pytorch_model.bin files", "save the model as safetensors; .bin files are not read by this version")
            } else if has({ $0.hasSuffix(".gguf") }) {
                ("a GGUF file", "use the original safetensors checkpoint")
            } else if has({ $0 == "adapter_config.json" || $0.hasPrefix("adapter_model") }) {
                ("a LoRA adapter", "merge the adapter into its base model first")
            } else {
                nil
            }
        if let (what, hint) = found {
            return LaminaError(
                .malformed, folder, "unsupported kind of checkpoint", expected: "\(single) or \(index)", found: what,
                hint: hint)
        }
        return LaminaError(
            .missing, folder, "no weights found", expected: "\(single) or \(index)",
            found: names.prefix(10).joined(separator: ", "))
    }
}

/// `model.safetensors.index.json`: which tensor is in which file.
struct WeightIndex {
    /// Tensor name → file, in the order of the document.
    let entries: [(tensor: String, file: String)]
    /// Distinct file names, sorted.
    let files: [String]
    let totalSize: UInt64?

    init(_ bytes: [UInt8], file: String) throws(LaminaError) {
        var entries: [(tensor: String, file: String)] = []
        var totalSize: UInt64?
        do throws(LaminaError) {
            guard let document = try JSONValue.parse(bytes).object, let map = document["weight_map"]?.object else {
                throw LaminaError(.malformed, "", "no \"weight_map\" object")
            }
            for (tensor, value) in map.members {
                guard let name = value.string, WeightIndex.isPlainFileName(name) else {
                    throw LaminaError(
                        .malformed, "", "the weight map names something that is no plain file name",
                        expected: "a name like model-00001-of-00002.safetensors", found: value.summary, tensor: tensor)
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
    static func isPlainFileName(_ name: String) -> Bool {
        let suffix = ".safetensors"
        guard name.utf8.count <= 255, name.hasSuffix(suffix), name.utf8.count > suffix.utf8.count else { return false }
        guard !name.hasPrefix("."), !name.hasPrefix("-") else { return false }
        return name.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
                true
            default: false
            }
        }
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
