import LayerStore
import TensorCore

// Tensors, and the steps that are made of several of them.
extension StreamPlanBuilder {
    private func location(
        _ name: String, in rule: String? = nil, layer: Int
    ) throws(LaminaError) -> (file: Int, tensor: TensorRecord) {
        guard let place = places[rule ?? name] else { throw inconsistent("\(name) is not in the tensor table") }
        let files = variant?.has(rule ?? name, place, layer: layer) == true ? variantFileOfLayer : fileOfLayer
        guard let file = files[StoredModel.layerName(place, layer: layer)] else {
            throw inconsistent("\(name) is not in the tensor table")
        }
        guard let tensor = tensors[file][name] else {
            throw LaminaError(
                .malformed, plan.files[file].path, "the shard lacks this tensor", layer: plan.files[file].layer,
                tensor: name)
        }
        return (file, tensor)
    }

    mutating func matrix(_ name: String, layer: Int) throws(LaminaError) -> Int {
        let (file, tensor) = try location(name, layer: layer)
        guard let type = WeightType(tensor.dtype) else { throw inconsistent("\(name) has a dtype without kernels") }
        var scales: Int?
        if type == .float8 {
            guard let blocks = model.definition.float8Blocks else { throw inconsistent("\(name) has no scales") }
            scales = try vector(
                name + Float8Blocks.scaleSuffix, in: name, layer: layer, shape: blocks.scaleShape(tensor.shape))
        }
        plan.matrices.append(
            PlannedMatrix(
                tensor, type, file: file, name: LayerPlan.name(name, layer: layer), compute: compute, scales: scales))
        return plan.matrices.count - 1
    }

    mutating func vector(_ name: String, layer: Int, count: Int) throws(LaminaError) -> Int {
        try vector(name, in: name, layer: layer, shape: Shape([count]))
    }

    /// Plans a tensor that is kept in memory as f32. `rule` is the row of the table that it belongs to.
    private mutating func vector(
        _ name: String, in rule: String, layer: Int, shape: Shape
    ) throws(LaminaError) -> Int {
        let (file, tensor) = try location(name, in: rule, layer: layer)
        guard tensor.shape == shape, tensor.geometry.layout == .rows, let type = WeightType(tensor.dtype) else {
            throw inconsistent("\(name) does not fit its activation")
        }
        let offset = plan.vectorFloats
        plan.vectors.append(
            PlannedVector(
                file: file, tensor: tensor, weightType: type, name: LayerPlan.name(name, layer: layer), offset: offset))
        // Whole cache lines each, so that kernels load aligned vectors.
        plan.vectorFloats += roundedUp(shape.elementCount, to: 16)
        return offset
    }

    mutating func appendTasks(_ index: Int, input: Int, output: Int?) -> Range<Int> {
        appendTasks(index, input: input, output: output) { chunk, geometry in chunk % geometry.columnRanges == 0 }
    }

    /// Tasks of the chunks of a matrix in order; `begins` says at which chunks one begins.
    private mutating func appendTasks(
        _ index: Int, input: Int, output: Int?, begins: (_ chunk: Int, ChunkGeometry) -> Bool
    ) -> Range<Int> {
        let matrix = plan.matrices[index]
        let geometry = matrix.tensor.geometry
        let first = plan.tasks.count
        for chunk in 0..<geometry.chunkCount {
            let next = plan.chunks.count
            plan.chunks.append(PlannedChunk(matrix, index: index, chunk: chunk))
            if begins(chunk, geometry) {
                plan.tasks.append(ChunkTask(chunks: next..<(next + 1), matrix: index, input: input, output: output))
            } else {
                let task = plan.tasks.count - 1
                plan.tasks[task].chunks = plan.tasks[task].chunks.lowerBound..<(next + 1)
            }
        }
        return first..<plan.tasks.count
    }

    mutating func attend(
        _ query: Heads, _ keys: PlannedHeads, _ values: PlannedHeads?, _ valueDimension: Int, _ form: AttentionForm,
        into output: Activation, layer: Int
    ) throws(LaminaError) {
        guard query.count % keys.count == 0, query.dimension == keys.dimension,
            values.map({ $0.count == keys.count && $0.dimension == valueDimension })
                ?? (valueDimension <= keys.dimension),
            form.slopes.map({ $0.count == query.count }) ?? true
        else { throw inconsistent("queries, keys and values do not fit together") }
        let shared = query.count / keys.count
        // The heads of a group are read as one matrix.
        let planned = try heads(query)
        guard query.perGroup % shared == 0 else { throw inconsistent("queries that share a key are apart") }
        plan.keyValues.append(
            KeyValueShape(
                heads: keys.count, keyDimension: keys.dimension, valueDimension: valueDimension,
                isLatent: values == nil, window: form.window))
        plan.queryHeads += query.count
        plan.body.append(
            .attend(
                PlannedAttention(
                    layer: layer, query: planned,
                    groups: AttentionHeads.all(count: query.count, keyValueCount: keys.count), form: form,
                    output: try bind(output, width: query.count * valueDimension))))
    }

