import LayerStore
import TensorCore

/// A feed-forward network with a gate: `down(function(gate(x)) * up(x))`.
struct GatedFeedForward: LayerPart {
    /// Matrices named without `.weight` and `.bias`.
    enum Projections: Sendable {
        case separate(gate: String, up: String)
        /// One matrix: the gate's rows, then those of what it gates.
        case fused(String)
    }

    var hidden: Int
    var intermediate: Int
    var projections: Projections
    var down: String
    var hasBias = false
    var function = ActivationFunction.silu

    var output: Activation { .projected }

    private func projection(_ name: String, rows: Int) -> Projection {
        Projection(name: name, rows: rows, columns: hidden, hasBias: hasBias)
    }

    private var inputs: [(projection: Projection, output: Activation)] {
        switch projections {
        case .separate(let gate, let up):
            [(projection(gate, rows: intermediate), .gate), (projection(up, rows: intermediate), .up)]
        case .fused(let name): [(projection(name, rows: 2 * intermediate), .gateUp)]
        }
    }

    private var views: (gate: ActivationView, up: ActivationView) {
        switch projections {
        case .separate:
            (
                ActivationView(activation: .gate, width: intermediate),
                ActivationView(activation: .up, width: intermediate)
            )
        case .fused:
            (
                ActivationView(activation: .gateUp, width: intermediate),
                ActivationView(activation: .gateUp, offset: intermediate, width: intermediate)
            )
        }
    }

    private var downProjection: Projection {
        Projection(name: down, rows: hidden, columns: intermediate, hasBias: hasBias)
    }

    var tensors: [TensorRule] { inputs.flatMap(\.projection.tensors) + downProjection.tensors }

    func operations(on input: Activation) -> [Operation] {
        let (gate, up) = views
        // A gate of its own even where it comes fused: what products read has to end in zeros, not in the other half.
        return inputs.map { $0.projection.operation(input, into: $0.output) } + [
            .activate(function, gate: gate, up: up, into: .gate), downProjection.operation(.gate, into: .projected),
        ]
    }
}

/// A feed-forward network without a gate: `down(function(up(x)))`.
struct PlainFeedForward: LayerPart {
    var up: Projection
    var down: Projection
    var function: ActivationFunction

    var output: Activation { .projected }
    var tensors: [TensorRule] { up.tensors + down.tensors }

    func operations(on input: Activation) -> [Operation] {
        [
            up.operation(input, into: .up),
            .activate(function, gate: ActivationView(activation: .up, width: up.rows), up: nil, into: .up),
            down.operation(.up, into: .projected),
        ]
    }
}

/// A mixture of experts, with or without an expert that every token goes through.
struct ExpertFeedForward: LayerPart {
    var hidden: Int
    var intermediate: Int
    /// The router's matrix [experts, hidden], named without `.weight`.
    var router: String
    /// Name of a vector [experts] added to the scores to choose by.
    var scoreBias: String?
    var routing: Routing
    /// Matrices of an expert, named without `.weight`; `#` stands for its index.
    var gate: String
    var up: String
    var down: String
    var function = ActivationFunction.silu
    var shared: GatedFeedForward?
    /// A matrix [1, hidden], named without `.weight`, whose sigmoid weighs the shared expert.
    var sharedGate: String?

    var output: Activation { .expertSum }

    private var routerMatrix: TensorRule {
        var rule = TensorRule.matrix(router + ".weight", routing.experts, hidden)
        rule.strongestCompression = .lossless
        return rule
    }

    var tensors: [TensorRule] {
        var rules = [routerMatrix]
        if let scoreBias { rules.append(.vector(scoreBias, routing.experts)) }
        rules += shared?.tensors ?? []
        if let sharedGate {
            var rule = TensorRule.matrix(sharedGate + ".weight", 1, hidden)
            rule.strongestCompression = .lossless
            rules.append(rule)
        }
        for expert in 0..<routing.experts {
            for (name, rows, columns) in [
                (gate, intermediate, hidden), (up, intermediate, hidden), (down, hidden, intermediate),
            ] {
                rules.append(.matrix(ExpertMixture.name(name + ".weight", expert: expert), rows, columns))
            }
        }
        return rules
    }

    func operations(on input: Activation) -> [Operation] {
        // The router first: while the shared expert is computed, the chosen ones are read.
        var operations: [Operation] = [
            .project(input, weight: router + ".weight", bias: nil, into: .router),
            .route(routing, scoreBias: scoreBias),
        ]
        if let sharedGate {
            operations.append(.project(input, weight: sharedGate + ".weight", bias: nil, into: .sharedGate))
        }
        operations += shared?.operations(on: input) ?? []
        operations.append(
            .experts(
                ExpertMixture(
                    input: input, experts: routing.experts, chosen: routing.chosen, function: function,
                    gate: gate + ".weight", up: up + ".weight", down: down + ".weight")))
        if let shared {
            operations.append(
                sharedGate == nil
                    ? .add(shared.output, into: .expertSum)
                    : .addGated(shared.output, gate: .sharedGate, into: .expertSum))
        }
        return operations
    }
}
