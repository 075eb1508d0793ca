import TensorCore

/// Query and key-value heads of a layer.
struct HeadDimensions: Sendable, Equatable {
    var count: Int
    var keyValueCount: Int
    /// Values of a head.
    var dimension: Int

    /// Width of all query heads together.
    var queryWidth: Int { count * dimension }
    /// Width of all key (or value) heads together.
    var keyValueWidth: Int { keyValueCount * dimension }
}

extension ConfigReader {
    /// A width, at least 1.
    func width(_ key: String, absent: Int? = nil) throws(LaminaError) -> Int {
        try integer(key, in: 1...ModelConfig.maximumWidth, absent: absent)
    }

    func layerCount(_ key: String = "num_hidden_layers") throws(LaminaError) -> Int {
        try integer(key, in: 1...ModelConfig.maximumLayers)
    }

    func vocabulary(_ key: String = "vocab_size") throws(LaminaError) -> Int {
        try integer(key, in: 1...ModelConfig.maximumVocabulary)
    }

    func positions(_ key: String = "max_position_embeddings", absent: Int? = nil) throws(LaminaError) -> Int {
        try integer(key, in: 1...ModelConfig.maximumContext, absent: absent)
    }

    /// `num_attention_heads` and what divides them. `keyValueHeads` is `nil` for families without such a key, `absent`
    /// what it means to leave it out (as many as there are query heads).
    func heads(
        hidden: Int, keyValueHeads: String? = "num_key_value_heads", absent: Int? = nil,
        dimension dimensionKey: String? = "head_dim", absentDimension: Int? = nil
    ) throws(LaminaError) -> HeadDimensions {
        let count = try width("num_attention_heads")
        let keyValueCount =
            if let keyValueHeads { try width(keyValueHeads, absent: absent ?? count) } else { absent ?? count }
        guard count % keyValueCount == 0 else {
            throw failure(
                keyValueHeads ?? "num_attention_heads", expected: "a divisor of num_attention_heads (\(count))")
        }
        var dimension = absentDimension ?? hidden / count
        if let dimensionKey, value(dimensionKey) != nil {
            dimension = try integer(dimensionKey, in: 1...65_536)
        } else if absentDimension == nil, hidden % count != 0 {
            throw failure("num_attention_heads", expected: "a divisor of hidden_size (\(hidden)) without head_dim")
        }
        // The widest activation of attention holds all heads of query, key and value.
        guard let width = Checked.product([3, count, dimension]), width <= ModelConfig.maximumWidth else {
            throw failure(
                dimensionKey ?? "num_attention_heads",
                expected: "at most \(ModelConfig.maximumWidth / 3) values in all heads")
        }
        return HeadDimensions(count: count, keyValueCount: keyValueCount, dimension: dimension)
    }

    /// An activation function by its name in transformers; `absent` if the key is missing.
    func activation(_ key: String = "hidden_act", absent: ActivationFunction) throws(LaminaError) -> ActivationFunction
    {
        guard let name = try string(key) else { return absent }
        let known: [String: ActivationFunction] = [
            "silu": .silu, "swish": .silu, "gelu": .gelu, "gelu_pytorch_tanh": .geluTanh, "gelu_new": .geluTanh,
            "gelu_fast": .geluFast, "relu": .relu,
        ]
        guard let function = known[name] else {
            throw failure(key, expected: "one of: " + known.keys.sorted().joined(separator: ", "))
        }
        return function
    }

    /// Refuses a setting that changes the arithmetic in a way this family has not been proven with.
    func require(_ key: String, _ expected: Bool) throws(LaminaError) {
        guard try bool(key, absent: expected) == expected else { throw failure(key, expected: "\(expected)") }
    }

    /// For each layer whether it attends to a window only, as `layer_types` says; `nil` if the key is missing.
    func slidingLayers(count: Int) throws(LaminaError) -> [Bool]? {
        guard let value = value("layer_types") else { return nil }
        guard let types = value.array, types.count == count else {
            throw failure("layer_types", expected: "a list of \(count) names, one per layer")
        }
        var sliding: [Bool] = []
        for type in types {
            switch type.string {
            case "sliding_attention": sliding.append(true)
            case "full_attention": sliding.append(false)
            default: throw failure("layer_types", expected: "\"full_attention\" or \"sliding_attention\" only")
            }
        }
        return sliding
    }

    /// `sliding_window`, or `absent` where it is null or missing.
    func window(_ key: String = "sliding_window", absent: Int? = nil) throws(LaminaError) -> Int? {
        value(key) == nil ? absent : try integer(key, in: 1...ModelConfig.maximumContext)
    }
}
