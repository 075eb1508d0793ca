import Checkpoint
import Inference
import LayerStore
import StoreWriter
import TensorCore
import Text

/// Joins a checkpoint with the architecture table: what goes where, and what is kept beside it.
struct ConversionPlanner {
    let checkpoint: CheckpointFolder
    /// `nil`: the standard codec of each dtype.
    let codec: (any Codec)?
    let chunkBytes: Int
    /// What is quantized, and how; `nil` for a lossless store.
    var policy: QuantizationPolicy?

    /// Files kept in `side/` if they are there, with the largest size accepted. Tokenizers run to tens of megabytes.
    private static let sideFiles: [(name: String, limit: Int)] = [
        ("config.json", 16_000_000), ("generation_config.json", 16_000_000), ("tokenizer.json", 100_000_000),
        ("tokenizer.model", 100_000_000), ("qwen.tiktoken", 100_000_000), ("tokenizer_config.json", 16_000_000),
        ("special_tokens_map.json", 16_000_000), ("added_tokens.json", 16_000_000),
        ("chat_template.jinja", 16_000_000), ("chat_template.json", 16_000_000),
        ("model.safetensors.index.json", 100_000_000),
        ("pytorch_model.bin.index.json", 100_000_000),
    ]

    /// The plan, and what the user should know. Throws `.malformed`, `.missing`, `.io`.
    func plan() throws(LaminaError) -> (plan: ConversionPlan, notes: [String]) {
        let (architecture, definition) = try Architectures.detect(
            config: checkpoint.config, file: checkpoint.configPath)
        var notes = checkpoint.warnings
        let places = checkpoint.files.indices.flatMap { file in
            checkpoint.files[file].tensors.map { (file: file, tensor: $0) }
        }
        let layers = try LayerPlan(
            architecture: architecture, definition,
            tensors: places.map {
                CheckpointTensor(name: $0.tensor.name, dtype: $0.tensor.dtype, shape: $0.tensor.shape)
            },
            file: checkpoint.path)
        if !layers.unknown.isEmpty {
            notes.append(
                "\(layers.unknown.count) tensors are not in the table of \(architecture.name); they are stored, but not "
                    + "used: \(layers.unknown.prefix(5).joined(separator: ", "))")
        }
        notes += try TiedWeights(checkpoint: checkpoint).mismatches(definition.ties)
        let targets = try targets(layers, places.map(\.tensor), definition)
        let shards = layers.shards.map { shard in
            ConversionPlan.Shard(
                layer: shard.layer,
                tensors: shard.entries.map { entry in
                    let (file, tensor) = places[entry.tensor]
                    return job(entry, tensor, file, target: targets[entry.tensor])
                })
        }
        let side = try readSideFiles(notes: &notes)
        let source = Manifest.Source(
            files: checkpoint.files.map { file in
                Manifest.Source.File(
                    path: file.name, format: sourceFormat(file.format), size: file.size,
                    header: "side/source/\(file.name).header", dataOffset: file.dataOffset)
            })
        let headers = checkpoint.files.map { (name: "source/\($0.name).header", bytes: $0.otherBytes) }
        let plan = ConversionPlan(
            architecture: architecture.name, chunkBytes: chunkBytes, source: source, shards: shards,
            tied: layers.tied, sideFiles: side + headers, sourceFolder: try sourceFolder(), originals: try originals())
        return (plan, notes)
    }

    /// Absolute, without links. Throws `.missing`.
    private func sourceFolder() throws(LaminaError) -> String {
        guard case .success(let folder) = checkpoint.fileSystem.canonicalPath(checkpoint.path) else {
            throw LaminaError(.missing, checkpoint.path, "no such folder")
        }
        return folder
    }

