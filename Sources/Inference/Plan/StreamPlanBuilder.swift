import LayerStore
import TensorCore

/// Compiles an architecture's network and a store's shard headers into a `StreamPlan`.
struct StreamPlanBuilder {
    private let model: StoredModel
    private let mode: ReadMode?
    private var plan = StreamPlan()
    private var fileOfLayer: [String: Int] = [:]
    private let places: [String: TensorRule.Place]
    /// The column steps not yet put into a step of the pass.
    private var pendingColumns: [ColumnStep] = []
    /// Projections of the stage being gathered, with their biases.
    private var pendingTasks = 0..<0
    private var pendingBiases: [ColumnStep] = []
    private var pendingOutputs: Set<Activation> = []

    /// The plan for `model`. Opens every shard, for reads of this mode or the best that works, and reads its header.
    /// Throws what those throw, and `.unexpected` for an architecture whose operations do not fit together.
    static func plan(for model: StoredModel, mode: ReadMode? = nil) throws(LaminaError) -> StreamPlan {
        var builder = StreamPlanBuilder(model, mode)
        try builder.compile()
        return builder.plan
    }

    private init(_ model: StoredModel, _ mode: ReadMode?) {
        self.model = model
        self.mode = mode
        var places: [String: TensorRule.Place] = [:]
        for rule in model.architecture.tensors(model.config) { places[rule.name] = rule.place }
        self.places = places
    }

    private mutating func compile() throws(LaminaError) {
        let network = model.architecture.network(model.config)
        try openFiles()
        let embedding = try matrix(network.embedding, layer: 0)
        plan.embedding = embedding
        plan.widths[Activation.residual.rawValue] = plan.matrices[embedding].columns
        plan.widths[Activation.mixed.rawValue] = model.config.queryWidth
        for layer in 0..<model.config.layerCount {
            for operation in network.layer(layer) { try append(operation, layer: layer) }
            flush()
            plan.body.append(.layerEnd(layer))
        }
        plan.bodyChunkCount = plan.chunks.count
        for operation in network.final { try append(operation, layer: 0) }
        guard pendingTasks.isEmpty else { throw inconsistent("a projection follows the last layer") }
        plan.final = pendingColumns
        pendingColumns = []
        plan.isEmbeddingHead = network.head == network.embedding
        let head = plan.isEmbeddingHead ? embedding : try matrix(network.head, layer: 0)
        plan.headInput = network.headInput
        plan.headTasks = appendTasks(head, input: network.headInput, output: nil)
    }

    private func inconsistent(_ problem: String) -> LaminaError {
        LaminaError(.unexpected, model.architecture.name, problem)
    }

    private mutating func openFiles() throws(LaminaError) {
        for (layer, rules) in model.expectedTensors where !rules.isEmpty {
            guard let shard = model.store.manifest.shards.first(where: { $0.layer.utf8.elementsEqual(layer.utf8) })
            else {
                throw LaminaError(.malformed, model.store.path, "the store lacks this layer", layer: layer)
            }
            fileOfLayer[layer] = plan.files.count
            plan.files.append(try ShardFile(model.store, shard, mode: mode))
        }
    }

    // MARK: Operations

    private mutating func append(_ operation: Operation, layer: Int) throws(LaminaError) {
        switch operation {
        case .rmsNorm(let input, let weight, let output):
            flushTasks()
            try setWidth(output, try width(input))
            let offset = try vector(weight, layer: layer, count: try width(input))
            pendingColumns.append(.rmsNorm(input, weight: offset, into: output))
        case .project(let input, let weight, let bias, let output):
            try project(input, weight: weight, bias: bias, into: output, layer: layer)
        case .rotateHalves(let activation, let heads):
            flushTasks()
            guard try width(activation) == heads * model.config.headDimension else {
                throw inconsistent("heads to rotate do not fill their activation")
            }
            pendingColumns.append(.rotateHalves(activation, heads: heads))
        case .attend(let scale):
            flushTasks()
            pendingColumns.append(.storeKeyValue(layer: layer))
            flush()
            plan.body.append(.attend(layer: layer, scale: scale))
        case .siluMultiply(let gate, let up):
            flushTasks()
            guard try width(gate) == width(up) else { throw inconsistent("gate and up differ in width") }
            pendingColumns.append(.siluMultiply(gate: gate, up: up))
        case .add(let source, let target):
            flushTasks()
            guard try width(source) == width(target) else { throw inconsistent("summands differ in width") }
            pendingColumns.append(.add(source, into: target))
        }
    }

    private mutating func project(
        _ input: Activation, weight: String, bias: String?, into output: Activation, layer: Int
    ) throws(LaminaError) {
        // A barrier only where this product needs what the stage in hand computes, or overwrites what it reads.
        if pendingOutputs.contains(input) || pendingOutputs.contains(output) { flushTasks() }
        if !pendingColumns.isEmpty { flush() }
        let index = try matrix(weight, layer: layer)
        let matrix = plan.matrices[index]
        guard try width(input) == matrix.columns else { throw inconsistent("\(weight) does not fit its input") }
        try setWidth(output, matrix.rows)
        let tasks = appendTasks(index, input: input, output: output)
        pendingTasks = pendingTasks.isEmpty ? tasks : pendingTasks.lowerBound..<tasks.upperBound
        pendingOutputs.insert(output)
        if let bias {
            pendingBiases.append(.addBias(try vector(bias, layer: layer, count: matrix.rows), to: output))
        }
    }

