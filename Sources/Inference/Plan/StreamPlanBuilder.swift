import LayerStore
import TensorCore

/// Compiles an architecture's network and a store's shard headers into a `StreamPlan`.
struct StreamPlanBuilder {
    let model: StoredModel
    let compute: ComputeMode
    /// Where some of the matrices are taken from instead.
    let variant: WeightVariant?
    private let mode: ReadMode?
    var plan = StreamPlan()
    var fileOfLayer: [String: Int] = [:]
    /// The same for the variant's shards.
    var variantFileOfLayer: [String: Int] = [:]
    /// Where each tensor of the table is.
    let places: [String: TensorRule.Place]
    /// The tensors of each file by name.
    var tensors: [[String: TensorRecord]] = []
    /// The buffer that holds each activation now, and all that have been one, by width.
    private var buffers: [Activation: Int] = [:]
    private var buffersByWidth: [Activation: [Int: Int]] = [:]
    /// The column steps not yet put into a step of the pass.
    private var pendingColumns: [ColumnStep] = []
    /// Projections of the stage being gathered, with their biases.
    private var pendingTasks = 0..<0
    private var pendingBiases: [ColumnStep] = []
    private var pendingOutputs: Set<Int> = []

    /// The plan for `model`. Opens every shard, for reads of this mode or the best that works, and reads its header.
    /// Throws what those throw, and `.unexpected` for an architecture whose operations do not fit together.
    static func plan(
        for model: StoredModel, mode: ReadMode? = nil, compute: ComputeMode = .int8, variant: WeightVariant? = nil
    ) throws(LaminaError) -> StreamPlan {
        var builder = StreamPlanBuilder(model, mode, compute, variant)
        try builder.compile()
        return builder.plan
    }

    private init(_ model: StoredModel, _ mode: ReadMode?, _ compute: ComputeMode, _ variant: WeightVariant?) {
        self.model = model
        self.variant = variant
        self.mode = mode
        self.compute = compute
        var places: [String: TensorRule.Place] = [:]
        for rule in model.definition.tensors { places[rule.name] = rule.place }
        self.places = places
    }

    private mutating func compile() throws(LaminaError) {
        let network = model.definition.network
        plan.float8Blocks = model.definition.float8Blocks
        fileOfLayer = try openFiles(of: model)
        if let variant { variantFileOfLayer = try openFiles(of: variant.model) }
        plan.embedding = try matrix(network.embedding, layer: 0)
        _ = try bind(.residual, width: plan.matrices[plan.embedding].columns)
        for operation in network.start { try append(operation, layer: 0) }
        plan.start = pendingColumns
        pendingColumns = []
        for (layer, operations) in network.layers.enumerated() {
            for operation in operations { try append(operation, layer: layer) }
            flush()
            plan.body.append(.layerEnd(layer))
        }
        plan.bodyChunkCount = plan.chunks.count
        for operation in network.final { try append(operation, layer: 0) }
        guard pendingTasks.isEmpty else { throw inconsistent("a projection follows the last layer") }
        plan.final = pendingColumns
        pendingColumns = []
        plan.isEmbeddingHead = network.head == network.embedding
        let head = plan.isEmbeddingHead ? plan.embedding : try matrix(network.head, layer: 0)
        plan.headInput = try buffer(network.headInput)
        plan.headForm = network.headForm
        if plan.headForm.normalizesRows { try refuseQuantized(plan.matrices[head]) }
        plan.headTasks = appendTasks(head, input: plan.headInput, output: nil)
        plan.final += codedInputs(of: plan.headTasks)
    }

    func inconsistent(_ problem: String) -> LaminaError {
        LaminaError(.unexpected, model.architecture.name, problem)
    }

