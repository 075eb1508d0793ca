import LayerStore
import TensorCore

/// A decoder-only transformer as its family publishes it: layers of attention and feed-forward on a residual stream.
struct DecoderModel: Sendable {
    /// Where the norms of a layer stand; named relative to the layer, without `.weight`, `nil` for none.
    struct LayerNorms: Sendable {
        var beforeAttention: String?
        var afterAttention: String?
        var beforeFeedForward: String?
        var afterFeedForward: String?

        /// What most families have.
        static let before = LayerNorms(
            beforeAttention: "input_layernorm", beforeFeedForward: "post_attention_layernorm")
    }

    /// What attention and feed-forward read.
    enum Order: Sendable {
        /// The feed-forward network reads what attention has been added to.
        case sequential
        /// Both read the same residual stream; without a norm of its own the feed-forward network takes attention's.
        case parallel
    }

    var config: ModelConfig
    var embedding = "model.embed_tokens.weight"
    /// Begins the names of a layer's tensors; with `*`.
    var layerPrefix = "model.layers.*."
    /// Named without `.weight`.
    var finalNorm = "model.norm"
    var head = "lm_head.weight"
    var norm: Norm
    var hasNormBias = false
    var layerNorms = LayerNorms.before
    var order = Order.sequential
    /// One per layer.
    var attention: [any LayerPart]
    var feedForward: [any LayerPart]
    /// Factor on the embedding's rows.
    var embeddingScale: Float = 1
    var headForm = HeadForm()
    /// The embedding matrix is the head matrix.
    var tiesEmbeddings: Bool
    var unused: [UnusedRule] = []
    var float8Blocks: Float8Blocks?

    func definition() -> ModelDefinition {
        ModelDefinition(
            config: config, tensors: tensors, unused: unusedTensors,
            ties: tiesEmbeddings ? [TieRule(name: head, target: embedding)] : [], network: network,
            float8Blocks: float8Blocks)
    }

    // MARK: Tensors

    private var unusedTensors: [UnusedRule] {
        tiesEmbeddings
            ? unused + [UnusedRule(name: head, reason: "tie_word_embeddings makes the embedding matrix the head")]
            : unused
    }

    private var tensors: [TensorRule] {
        let shape = Shape([config.vocabularySize, config.hiddenSize])
        let table = TensorRule(
            name: embedding, shape: shape, place: .embedding, layout: tiesEmbeddings ? .panel64 : .rows,
            strongestCompression: .quantizable)
        var rules = [table] + layerTensors + norm(finalNorm).tensors(in: .head)
        if !tiesEmbeddings { rules.append(.matrix(head, config.vocabularySize, config.hiddenSize, in: .head)) }
        return rules
    }

    /// The tensors of all layers, each once, with the layers that have it.
    private var layerTensors: [TensorRule] {
        var rules: [TensorRule] = []
        var places: [String: [Int]] = [:]
        for layer in 0..<config.layerCount {
            for rule in tensors(ofLayer: layer) {
                // The same name may have different shapes in different layers.
                if let index = places[rule.name]?.first(where: { rules[$0].shape == rule.shape }) {
                    rules[index].layers?.insert(layer)
                    continue
                }
                places[rule.name, default: []].append(rules.count)
                var rule = rule
                rule.layers = [layer]
                rules.append(rule)
            }
        }
        for index in rules.indices where rules[index].layers?.count == config.layerCount { rules[index].layers = nil }
        return rules
    }

    private func tensors(ofLayer layer: Int) -> [TensorRule] {
        func norm(_ name: String?) -> [TensorRule] { name.map { layerNorm($0).tensors() } ?? [] }
        return norm(layerNorms.beforeAttention) + attention[layer].tensors + norm(layerNorms.afterAttention)
            + norm(layerNorms.beforeFeedForward) + feedForward[layer].tensors + norm(layerNorms.afterFeedForward)
    }

    private func norm(_ name: String) -> NormTensors {
        NormTensors(name: name, width: config.hiddenSize, norm: norm, hasBias: hasNormBias)
    }

    private func layerNorm(_ name: String) -> NormTensors { norm(layerPrefix + name) }

    // MARK: Arithmetic

    private var network: Network {
        Network(
            embedding: embedding, start: embeddingScale == 1 ? [] : [.scale(.residual, embeddingScale)],
            layers: (0..<config.layerCount).map(operations),
            final: [norm(finalNorm).operation(.residual, into: .normalized)], headInput: .normalized,
            head: tiesEmbeddings ? embedding : head, headForm: headForm)
    }

    private func operations(ofLayer layer: Int) -> [Operation] {
        let (attention, feedForward) = (attention[layer], feedForward[layer])
        var operations: [Operation] = []
        /// The input of a part: normalised, or what it was without a norm.
        func input(_ name: String?, without: Activation) -> Activation {
            guard let name else { return without }
            operations.append(layerNorm(name).operation(.residual, into: .normalized))
            return .normalized
        }
        func add(_ part: any LayerPart, after name: String?) {
            if let name { operations.append(layerNorm(name).operation(part.output, into: part.output)) }
            operations.append(.add(part.output, into: .residual))
        }
        let attentionInput = input(layerNorms.beforeAttention, without: .residual)
        operations += attention.operations(on: attentionInput)
        switch order {
        case .sequential:
            add(attention, after: layerNorms.afterAttention)
            let feedForwardInput = input(layerNorms.beforeFeedForward, without: .residual)
            operations += feedForward.operations(on: feedForwardInput)
        case .parallel:
            // Before attention's result is added: both read the same residual stream.
            let feedForwardInput = input(layerNorms.beforeFeedForward, without: attentionInput)
            add(attention, after: layerNorms.afterAttention)
            operations += feedForward.operations(on: feedForwardInput)
        }
        add(feedForward, after: layerNorms.afterFeedForward)
        return operations
    }
}
