import LayerStore
import TensorCore

/// Half of a decoder layer: attention or feed-forward, from a normalised input to what is added to the residual stream.
protocol LayerPart: Sendable {
    /// Its tensors, in order of use.
    var tensors: [TensorRule] { get }
    /// Its arithmetic on `input`.
    func operations(on input: Activation) -> [Operation]
    /// Where its result stands.
    var output: Activation { get }
}

/// A matrix [rows, columns] with or without a bias, named without `.weight` and `.bias`.
struct Projection: Sendable {
    var name: String
    var rows: Int
    var columns: Int
    var hasBias = false

    var tensors: [TensorRule] {
        let matrix = TensorRule.matrix(name + ".weight", rows, columns)
        return hasBias ? [matrix, .vector(name + ".bias", rows)] : [matrix]
    }

    func operation(_ input: Activation, into output: Activation) -> Operation {
        .project(input, weight: name + ".weight", bias: hasBias ? name + ".bias" : nil, into: output)
    }
}

/// A norm's weight, and its bias if it has one, named without `.weight` and `.bias`.
struct NormTensors: Sendable {
    var name: String
    var width: Int
    var norm: Norm
    var hasBias = false

    func tensors(in place: TensorRule.Place = .layer) -> [TensorRule] {
        let weight = TensorRule.vector(name + ".weight", width, in: place)
        return hasBias ? [weight, .vector(name + ".bias", width, in: place)] : [weight]
    }

    func operation(_ input: Activation, into output: Activation) -> Operation {
        .norm(norm, input, weight: name + ".weight", bias: hasBias ? name + ".bias" : nil, into: output)
    }
}