    /// The places of a store's files in the plan, by layer.
    private mutating func openFiles(of model: StoredModel) throws(LaminaError) -> [String: Int] {
        var places: [String: Int] = [:]
        for (layer, rules) in model.expectedTensors where !rules.isEmpty {
            guard let shard = model.store.manifest.shards.first(where: { $0.layer.utf8.elementsEqual(layer.utf8) })
            else {
                throw LaminaError(.malformed, model.store.path, "the store lacks this layer", layer: layer)
            }
            places[layer] = plan.files.count
            let file = try ShardFile(model.store, shard, mode: mode)
            plan.files.append(file)
            // Names are ASCII where the table has them, so that equal strings are equal bytes.
            tensors.append(Dictionary(file.tensors.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first }))
        }
        return places
    }

    // MARK: Operations

    private mutating func append(_ operation: Operation, layer: Int) throws(LaminaError) {
        switch operation {
        case .project(let input, let weight, let bias, let output):
            try project(input, weight: weight, bias: bias, into: output, layer: layer)
        case .attend(let query, let key, let value, let valueDimension, let form, let output):
            flushTasks()
            let (keys, values) = (try heads(key), try value.map { (value) throws(LaminaError) in try heads(value) })
            pendingColumns.append(.storeKeyValue(layer: layer, key: keys, value: values))
            flush()
            try attend(query, keys, values, valueDimension, form, into: output, layer: layer)
        case .absorb(let query, let rotated, let weight, let rowsPerHead, let output):
            flush()
            let (query, rotated) = (try heads(query), try heads(rotated))
            try headProduct(
                .absorb(rotated: rotated), query, weight: weight, rowsPerHead: rowsPerHead, rows: 0..<query.dimension,
                into: output, layer: layer)
        case .expand(let input, let weight, let rowsPerHead, let dimension, let output):
            flush()
            try headProduct(
                .expand, try heads(input), weight: weight, rowsPerHead: rowsPerHead,
                rows: (rowsPerHead - dimension)..<rowsPerHead, into: output, layer: layer)
        case .route(let routing, let scoreBias):
            flush()
            let bias = try scoreBias.map { (name) throws(LaminaError) in
                try vector(name, layer: layer, count: routing.experts)
            }
            plan.body.append(
                .route(
                    PlannedRouting(
                        layer: layer, routing: routing, scores: try buffer(.router), bias: bias,
                        firstExpert: plan.experts.count)))
        case .experts(let mixture):
            flush()
            try experts(mixture, layer: layer)
        default:
            flushTasks()
            pendingColumns.append(try columnStep(operation, layer: layer))
        }
    }

    /// The operations that treat each column on its own.
    private mutating func columnStep(_ operation: Operation, layer: Int) throws(LaminaError) -> ColumnStep {
        switch operation {
        case .norm(let norm, let input, let weight, let bias, let output):
            let source = try buffer(input)
            let width = plan.widths[source]
            let weights = try vector(weight, layer: layer, count: width)
            let biases = try bias.map { (name) throws(LaminaError) in try vector(name, layer: layer, count: width) }
            return .norm(norm, source, weight: weights, bias: biases, into: try bind(output, width: width))
        case .headNorm(let norm, let view, let weights):
            let planned = try heads(view)
            guard weights.count == 1 || weights.count == planned.count else {
                throw inconsistent("heads and their norms differ in number")
            }
            var offsets: [Int] = []
            for name in weights { offsets.append(try vector(name, layer: layer, count: planned.dimension)) }
            return .headNorm(norm, planned, weights: offsets)
        case .rotate(let view, let rope, let style):
            guard model.config.ropes.indices.contains(rope), model.config.ropes[rope].dimension <= view.dimension else {
                throw inconsistent("heads are narrower than what rotates")
            }
            return .rotate(try heads(view), rope: rope, style)
        case .scaleBeyond(let view, let length): return .scaleBeyond(try heads(view), length: length)
        case .activate(let function, let gate, let up, let output):
            let (gate, up) = (try view(gate), try up.map { (up) throws(LaminaError) in try view(up) })
            guard up == nil || up?.width == gate.width else { throw inconsistent("gate and up differ in width") }
            return .activate(function, gate: gate, up: up, into: try bind(output, width: gate.width))
        case .add(let source, let target):
            let (source, target) = (try buffer(source), try buffer(target))
            guard plan.widths[source] == plan.widths[target] else { throw inconsistent("summands differ in width") }
            return .add(source, into: target)
        case .addGated(let source, let gate, let target):
            let (source, gate, target) = (try buffer(source), try buffer(gate), try buffer(target))
            guard plan.widths[source] == plan.widths[target], plan.widths[gate] == 1 else {
                throw inconsistent("a gated summand does not fit")
            }
            return .addGated(source, gate: gate, into: target)
        case .scale(let activation, let factor): return .scale(try buffer(activation), factor)
        default: throw inconsistent("an operation that is not one on columns")
        }
    }

    private mutating func project(
        _ input: Activation, weight: String, bias: String?, into output: Activation, layer: Int
    ) throws(LaminaError) {
        let index = try matrix(weight, layer: layer)
        let matrix = plan.matrices[index]
        let source = try buffer(input)
        let target = try bind(output, width: matrix.rows)
        // A barrier only where this product needs what the stage in hand computes, or overwrites what it reads.
        if pendingOutputs.contains(source) || pendingOutputs.contains(target) { flushTasks() }
        if !pendingColumns.isEmpty { flush() }
        guard plan.widths[source] == matrix.columns else { throw inconsistent("\(weight) does not fit its input") }
        let tasks = appendTasks(index, input: source, output: target)
        pendingTasks = pendingTasks.isEmpty ? tasks : pendingTasks.lowerBound..<tasks.upperBound
        pendingOutputs.insert(target)
        if let bias {
            pendingBiases.append(.addBias(try vector(bias, layer: layer, count: matrix.rows), to: target))
        }
    }

    /// Ends the stage of products being gathered; their biases begin the next column step.
    private mutating func flushTasks() {
        guard !pendingTasks.isEmpty else { return }
        let inputs = codedInputs(of: pendingTasks)
        if !inputs.isEmpty {
            if case .columns(let steps) = plan.body.last {
                plan.body[plan.body.count - 1] = .columns(steps + inputs)
            } else {
                plan.body.append(.columns(inputs))
            }
        }
        plan.body.append(.multiply(pendingTasks))
        pendingTasks = 0..<0
        pendingOutputs = []
        pendingColumns += pendingBiases
        pendingBiases = []
    }

    /// The steps that make 8-bit codes of the inputs of tasks that take them.
    mutating func codedInputs(of tasks: Range<Int>) -> [ColumnStep] {
        var inputs: Set<Int> = []
        for task in plan.tasks[tasks] where plan.matrices[task.matrix].takesCodes { inputs.insert(task.input) }
        plan.codedBuffers.formUnion(inputs)
        return inputs.sorted().map { .quantize($0) }
    }

    private mutating func flush() {
        flushTasks()
        guard !pendingColumns.isEmpty else { return }
        plan.body.append(.columns(pendingColumns))
        pendingColumns = []
    }

    // MARK: Buffers

    /// The buffer that holds `activation` now.
    func buffer(_ activation: Activation) throws(LaminaError) -> Int {
        guard let buffer = buffers[activation] else {
            throw inconsistent("\(activation) is used before it is computed")
        }
        return buffer
    }

    /// A buffer for `activation` with this width. Widths do not share one: the zeros behind a width, which odd ones rely
    /// on, are written once.
    mutating func bind(_ activation: Activation, width: Int) throws(LaminaError) -> Int {
        guard width > 0 else { throw inconsistent("\(activation) has no width") }
        if let known = buffersByWidth[activation]?[width] {
            buffers[activation] = known
            return known
        }
        plan.widths.append(width)
        let buffer = plan.widths.count - 1
        buffersByWidth[activation, default: [:]][width] = buffer
        buffers[activation] = buffer
        return buffer
    }

    func heads(_ heads: Heads) throws(LaminaError) -> PlannedHeads {
        let buffer = try buffer(heads.activation)
        guard heads.end <= plan.widths[buffer] else { throw inconsistent("heads do not fit \(heads.activation)") }
        return PlannedHeads(
            buffer: buffer, starts: (0..<heads.count).map(heads.start), dimension: heads.dimension)
    }

    private func view(_ view: ActivationView) throws(LaminaError) -> PlannedView {
        let buffer = try buffer(view.activation)
        guard view.offset + view.width <= plan.widths[buffer] else {
            throw inconsistent("a view does not fit \(view.activation)")
        }
        return PlannedView(buffer: buffer, offset: view.offset, width: view.width)
    }
}