    /// What the weight files are now. A file that was deleted has its entry in the record of the run that did it.
    private func originals() throws(LaminaError) -> [OriginalsRecord.File] {
        let folder = try sourceFolder()
        var files: [OriginalsRecord.File] = []
        for file in checkpoint.files {
            var entry = OriginalsRecord.File(path: file.name, identity: OriginalsRecord.Identity(of: file))
            let path = folder + "/" + file.name
            if case .success(let target) = checkpoint.fileSystem.canonicalPath(path), target != path {
                entry.target = target
            }
            files.append(entry)
        }
        return files
    }

    private func sourceFormat(_ format: WeightFormat) -> Manifest.Source.Format {
        switch format {
        case .safetensors: .safetensors
        case .torchArchive: .torchArchive
        case .torchStream: .torchStream
        }
    }

    /// What the checkpoint's tensors become, by their index; exact ones are left out.
    private func targets(
        _ layers: LayerPlan, _ tensors: [SourceTensor], _ definition: ModelDefinition
    ) throws(LaminaError) -> [Int: QuantizationTarget] {
        guard let policy else { return [:] }
        let entries = layers.shards.flatMap(\.entries)
        let targets = try policy.targets(
            for: entries.map { entry in
                let tensor = tensors[entry.tensor]
                return QuantizationPolicy.Candidate(
                    name: tensor.name, storedName: entry.storedName, dtype: tensor.dtype, shape: tensor.shape,
                    isUnused: entry.unusedBecause != nil)
            }, of: definition)
        var found: [Int: QuantizationTarget] = [:]
        for (entry, target) in zip(entries, targets) { found[entry.tensor] = target }
        return found
    }

    private func job(
        _ entry: LayerPlan.Entry, _ tensor: SourceTensor, _ fileIndex: Int, target: QuantizationTarget?
    ) -> TensorJob {
        let file = checkpoint.files[fileIndex]
        let begin = tensor.bytes.lowerBound
        var job = TensorJob(
            name: tensor.name, storedName: entry.storedName, dtype: tensor.dtype, shape: tensor.shape,
            layout: target == nil ? entry.layout : .panel16, codec: target?.scheme ?? codec(for: entry, tensor),
            chunkBytes: chunkBytes, sourceFile: fileIndex, sourceOffset: begin, unusedBecause: entry.unusedBecause
        ) { (pages, range) throws(LaminaError) in
            try file.read((begin + range.lowerBound)..<(begin + range.upperBound), intoPages: pages)
        }
        job.quantization.rate = target?.bits.map { .bits($0) }
        return job
    }

    /// Unused tensors are stored raw: they are never read again. So are vectors: a few kilobytes, which every plane
    /// of their own would round up to a page.
    private func codec(for entry: LayerPlan.Entry, _ tensor: SourceTensor) -> any Codec {
        if entry.unusedBecause != nil || tensor.shape.dimensions.count < 2 { return RawCodec() }
        guard let codec, codec.dtype == nil || codec.dtype == tensor.dtype else {
            return Codecs.standard(for: tensor.dtype)
        }
        return codec
    }

    /// The side files there are. The tokenizer is read as run will read it, so that a problem shows now and not at the
    /// first prompt.
    private func readSideFiles(notes: inout [String]) throws(LaminaError) -> [(name: String, bytes: [UInt8])] {
        var files: [(name: String, bytes: [UInt8])] = []
        for (name, limit) in ConversionPlanner.sideFiles {
            if let bytes = try checkpoint.sideFile(name, limit: limit) { files.append((name, bytes)) }
        }
        let tokenizer = try Tokenizer(folder: checkpoint.path) { (name) throws(LaminaError) in
            files.first { $0.name.utf8.elementsEqual(name.utf8) }?.bytes
        }
        if tokenizer == nil {
            notes.append(
                "the checkpoint has no tokenizer.json, tokenizer.model or qwen.tiktoken: the store runs with --ids only"
            )
        }
        return files
    }
}

extension OriginalsRecord.Identity {
    fileprivate init(of file: WeightFile) {
        if let facts = file.facts {
            self.init(facts)
        } else {
            self.init(device: 0, inode: 0, size: file.size, modified: 0, changed: 0)
        }
    }
}
