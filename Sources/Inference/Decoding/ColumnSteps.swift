import CKernels
import LayerStore
import TensorCore

/// Carries out the steps that treat each column on its own.
struct ColumnSteps: @unchecked Sendable {
    // Sendable: columns are written by one worker each.
    let plan: StreamPlan
    let kernels: KernelTable
    let vectors: ResidentVectors
    let activations: Activations
    let codes: ActivationCodes
    let angles: RopeAngles
    let cache: KeyValueCache

    /// All steps on `column`, which holds position `position` of sequence `sequence`.
    func perform(_ steps: [ColumnStep], column: Int, sequence: Int, position: Int) {
        for step in steps {
            switch step {
            case .norm(let norm, let input, let weight, let bias, let output):
                perform(
                    norm, activations.column(input, column), weight: vectors.vector(weight),
                    bias: bias.map(vectors.vector), into: activations.column(output, column),
                    count: plan.widths[input])
            case .headNorm(let norm, let heads, let weights): self.norm(norm, heads, weights, column)
            case .addBias(let bias, let target):
                kernels.pointee.add(vectors.vector(bias), activations.column(target, column), plan.widths[target])
            case .rotate(let heads, let rope, let style): rotate(heads, rope, style, column)
            case .scaleBeyond(let heads, let length): scale(heads, beyond: length, column, position: position)
            case .storeKeyValue(let layer, let key, let value):
                store(layer, key, value, column, sequence: sequence, position: position)
            case .activate(let function, let gate, let up, let output): activate(function, gate, up, output, column)
            case .add(let source, let target):
                kernels.pointee.add(
                    activations.column(source, column), activations.column(target, column), plan.widths[target])
            case .addGated(let source, let gate, let target):
                kernels.pointee.add_scaled(
                    lamina_sigmoidf(activations.column(gate, column)[0]), activations.column(source, column),
                    activations.column(target, column), plan.widths[target])
            case .scale(let target, let factor):
                kernels.pointee.scale(activations.column(target, column), factor, plan.widths[target])
            case .quantize(let buffer): codes.fill(buffer, column, from: activations, kernels)
            }
        }
    }

    private func perform(
        _ norm: Norm, _ input: UnsafePointer<Float>, weight: UnsafePointer<Float>, bias: UnsafePointer<Float>?,
        into output: UnsafeMutablePointer<Float>, count: Int
    ) {
        switch norm.kind {
        case .rootMeanSquare(let offset):
            kernels.pointee.rms_norm(input, weight, offset, norm.epsilon, output, count)
        case .layer: kernels.pointee.layer_norm(input, weight, bias, norm.epsilon, output, count)
        }
    }

    private func norm(_ norm: Norm, _ heads: PlannedHeads, _ weights: [Int], _ column: Int) {
        let start = activations.column(heads.buffer, column)
        for (index, offset) in heads.starts.enumerated() {
            let weight = vectors.vector(weights[weights.count == 1 ? 0 : index])
            perform(norm, start + offset, weight: weight, bias: nil, into: start + offset, count: heads.dimension)
        }
    }

    private func rotate(_ heads: PlannedHeads, _ rope: Int, _ style: RopeStyle, _ column: Int) {
        let start = activations.column(heads.buffer, column)
        let (cosine, sine, rotated) = angles.column(column, rope: rope)
        for offset in heads.starts {
            switch style {
            case .halves: kernels.pointee.rope_half(start + offset, cosine, sine, rotated)
            case .pairs: kernels.pointee.rope_pairs(start + offset, cosine, sine, rotated)
            }
        }
    }

    private func scale(_ heads: PlannedHeads, beyond length: Int, _ column: Int, position: Int) {
        guard position >= length else { return }
        let factor = Float(Rope.logarithm(Double(position + 1)) / Rope.logarithm(Double(length)))
        let start = activations.column(heads.buffer, column)
        for offset in heads.starts { kernels.pointee.scale(start + offset, factor, heads.dimension) }
    }

    private func store(
        _ layer: Int, _ key: PlannedHeads, _ value: PlannedHeads?, _ column: Int, sequence: Int, position: Int
    ) {
        let keys = activations.column(key.buffer, column)
        for head in 0..<key.count {
            let values = value.map { activations.column($0.buffer, column) + $0.starts[head] }
            cache.store(
                sequence: sequence, layer: layer, head: head, position: position, key: keys + key.starts[head],
                value: values.map { UnsafePointer($0) })
        }
    }

    private func activate(
        _ function: ActivationFunction, _ gate: PlannedView, _ up: PlannedView?, _ output: Int, _ column: Int
    ) {
        let source = activations.column(gate.buffer, column) + gate.offset
        let target = activations.column(output, column)
        if let up {
            kernels.pointee.activate_multiply(
                function.kernelActivation, source, activations.column(up.buffer, column) + up.offset, target, gate.width
            )
        } else {
            if source != target { target.update(from: source, count: gate.width) }
            kernels.pointee.activate(function.kernelActivation, target, gate.width)
        }
    }
}

extension ActivationFunction {
    var kernelActivation: lamina_activation {
        switch self {
        case .silu: LAMINA_ACTIVATION_SILU
        case .gelu: LAMINA_ACTIVATION_GELU_ERF
        case .geluTanh: LAMINA_ACTIVATION_GELU_TANH
        case .geluFast: LAMINA_ACTIVATION_GELU_FAST
        case .relu: LAMINA_ACTIVATION_RELU
        }
    }
}

/// Cosines and sines of the positions in a pass, for every rope of the model.
final class RopeAngles: @unchecked Sendable {
    // Sendable: filled by one thread before a pass, then only read.
    private let settings: [RopeSettings]
    /// Those of every sequence.
    private var ropes: [[Rope]] = []
    /// Per rope: where its angles begin in a column, and how many values they rotate.
    private let offsets: [Int]
    private let rotated: [Int]
    private let stride: Int
    /// (columns, ropes, cosines then sines).
    private let buffer: FloatBuffer

    /// Room for `columns` columns. Throws `.limit`.
    init(_ settings: [RopeSettings], columns: Int) throws(LaminaError) {
        self.settings = settings
        rotated = settings.map(\.dimension)
        var next = 0
        offsets = rotated.map { count in
            defer { next += count }
            return next
        }
        stride = next
        buffer = try FloatBuffer(count: columns * stride)
    }

    /// Says which sequences there are: those whose frequencies follow prompts of `lengths` tokens. Between two passes
    /// only.
    func assign(lengths: [Int]) {
        ropes = lengths.map { length in settings.map { Rope($0, promptLength: length) } }
    }

    /// Bytes per column.
    static func bytesPerColumn(_ settings: [RopeSettings]) -> Int {
        settings.reduce(0) { $0 + $1.dimension } * MemoryLayout<Float>.stride
    }

    /// Fills a column with the angles of `position` of `sequence`.
    func fill(column: Int, sequence: Int, position: Int) {
        for (index, rope) in ropes[sequence].enumerated() {
            let start = buffer.start + column * stride + offsets[index]
            rope.fill(position: position, cosine: start, sine: start + rotated[index] / 2)
        }
    }

    func column(
        _ column: Int, rope: Int
    ) -> (cosine: UnsafePointer<Float>, sine: UnsafePointer<Float>, rotated: Int) {
        let start = UnsafePointer(buffer.start + column * stride + offsets[rope])
        return (start, start + rotated[rope] / 2, rotated[rope])
    }
}
