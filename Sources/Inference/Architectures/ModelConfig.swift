import TensorCore

/// A model's dimensions and settings, checked; what config.json says in the terms of this engine.
public struct ModelConfig: Sendable, Equatable {
    /// No model is deeper; bounds loops over a hostile config.
    public static let maximumLayers = 10_000
    /// No vocabulary is larger.
    public static let maximumVocabulary = 10_000_000
    /// No width or head count is larger; products of two stay far from overflow.
    public static let maximumWidth = 1 << 24
    /// No context is longer.
    public static let maximumContext = 1 << 30

    public var hiddenSize: Int
    public var layerCount: Int
    public var headCount: Int
    public var keyValueHeadCount: Int
    /// Per query, key and value head.
    public var headDimension: Int
    public var intermediateSize: Int
    public var vocabularySize: Int
    /// Positions the model was made for; a longer context is refused.
    public var maximumPositions: Int
    public var normEpsilon: Float
    public var rope: RopeSettings
    /// The embedding matrix is the head matrix.
    public var tiesEmbeddings: Bool
    public var hasAttentionBias: Bool
    public var hasFeedForwardBias: Bool
    /// End-of-sequence token ids; may be empty.
    public var endTokens: [Int]

    /// Width of all query heads together.
    public var queryWidth: Int { headCount * headDimension }
    /// Width of all key (or value) heads together.
    public var keyValueWidth: Int { keyValueHeadCount * headDimension }
}
