/// Some matrices of a model as another store of the same model has them: to find out what each costs when quantized.
public struct WeightVariant: Sendable {
    /// The other store.
    public var model: StoredModel
    /// Which rows of the tensor table come from there, by name.
    public var names: Set<String>
    /// Of tensors of the layers, those of which layers.
    public var layers: Range<Int>

    public init(model: StoredModel, names: Set<String>, layers: Range<Int>) {
        self.model = model
        self.names = names
        self.layers = layers
    }

    /// Whether the tensor of a rule comes from the other store; `layer` is 0 outside the layers.
    func has(_ rule: String, _ place: TensorRule.Place, layer: Int) -> Bool {
        names.contains(rule) && (place != .layer || layers.contains(layer))
    }
}