    /// For matrices whose rows are used one by one.
    func refuseQuantized(_ matrix: PlannedMatrix) throws(LaminaError) {
        guard matrix.form != nil else { return }
        throw LaminaError(
            .malformed, plan.files[matrix.file].path, "this matrix cannot be quantized",
            expected: "a lossless codec", found: matrix.tensor.codec.name, layer: plan.files[matrix.file].layer,
            tensor: matrix.name)
    }

    mutating func headProduct(
        _ kind: PlannedHeadProduct.Kind, _ input: PlannedHeads, weight: String, rowsPerHead: Int, rows: Range<Int>,
        into output: Activation, layer: Int
    ) throws(LaminaError) {
        let index = try matrix(weight, layer: layer)
        let matrix = plan.matrices[index]
        guard matrix.rows == input.count * rowsPerHead, rows.upperBound <= rowsPerHead else {
            throw inconsistent("\(weight) does not fit its heads")
        }
        try refuseQuantized(matrix)
        let width: Int
        let tasks: Range<Int>
        switch kind {
        case .absorb(let rotated):
            guard rows.count == input.dimension, rotated.count == input.count else {
                throw inconsistent("\(weight) does not fit its heads")
            }
            width = input.count * (matrix.columns + rotated.dimension)
            // Sums over the rows of a head: no two tasks may have rows of the same one.
            tasks = appendTasks(index, input: input.buffer, output: nil) { chunk, geometry in
                let row = geometry.chunk(chunk).firstUnit * geometry.unitRows % rowsPerHead
                return chunk == 0 || chunk % geometry.columnRanges == 0 && (row == 0 || row >= rows.upperBound)
            }
        case .expand:
            guard input.dimension == matrix.columns else { throw inconsistent("\(weight) does not fit its heads") }
            width = input.count * rows.count
            tasks = appendTasks(index, input: input.buffer, output: nil)
        }
        plan.body.append(
            .headProduct(
                PlannedHeadProduct(
                    kind: kind, tasks: tasks, matrix: index, input: input, output: try bind(output, width: width),
                    rowsPerHead: rowsPerHead, rows: rows)))
    }

    mutating func experts(_ mixture: ExpertMixture, layer: Int) throws(LaminaError) {
        let input = try buffer(mixture.input)
        let width = plan.widths[input]
        let gathered = try bind(.expertInput, width: width)
        let down = try bind(.expertOutput, width: width)
        let sum = try bind(.expertSum, width: width)
        let first = plan.experts.count
        var gate = 0
        var up = 0
        var tasks: [(gateUp: Range<Int>, down: Range<Int>)] = []
        for expert in 0..<mixture.experts {
            func matrix(_ pattern: String) throws(LaminaError) -> Int {
                try self.matrix(ExpertMixture.name(pattern, expert: expert), layer: layer)
            }
            let firstChunk = plan.chunks.count
            let (gateMatrix, upMatrix, downMatrix) = (
                try matrix(mixture.gate), try matrix(mixture.up), try matrix(mixture.down)
            )
            gate = try bind(.expertGate, width: plan.matrices[gateMatrix].rows)
            up = try bind(.expertUp, width: plan.matrices[upMatrix].rows)
            let first = appendTasks(gateMatrix, input: gathered, output: gate)
            let second = appendTasks(upMatrix, input: gathered, output: up)
            let last = appendTasks(downMatrix, input: gate, output: down)
            tasks.append((first.lowerBound..<second.upperBound, last))
            plan.experts.append(
                PlannedExpert(layer: layer, expert: expert, chunks: firstChunk..<plan.chunks.count))
        }
        plan.expertsPerToken = mixture.chosen
        for tasks in tasks { _ = codedInputs(of: tasks.gateUp.lowerBound..<tasks.down.upperBound) }
        plan.body.append(
            .experts(
                PlannedMixture(
                    layer: layer, experts: first..<plan.experts.count, function: mixture.function, input: input,
                    gathered: gathered, gate: gate, up: up, down: down, sum: sum, tasks: tasks)))
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
            decodedBytes: matrix.tensor.geometry.usedBytes(matrix.tensor.geometry.chunk(chunk)), matrix: index,
            chunk: chunk)
    }
}
