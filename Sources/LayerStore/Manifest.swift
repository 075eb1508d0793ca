import CKernels
import TensorCore

/// What a store is: written last, so that a store exists if and only if its manifest does. Schema:
/// formats/manifest.schema.json; meaning: formats/layer-store.md.
public struct Manifest: Sendable {
    public static let fileName = "manifest.json"
    public static let format = "lamina-layer-store"
    public static let version = 1
    /// No manifest is larger: a million tensors need about a third of it.
    public static let maximumBytes = 1 << 30

    public var tool: Tool
    /// Architecture name in Lamina's table, e.g. `llama`.
    public var architecture: String
    /// Chunk target size in bytes that the store was written with.
    public var chunkBytes: Int
    public var source: Source
    public var shards: [Shard]
    /// Tensors the checkpoint leaves out because they equal a stored one: source name → stored source name.
    public var tied: [Tie]
    /// Files kept beside the weights: config, tokenizer, source headers.
    public var sideFiles: [SideFile]

    public init(
        tool: Tool, architecture: String, chunkBytes: Int, source: Source, shards: [Shard], tied: [Tie],
        sideFiles: [SideFile]
    ) {
        self.tool = tool
        self.architecture = architecture
        self.chunkBytes = chunkBytes
        self.source = source
        self.shards = shards
        self.tied = tied
        self.sideFiles = sideFiles
    }

    /// Who wrote the store: versions of Lamina and of the libraries whose bytes are in it.
    public struct Tool: Sendable, Equatable {
        public var version: String
        public var zstd: String
        public var hdf5: String

        public init(version: String, zstd: String, hdf5: String) {
            self.version = version
            self.zstd = zstd
            self.hdf5 = hdf5
        }
    }

    /// The checkpoint the store was made from; with the shards and `side/source` it can be rebuilt byte for byte.
    public struct Source: Sendable, Equatable {
        public var files: [File]

        public init(files: [File]) { self.files = files }

        /// What a file of weights is. Torch's tensors can lie anywhere in it, and share bytes; those of safetensors
        /// follow its header without holes.
        public enum Format: String, Sendable, CaseIterable {
            case safetensors
            case torchArchive = "torch-zip"
            case torchStream = "torch-stream"
        }

        /// One file of weights.
        public struct File: Sendable, Equatable {
            /// Relative to the checkpoint folder.
            public var path: String
            public var format: Format
            /// Bytes in all.
            public var size: UInt64
            /// Side file with every byte that belongs to no tensor, in order.
            public var header: String
            /// From where on the tensors' offsets count: behind the header of safetensors, 0 for torch's files.
            public var dataOffset: UInt64

            public init(
                path: String, format: Format = .safetensors, size: UInt64, header: String, dataOffset: UInt64
            ) {
                self.path = path
                self.format = format
                self.size = size
                self.header = header
                self.dataOffset = dataOffset
            }
        }
    }

    /// One shard file.
    public struct Shard: Sendable, Equatable {
        /// Relative to the store, POSIX: `layers/0000.h5`.
        public var path: String
        /// `embedding`, `0`, `1`, …, `head`, `unused`.
        public var layer: String
        public var size: UInt64
        public var digest: SHA256Digest
        /// In the order of the shard's own table.
        public var tensors: [Tensor]

        public init(path: String, layer: String, size: UInt64, digest: SHA256Digest, tensors: [Tensor]) {
            self.path = path
            self.layer = layer
            self.size = size
            self.digest = digest
            self.tensors = tensors
        }
    }

    /// One tensor: where it came from and where it is.
    public struct Tensor: Sendable, Equatable {
        /// The checkpoint's name for it.
        public var name: String
        /// The shard's name for it: `*` instead of the layer index.
        public var storedName: String
        public var dtype: DType
        public var shape: Shape
        public var layout: TensorLayout
        /// Codec name, e.g. `exp-huf`.
        public var codec: String
        /// Index into `source.files`, and the tensor's first byte in that file's data part.
        public var sourceFile: Int
        public var sourceOffset: UInt64
        /// Of the source's bytes, in the source's order.
        public var digest: SHA256Digest
        /// Why run does not use it; `nil` for tensors it does.
        public var unusedBecause: String?
        /// What quantization cost; `nil` for tensors stored losslessly.
        public var quantization: Quantization?

        public init(
            name: String, storedName: String, dtype: DType, shape: Shape, layout: TensorLayout, codec: String,
            sourceFile: Int, sourceOffset: UInt64, digest: SHA256Digest, unusedBecause: String? = nil,
            quantization: Quantization? = nil
        ) {
            self.name = name
            self.storedName = storedName
            self.dtype = dtype
            self.shape = shape
            self.layout = layout
            self.codec = codec
            self.sourceFile = sourceFile
            self.sourceOffset = sourceOffset
            self.digest = digest
            self.unusedBecause = unusedBecause
            self.quantization = quantization
        }

        /// Bytes in the source.
        public var byteCount: UInt64 { UInt64(shape.elementCount) * UInt64(dtype.size) }
    }

    /// How far a quantized tensor is from its source.
    public struct Quantization: Sendable, Equatable {
        /// Norm of the difference over the norm of the source (Frobenius); 0 for a tensor of zeros.
        public var relativeError: Double
        /// Step over the root mean square of a row, for `ecq`.
        public var step: Double?

        public init(relativeError: Double, step: Double? = nil) {
            self.relativeError = relativeError
            self.step = step
        }

        /// Signal-to-noise ratio in dB, `nil` where there is no noise.
        public var signalToNoise: Double? {
            relativeError > 0 ? 0 - 20 * lamina_log(relativeError) / lamina_log(10) : nil
        }
    }

    /// A tensor that is another one.
    public struct Tie: Sendable, Equatable {
        public var name: String
        public var target: String

        public init(name: String, target: String) {
            self.name = name
            self.target = target
        }
    }

    /// A small file kept with its digest.
    public struct SideFile: Sendable, Equatable {
        /// Relative to the store, POSIX: `side/config.json`.
        public var path: String
        public var size: UInt64
        public var digest: SHA256Digest

        public init(path: String, size: UInt64, digest: SHA256Digest) {
            self.path = path
            self.size = size
            self.digest = digest
        }
    }

    /// SHA-256 over the 32-byte digests of all shards and side files, in the order of their paths' bytes: a signature
    /// of it covers the store.
    public var rootDigest: SHA256Digest {
        let files = shards.map { ($0.path, $0.digest) } + sideFiles.map { ($0.path, $0.digest) }
        var hasher = SHA256()
        for (_, digest) in files.sorted(by: { $0.0.utf8.lexicographicallyPrecedes($1.0.utf8) }) {
            hasher.update(digest.bytes)
        }
        return hasher.finalize()
    }

    /// Tensors that are stored with less than their source had.
    public var lossyTensors: [Tensor] {
        shards.flatMap(\.tensors).filter { Codecs.named($0.codec)?.isLossless != true }
    }

    /// Tensors in all shards.
    public var tensorCount: Int { shards.reduce(0) { $0 + $1.tensors.count } }
}
