import LayerStore
import TensorCore

/// The files of the checkpoint a store was made from, as the manifest describes them: checked before anything is written
/// under names, and at offsets, that somebody else chose.
public struct SourceFiles: Sendable {
    private let store: Store
    private let manifestPath: String
    private let sideSizes: [[UInt8]: UInt64]

    /// Every file in the order in which restoring writes them: weights, side files, indexes.
    ///
    /// Throws `.malformed` for names or offsets no checkpoint has, and for a store that is not lossless; `.io`.
    public static func all(of store: Store) throws(LaminaError) -> [CheckpointFile] {
        try requireLossless(store.manifest, path: store.path)
        let source = SourceFiles(store)
        let originals = try OriginalsRecord.read(in: store.path, store.fileSystem)
        var files: [CheckpointFile] = []
        for index in store.manifest.source.files.indices { files.append(try source.weights(index, originals)) }
        files += sideFiles(of: store)
        try CheckpointFile.checkNames(files, manifest: source.manifestPath)
        return files
    }

    private init(_ store: Store) {
        self.store = store
        manifestPath = store.location(of: Manifest.fileName)
        sideSizes = Dictionary(
            uniqueKeysWithValues: store.manifest.sideFiles.map { (Array($0.path.utf8), $0.size) })
    }

    /// Refuses a store with a tensor whose codec does not give the source's bytes back, or is not among `codecs`. Throws
    /// `.malformed`.
    public static func requireLossless(
        _ manifest: Manifest, path: String, codecs: [any Codec] = Codecs.all
    ) throws(LaminaError) {
        for tensor in manifest.shards.flatMap(\.tensors) {
            let codec = codecs.first { $0.name.utf8.elementsEqual(tensor.codec.utf8) }
            guard codec?.isLossless == true else {
                throw LaminaError(
                    .malformed, path, "the store is not lossless: the original's bytes cannot be had from it",
                    found: "the codec \(tensor.codec)", hint: "lamina-convert export writes the weights it does hold",
                    tensor: tensor.name)
            }
        }
    }

    /// The checkpoint's small files, indexes last: a checkpoint is complete when its index is there.
    static func sideFiles(of store: Store) -> [CheckpointFile] {
        let kept = store.manifest.sideFiles.filter { !$0.path.utf8.starts(with: "side/source/".utf8) }
        let files = kept.map { file in
            let name = String(file.path.dropFirst("side/".count))
            return CheckpointFile(
                name: name, size: file.size, content: .small(.sideFile(name)), digest: file.digest)
        }
        return files.filter { !isIndex($0.name) } + files.filter { isIndex($0.name) }
    }

    /// Whether a side file says in which files of weights the tensors are.
    static func isIndex(_ name: String) -> Bool { name.hasSuffix(".index.json") }

    private func failure(
        _ file: Manifest.Source.File, _ problem: String, tensor: String? = nil, expected: String? = nil,
        found: String? = nil
    ) -> LaminaError {
        LaminaError(
            .malformed, manifestPath, "\(file.path): \(problem)", expected: expected, found: found, tensor: tensor)
    }

    private func weights(_ index: Int, _ originals: OriginalsRecord?) throws(LaminaError) -> CheckpointFile {
        let file = store.manifest.source.files[index]
        let suffix = file.format == .safetensors ? ".safetensors" : ".bin"
        guard file.path.hasSuffix(suffix) else {
            throw failure(file, "the name of a file of weights", expected: "one that ends with \(suffix)")
        }
        let layout = WeightFileLayout(size: file.size, places: try places(in: file, index))
        if let place = layout.sharing.first(where: { !layout.places[$0].bytes.isEmpty }), file.format == .safetensors {
            throw failure(file, "the tensor overlaps another", tensor: name(of: layout.places[place]))
        }
        try checkEqualRanges(layout, file)
        guard let otherSize = sideSizes[Array(file.header.utf8)] else {
            throw failure(file, "\(file.header) is not among the side files")
        }
        guard otherSize == layout.otherCount, file.format != .safetensors || otherSize == file.dataOffset else {
            throw failure(
                file, "tensors and other bytes do not make up the file",
                expected: "\(layout.otherCount) bytes in \(file.header)", found: "\(otherSize)")
        }
        return CheckpointFile(
            name: file.path, size: file.size,
            content: .weights(layout, other: .sideFile(String(file.header.dropFirst("side/".count)))),
            digest: originals?[file.path]?.digest)
    }

    private func places(
        in file: Manifest.Source.File, _ fileIndex: Int
    ) throws(LaminaError) -> [WeightFileLayout.Place] {
        var places: [WeightFileLayout.Place] = []
        for (shard, entry) in store.manifest.shards.enumerated() {
            for (index, tensor) in entry.tensors.enumerated() where tensor.sourceFile == fileIndex {
                guard let first = Checked.add(file.dataOffset, tensor.sourceOffset),
                    let end = Checked.add(first, tensor.byteCount), end <= file.size
                else {
                    throw failure(
                        file, "the tensor does not lie in the file", tensor: tensor.name,
                        expected: "at most \(file.size) bytes",
                        found: "\(tensor.byteCount) from \(tensor.sourceOffset) on")
                }
                places.append(WeightFileLayout.Place(shard: shard, tensor: index, bytes: first..<end))
            }
        }
        return places
    }

    private func tensor(_ place: WeightFileLayout.Place) -> Manifest.Tensor {
        store.manifest.shards[place.shard].tensors[place.tensor]
    }

    private func name(of place: WeightFileLayout.Place) -> String { tensor(place).name }

    /// Tensors at the same place must have the same digest. Those that overlap otherwise are compared byte by byte when
    /// the file is made.
    private func checkEqualRanges(_ layout: WeightFileLayout, _ file: Manifest.Source.File) throws(LaminaError) {
        for (one, other) in zip(layout.places, layout.places.dropFirst()) where one.bytes == other.bytes {
            guard tensor(one).digest == tensor(other).digest else {
                throw failure(
                    file, "the tensor has the bytes of \(name(of: one)), and another digest", tensor: name(of: other))
            }
        }
    }
}
