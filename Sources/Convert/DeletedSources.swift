import Checkpoint
import LayerStore
import StoreWriter
import TensorCore

/// Source files that an interrupted conversion deleted, as a checkpoint's reader knows files.
enum DeletedSources {
    /// Those the store at `path` stands for. Throws `.damaged`, `.io`.
    static func files(of path: String, in fileSystem: any FileSystem) throws(LaminaError) -> [DeletedWeightFile] {
        try InterruptedConversion(at: path, in: fileSystem).deleted.map { original in
            DeletedWeightFile(
                name: original.file.path, format: WeightFormat(original.file.format), size: original.file.size,
                dataOffset: original.file.dataOffset, otherBytes: original.otherBytes,
                tensors: original.tensors.map { tensor in
                    SourceTensor(
                        name: tensor.name, dtype: tensor.dtype, shape: tensor.shape,
                        bytes: tensor.sourceOffset..<(tensor.sourceOffset + tensor.byteCount))
                })
        }
    }
}

extension WeightFormat {
    init(_ format: Manifest.Source.Format) {
        self =
            switch format {
            case .safetensors: .safetensors
            case .torchArchive: .torchArchive
            case .torchStream: .torchStream
            }
    }
}

/// A checkpoint's files for a conversion that reads and maybe deletes them.
final class CheckpointSource: ConversionSource {
    private let files: [WeightFile]

    init(_ checkpoint: CheckpointFolder) { files = checkpoint.files }

    func checkUnchanged(_ index: Int) throws(LaminaError) { try files[index].checkUnchanged() }
    func release(_ index: Int) { files[index].release() }
}