    /// Ends the stage of products being gathered; their biases begin the next column step.
    private mutating func flushTasks() {
        guard !pendingTasks.isEmpty else { return }
        plan.body.append(.multiply(pendingTasks))
        pendingTasks = 0..<0
        pendingOutputs = []
        pendingColumns += pendingBiases
        pendingBiases = []
    }

    private mutating func flush() {
        flushTasks()
        guard !pendingColumns.isEmpty else { return }
        plan.body.append(.columns(pendingColumns))
        pendingColumns = []
    }

    private func width(_ activation: Activation) throws(LaminaError) -> Int {
        let width = plan.widths[activation.rawValue]
        guard width > 0 else { throw inconsistent("\(activation) is used before it is computed") }
        return width
    }

    private mutating func setWidth(_ activation: Activation, _ width: Int) throws(LaminaError) {
        let known = plan.widths[activation.rawValue]
        // One width for all layers: the zeros behind it, which odd widths rely on, are written once.
        guard known == 0 || known == width else { throw inconsistent("\(activation) has two widths") }
        plan.widths[activation.rawValue] = width
    }

    // MARK: Tensors

    private func location(_ name: String, layer: Int) throws(LaminaError) -> (file: Int, tensor: TensorRecord) {
        guard let place = places[name], let file = fileOfLayer[StoredModel.layerName(place, layer: layer)] else {
            throw inconsistent("\(name) is not in the tensor table")
        }
        guard let tensor = plan.files[file].tensors.first(where: { $0.name.utf8.elementsEqual(name.utf8) }) else {
            throw LaminaError(
                .malformed, plan.files[file].path, "the shard lacks this tensor", layer: plan.files[file].layer,
                tensor: name)
        }
        return (file, tensor)
    }

    private func fullName(_ name: String, layer: Int) -> String {
        name.split(separator: "*", omittingEmptySubsequences: false).joined(separator: String(layer))
    }

    private mutating func matrix(_ name: String, layer: Int) throws(LaminaError) -> Int {
        let (file, tensor) = try location(name, layer: layer)
        guard let type = WeightType(tensor.dtype) else { throw inconsistent("\(name) has a dtype without kernels") }
        plan.matrices.append(
            PlannedMatrix(
                tensor: tensor, weightType: type, planeCount: tensor.planes.count, planeBytes: tensor.planeBytes,
                file: file, name: fullName(name, layer: layer)))
        return plan.matrices.count - 1
    }

    private mutating func vector(_ name: String, layer: Int, count: Int) throws(LaminaError) -> Int {
        let (file, tensor) = try location(name, layer: layer)
        guard tensor.shape == Shape([count]), let type = WeightType(tensor.dtype) else {
            throw inconsistent("\(name) does not fit its activation")
        }
        let offset = plan.vectorFloats
        plan.vectors.append(
            PlannedVector(
                file: file, tensor: tensor, weightType: type, name: fullName(name, layer: layer), offset: offset))
        // Whole cache lines each, so that kernels load aligned vectors.
        plan.vectorFloats += roundedUp(count, to: 16)
        return offset
    }

    private mutating func appendTasks(_ index: Int, input: Activation, output: Activation?) -> Range<Int> {
        let matrix = plan.matrices[index]
        let geometry = matrix.tensor.geometry
        let first = plan.tasks.count
        for chunk in 0..<geometry.chunkCount {
            let next = plan.chunks.count
            plan.chunks.append(PlannedChunk(matrix, index: index, chunk: chunk))
            if chunk % geometry.columnRanges == 0 {
                plan.tasks.append(ChunkTask(chunks: next..<(next + 1), matrix: index, input: input, output: output))
            } else {
                let task = plan.tasks.count - 1
                plan.tasks[task].chunks = plan.tasks[task].chunks.lowerBound..<(next + 1)
            }
        }
        return first..<plan.tasks.count
    }
}

extension PlannedChunk {
    /// One chunk of `matrix`, which is `plan.matrices[index]`.
    init(_ matrix: PlannedMatrix, index: Int, chunk: Int) {
        let planes = matrix.planeCount
        let extent = matrix.tensor.extent(ofChunk: chunk)
        let records = matrix.tensor.chunks[(chunk * planes)..<((chunk + 1) * planes)]
        let end = records.map { $0.offset + UInt64($0.storedSize) }.max() ?? extent.lowerBound
        self.init(
            file: matrix.file, offset: extent.lowerBound, byteCount: Int(extent.upperBound - extent.lowerBound),
            neededBytes: Int(end - extent.lowerBound),
            decodedBytes: matrix.tensor.geometry.chunk(chunk).elementCount * matrix.tensor.dtype.size, matrix: index,
            chunk: chunk)
    }
}
