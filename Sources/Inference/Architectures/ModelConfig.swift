import TensorCore

/// A model's dimensions and settings, checked: what the engine has to know besides the network.
public struct ModelConfig: Sendable, Equatable {
    /// No model is deeper; bounds loops over a hostile config.
    public static let maximumLayers = 10_000
    /// No vocabulary is larger.
    public static let maximumVocabulary = 10_000_000
    /// No width or head count is larger; products of two stay far from overflow.
    public static let maximumWidth = 1 << 24
    /// No context is longer.
    public static let maximumContext = 1 << 30
    /// No layer has more experts.
    public static let maximumExperts = 4096

    public var hiddenSize: Int
    public var layerCount: Int
    public var vocabularySize: Int
    /// Positions the model was made for; a longer context is refused.
    public var maximumPositions: Int
    /// Rotary embeddings that layers refer to by index; most families have one for all layers.
    public var ropes: [RopeSettings]
    /// End-of-sequence token ids; may be empty.
    public var endTokens: [Int]
}
