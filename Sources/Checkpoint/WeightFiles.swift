import TensorCore

/// The files of a checkpoint's weights and the rule that decides which: safetensors before torch's own, an index before
/// a single file. All contradictions are listed at once, not one per run.
struct WeightFiles {
    /// The names under which weights of one kind are published.
    private struct Kind {
        var single: String
        var index: String
        /// Files with these ends that the index does not name are leftovers of another download.
        var prefix: String
        var suffix: String

        func isAmong(_ names: [String]) -> Bool { names.contains(single) || names.contains(index) }
        func isPart(_ name: String) -> Bool { name.hasPrefix(prefix) && name.hasSuffix(suffix) }
    }

    private static let safetensors = Kind(
        single: "model.safetensors", index: "model.safetensors.index.json", prefix: "model", suffix: ".safetensors")
    private static let torch = Kind(
        single: "pytorch_model.bin", index: "pytorch_model.bin.index.json", prefix: "pytorch_model", suffix: ".bin")
    private static let kinds = [safetensors, torch]

    /// Checkpoints have at most a few hundred files.
    static let maximumFiles = 100_000
    /// All tensors' bytes together: far above any model, and sums of sizes stay far from overflow. Torch's files can
    /// name one storage many times.
    private static let maximumTensorBytes: UInt64 = 1 << 60

    let files: [WeightFile]
    let warnings: [String]

    init(
        folder: String, names present: [String], deleted: [DeletedWeightFile], resolver: LinkResolver,
        in fileSystem: any FileSystem
    ) throws(LaminaError) {
        let deleted = deleted.filter { !present.contains($0.name) }
        let names = (present + deleted.map(\.name)).sorted()
        guard let kind = WeightFiles.kinds.first(where: { $0.isAmong(names) }) else {
            throw WeightFiles.nothingUsable(folder, names)
        }
        func open(_ name: String) throws(LaminaError) -> WeightFile {
            if let known = deleted.first(where: { $0.name.utf8.elementsEqual(name.utf8) }) {
                return WeightFile(deleted: known, path: folder + "/" + name)
            }
            try resolver.check(name)
            return try WeightFile(name: name, path: folder + "/" + name, in: fileSystem)
        }
        var files: [WeightFile] = []
        var warnings: [String] = []
        if kind.index != WeightFiles.torch.index, WeightFiles.torch.isAmong(names) {
            warnings.append(
                "the folder holds \(kind.suffix) and \(WeightFiles.torch.suffix) weights; the former are read")
        }
        if names.contains(kind.index) {
            try resolver.check(kind.index)
            let path = folder + "/" + kind.index
            let index = try WeightIndex(
                try fileSystem.readWhole(path, limit: CheckpointFolder.maximumIndexBytes), suffix: kind.suffix,
                file: path)
            try WeightFiles.checkPresence(of: index.files, names: names, folder: folder)
            for name in index.files { files.append(try open(name)) }
            try WeightFiles.checkTotal(files, folder: folder)
            let strays = names.filter { kind.isPart($0) && !index.files.contains($0) }
            try WeightFiles.checkAgreement(index, files, strays: strays, path: path)
            warnings += WeightFiles.wrongTotal(index, files).map { "\(kind.index): \($0)" }
        } else {
            files.append(try open(kind.single))
            try WeightFiles.checkTotal(files, folder: folder)
        }
        for file in files { warnings += file.notes.map { "\(file.name): \($0)" } }
        self.files = files
        self.warnings = warnings
    }

    private static func checkPresence(of files: [String], names: [String], folder: String) throws(LaminaError) {
        let present = Set(names)
        let missing = files.filter { !present.contains($0) }
        guard missing.isEmpty else {
            throw LaminaError(
                .missing, folder,
                "the index names files that are not here: \(missing.prefix(20).joined(separator: ", "))",
                hint: "download the missing files")
        }
    }

    private static func checkAgreement(
        _ index: WeightIndex, _ files: [WeightFile], strays: [String], path: String
    ) throws(LaminaError) {
        let problems =
            strays.map { "\($0) is in the folder but not in the index" } + index.contradictions(with: files)
        guard problems.isEmpty else {
            let more = problems.count > 20 ? "; and \(problems.count - 20) more" : ""
            throw LaminaError(
                .malformed, path,
                "the index and the files contradict each other: " + problems.prefix(20).joined(separator: "; ") + more,
                hint: "remove leftovers of another download, or download again")
        }
    }

    /// What is wrong with the index' `total_size`. Tensors that share their bytes are counted once or each, depending on
    /// who wrote it.
    private static func wrongTotal(_ index: WeightIndex, _ files: [WeightFile]) -> [String] {
        let once = files.reduce(UInt64(0)) { $0 + $1.tensorBytes }
        let each = files.reduce(UInt64(0)) { $0 + $1.summedTensorBytes }
        guard let stated = index.totalSize, stated != once, stated != each else { return [] }
        return ["total_size says \(stated), the files hold \(once) bytes"]
    }

    private static func checkTotal(_ files: [WeightFile], folder: String) throws(LaminaError) {
        var total: UInt64 = 0
        guard files.reduce(0, { $0 + $1.tensors.count }) <= SafetensorsHeader.maximumTensors else {
            throw LaminaError(
                .limit, folder, "too many tensors", expected: "at most \(SafetensorsHeader.maximumTensors) in all")
        }
        for file in files {
            guard let sum = Checked.add(total, file.summedTensorBytes), sum <= maximumTensorBytes else {
                throw LaminaError(
                    .limit, folder, "the tensors are too large", expected: "at most \(maximumTensorBytes) bytes in all")
            }
            total = sum
        }
    }

    /// The most helpful thing to say of a folder without weights that are read.
    private static func nothingUsable(_ folder: String, _ names: [String]) -> LaminaError {
        func has(_ matches: (String) -> Bool) -> Bool { names.contains(where: matches) }
        let expected = "\(safetensors.single), \(torch.single) or an index of several such files"
        if names.isEmpty { return LaminaError(.missing, folder, "the folder is empty", expected: expected) }
        let parts = names.filter { name in kinds.contains { $0.isPart(name) } }
        guard parts.isEmpty else {
            return LaminaError(
                .missing, folder, "weights in several files, but no index of them", expected: expected,
                found: parts.prefix(5).joined(separator: ", "), hint: "download the index too")
        }
        let found: (String, String)? =
            if has({ $0.hasSuffix(".gguf") }) {
                ("a GGUF file", "use the original safetensors checkpoint")
            } else if has({ $0 == "adapter_config.json" || $0.hasPrefix("adapter_model") }) {
                ("a LoRA adapter", "merge the adapter into its base model first")
            } else {
                nil
            }
        if let (what, hint) = found {
            return LaminaError(
                .malformed, folder, "unsupported kind of checkpoint", expected: expected, found: what, hint: hint)
        }
        return LaminaError(
            .missing, folder, "no weights found", expected: expected, found: names.prefix(10).joined(separator: ", "))
    }
}
