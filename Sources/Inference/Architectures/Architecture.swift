import LayerStore
import TensorCore

/// One row of an architecture's tensor table. `*` in a name stands for the layer index.
public struct TensorRule: Sendable {
    /// The shard a tensor is stored in.
    public enum Place: Sendable { case embedding, layer, head }

    /// The strongest compression a tensor bears.
    public enum Compression: Sendable {
        /// Only codecs that give back every bit: norms and biases, which are small and decide much.
        case lossless
        /// Quantization schemes too.
        case quantizable
    }

    public var name: String
    public var shape: Shape
    public var place: Place
    public var layout: TensorLayout
    public var isRequired: Bool
    public var strongestCompression: Compression

    public init(
        name: String, shape: Shape, place: Place, layout: TensorLayout, isRequired: Bool = true,
        strongestCompression: Compression
    ) {
        self.name = name
        self.shape = shape
        self.place = place
        self.layout = layout
        self.isRequired = isRequired
        self.strongestCompression = strongestCompression
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
}

/// A tensor that checkpoints of this architecture may hold and run does not use: stored all the same.
public struct UnusedRule: Sendable {
    /// May contain `*` for the layer index.
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

/// A family of models: how to read its config, the one table of its tensors, and the order of its arithmetic.
///
/// The table drives convert, quantize, verify and run; adding a family is one file like `Llama.swift` and one line in
/// `Architectures.all`.
public struct Architecture: Sendable {
    /// Name in manifests.
    public var name: String
    /// Values of `model_type` that mean this architecture.
    public var modelTypes: [String]
    /// Class names in `architectures` that mean it where `model_type` is absent.
    public var classNames: [String]
    /// Reads and checks config.json. Throws `.malformed` naming key, value and expectation.
    public var configure: @Sendable (JSONObject, _ file: String) throws(LaminaError) -> ModelConfig
    /// Every tensor run uses, in order of use within its layer.
    public var tensors: @Sendable (ModelConfig) -> [TensorRule]
    public var unused: @Sendable (ModelConfig) -> [UnusedRule]
    public var ties: @Sendable (ModelConfig) -> [TieRule]
    /// The arithmetic between the tensors.
    public var network: @Sendable (ModelConfig) -> Network

    public init(
        name: String, modelTypes: [String], classNames: [String],
        configure: @escaping @Sendable (JSONObject, _ file: String) throws(LaminaError) -> ModelConfig,
        tensors: @escaping @Sendable (ModelConfig) -> [TensorRule],
        unused: @escaping @Sendable (ModelConfig) -> [UnusedRule],
        ties: @escaping @Sendable (ModelConfig) -> [TieRule],
        network: @escaping @Sendable (ModelConfig) -> Network
    ) {
        self.name = name
        self.modelTypes = modelTypes
        self.classNames = classNames
        self.configure = configure
        self.tensors = tensors
        self.unused = unused
        self.ties = ties
        self.network = network
    }
}
