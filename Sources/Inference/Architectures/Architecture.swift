import LayerStore
import TensorCore

/// A family of models: how its config.json is recognised, and what it says about tensors and arithmetic.
///
/// Adding a family is one file that describes a `DecoderModel`, and one line in `Architectures.all`.
public struct Architecture: Sendable {
    /// Name in manifests.
    public var name: String
    /// Values of `model_type` that mean this architecture.
    public var modelTypes: [String]
    /// Class names in `architectures` that mean it where `model_type` is absent.
    public var classNames: [String]
    /// Reads and checks config.json. Throws `.malformed` naming key, value and expectation.
    let define: @Sendable (ConfigReader) throws(LaminaError) -> ModelDefinition

    /// A family whose config.json describes a `DecoderModel`.
    init(
        name: String, modelTypes: [String], classNames: [String],
        model: @escaping @Sendable (ConfigReader) throws(LaminaError) -> DecoderModel
    ) {
        self.name = name
        self.modelTypes = modelTypes
        self.classNames = classNames
        define = { (reader) throws(LaminaError) in try model(reader).definition() }
    }
}

/// What one config.json means: dimensions, the one table of tensors, and the order of the arithmetic. The table drives
/// convert, quantize, verify and run.
public struct ModelDefinition: Sendable {
    public var config: ModelConfig
    /// Every tensor run uses, in order of use within its layer.
    public var tensors: [TensorRule]
    public var unused: [UnusedRule]
    public var ties: [TieRule]
    /// The arithmetic between the tensors.
    public var network: Network
    /// Matrices of the layers may be FP8, with a scale for each block; `nil` where they may not.
    public var float8Blocks: Float8Blocks?
}

/// Blocks of a matrix that share a scale: the weight is the FP8 value times the scale.
public struct Float8Blocks: Sendable, Equatable {
    public var rows: Int
    public var columns: Int

    /// Behind the name of a matrix, the name of its scales (rows / block, columns / block).
    static let scaleSuffix = "_scale_inv"

    /// The shape of the scales of a matrix.
    func scaleShape(_ matrix: Shape) -> Shape {
        Shape([dividedUp(matrix.dimensions[0], by: rows), dividedUp(matrix.dimensions[1], by: columns)])
    }
}

/// One row of an architecture's tensor table. `*` in a name stands for the layer index.
public struct TensorRule: Sendable {
    /// The shard a tensor is stored in.
    public enum Place: Sendable { case embedding, layer, head }

    /// The strongest compression a tensor bears.
    public enum Compression: Sendable {
        /// Only codecs that give back every bit: norms, biases and routers, which are small and decide much.
        case lossless
        /// Quantization schemes too.
        case quantizable
    }

    public var name: String
    public var shape: Shape
    public var place: Place
    public var layout: TensorLayout
    public var strongestCompression: Compression
    /// Layers that have the tensor; `nil` for all.
    public var layers: Set<Int>?

    public init(
        name: String, shape: Shape, place: Place, layout: TensorLayout, strongestCompression: Compression,
        layers: Set<Int>? = nil
    ) {
        self.name = name
        self.shape = shape
        self.place = place
        self.layout = layout
        self.strongestCompression = strongestCompression
        self.layers = layers
    }

    /// A matrix [rows, columns] that activations are multiplied with.
    static func matrix(_ name: String, _ rows: Int, _ columns: Int, in place: Place = .layer) -> TensorRule {
        TensorRule(
            name: name, shape: Shape([rows, columns]), place: place, layout: .panel64,
            strongestCompression: .quantizable)
    }

    /// A norm's weight or a bias [count].
    static func vector(_ name: String, _ count: Int, in place: Place = .layer) -> TensorRule {
        TensorRule(name: name, shape: Shape([count]), place: place, layout: .rows, strongestCompression: .lossless)
    }

    /// Whether a checkpoint with FP8 weights may have this matrix in FP8.
    var mayBeFloat8: Bool { place == .layer && layout == .panel64 && strongestCompression == .quantizable }

    /// Whether layer `layer` has the tensor, for rules of the layers.
    func applies(to layer: Int) -> Bool { layers?.contains(layer) ?? true }
}

/// A tensor that checkpoints of this architecture may hold and run does not use: stored all the same.
public struct UnusedRule: Sendable {
    /// May contain `*` for the layer index; one that ends in a period stands for all names that begin with it.
    public var name: String
    public var reason: String

    public init(name: String, reason: String) {
        self.name = name
        self.reason = reason
    }
}

/// A tensor that may be absent because it equals another one.
public struct TieRule: Sendable {
    public var name: String
    public var target: String

    public init(name: String, target: String) {
        self.name = name
        self.target = target
    }
}
