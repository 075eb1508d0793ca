import CKernels
import CSystem
import LayerStore
import TensorCore

/// Multiplies chunks with the columns of a pass: from the ring or from memory, coded or decoded.
final class ChunkProducts: @unchecked Sendable {
    // Sendable: between two barriers of the pool every chunk belongs to one worker, or, once checked, to several that
    // only read it.

    /// Where the head's products go.
    enum HeadTarget {
        /// Logits (columns, stride) of that many columns.
        case logits(UnsafeMutablePointer<Float>, stride: Int)
        /// Scores of all columns; the last column's logits are kept.
        case scores(HeadScores, lastLogits: UnsafeMutablePointer<Float>)
    }

    let plan: StreamPlan
    private let requests: RequestPlan
    let kernels: KernelTable
    let activations: Activations
    private let codes: ActivationCodes
    private let prefetcher: Prefetcher
    let decoded: DecodedChunks?
    private let rowNorms: RowNorms?
    private let vectors: ResidentVectors
    /// Per chunk: whether its bytes stay in memory, and whether they have been compared with their checksum there. For
    /// an expert's chunks that changes with every routing.
    private let isKept: UnsafeMutablePointer<Bool>
    private let isChecked: UnsafeMutablePointer<Bool>
    /// Resident requests known to be in memory: written between passes, so that workers need no lock to read.
    private let residentStarts: UnsafeMutablePointer<UnsafeRawPointer?>
    private var missingResidents: [Int]
    private(set) var pass = 0
    private(set) var columns = 0
    private var headTarget: HeadTarget?

    init(
        _ plan: StreamPlan, _ requests: RequestPlan, kernels: KernelTable, activations: Activations,
        codes: ActivationCodes, vectors: ResidentVectors, prefetcher: Prefetcher, residents: Residents?,
        decoded: DecodedChunks?
    ) throws(LaminaError) {
        self.vectors = vectors
        rowNorms = plan.headForm.normalizesRows ? try RowNorms(plan.head) : nil
        self.plan = plan
        self.requests = requests
        self.kernels = kernels
        self.activations = activations
        self.codes = codes
        self.prefetcher = prefetcher
        self.decoded = decoded
        isKept = .allocate(capacity: max(1, plan.chunks.count))
        for (chunk, request) in requests.requestOfChunk.enumerated() {
            (isKept + chunk).initialize(to: residents?.contains(request) ?? false)
        }
        isChecked = .allocate(capacity: max(1, plan.chunks.count))
        isChecked.initialize(repeating: false, count: plan.chunks.count)
        residentStarts = .allocate(capacity: max(1, requests.requests.count))
        residentStarts.initialize(repeating: nil, count: requests.requests.count)
        missingResidents = requests.requests.indices.filter { residents?.contains($0) ?? false }
    }

    deinit {
        isKept.deallocate()
        isChecked.deallocate()
        residentStarts.deallocate()
    }

    /// Before the products of a pass over `columns` columns.
    func begin(columns: Int) { self.columns = columns }

    /// Says which experts the columns of the pass want of the layer that has just been routed: indices into the plan's
    /// experts that rise. Their chunks can be multiplied from then on. Every layer with experts has its turn in every
    /// pass, in order, between two runs of the pool. Throws `.unexpected` where that is not so.
    func route(_ experts: [Int]) throws(LaminaError) {
        try prefetcher.route(pass: pass, experts: experts) { expert, place in
            guard place != .cached else { return }
            for chunk in plan.experts[expert].chunks {
                isKept[chunk] = place == .admitted
                // Read again, so checked again.
                isChecked[chunk] = false
            }
        }
    }

    /// Before the head's, which may take fewer columns.
    func beginHead(_ target: HeadTarget, columns: Int) {
        headTarget = target
        self.columns = columns
    }

    /// After a pass.
    func end() {
        pass += 1
        missingResidents.removeAll { request in
            residentStarts[request] = prefetcher.residentBytes(request)
            return residentStarts[request] != nil
        }
    }

    /// A chunk that is in memory, for the embedding lookup; nil for others.
    func chunkInMemory(_ chunk: Int) -> ChunkBytes? {
        if let elements = decoded?.elements(chunk) { return .kept(elements) }
        let request = requests.requestOfChunk[chunk]
        return residentStarts[request].map { .stored(place(of: chunk, in: $0)) }
    }

    /// Whether the stage's chunks can be multiplied part by part now: always as stored, decoded once all are kept.
    func canCut(_ stage: ProductStage) -> Bool {
        guard !stage.parts.isEmpty else { return false }
        guard let decoded else { return true }
        return stage.chunks.allSatisfy { decoded.isKept($0) }
    }

    /// Whether parts of the stage have to wait for checks.
    func needsChecks(_ stage: ProductStage) -> Bool {
        decoded == nil && !stage.chunks.allSatisfy { isKept[$0] && isChecked[$0] }
    }

    // MARK: On a worker

    /// Multiplies all chunks of a task.
    func multiply(_ task: ChunkTask, _ worker: Worker) throws(LaminaError) {
        for chunk in task.chunks {
            if let elements = decoded?.elements(chunk) {
                multiply(elements, chunk, task, groups: nil, worker)
                continue
            }
            let stored = try checkedBytes(of: chunk, worker)
            try multiply(stored, chunk, task, groups: nil, worker)
            release(chunk)
        }
    }

    /// Fetches a chunk and compares its checksum, ahead of `multiply` for its parts and `release`.
    func check(_ chunk: Int, _ worker: Worker) throws(LaminaError) { _ = try checkedBytes(of: chunk, worker) }

    /// Multiplies some panels of a chunk that has been checked.
    func multiply(_ part: PanelPart, _ worker: Worker) throws(LaminaError) {
        let task = plan.tasks[part.task]
        let chunk = task.chunks.lowerBound
        if let elements = decoded?.elements(chunk) {
            return multiply(elements, chunk, task, groups: part.groups, worker)
        }
        try multiply(try bytes(of: chunk, worker), chunk, task, groups: part.groups, worker)
    }

    /// Gives a streamed chunk's room back.
    func release(_ chunk: Int) {
        guard !isKept[chunk] else { return }
        prefetcher.release(pass: pass, request: requests.requestOfChunk[chunk])
    }

    private func place(of chunk: Int, in request: UnsafeRawPointer) -> UnsafeRawPointer {
        request + Int(plan.chunks[chunk].offset - requests.requests[requests.requestOfChunk[chunk]].offset)
    }

    private func bytes(of chunk: Int, _ worker: Worker) throws(LaminaError) -> UnsafeRawBufferPointer {
        let request = requests.requestOfChunk[chunk]
        let start =
            if let resident = residentStarts[request] {
                resident
            } else {
                try prefetcher.take(pass: pass, request: request, waited: &worker.seconds.wait)
            }
        return UnsafeRawBufferPointer(start: place(of: chunk, in: start), count: plan.chunks[chunk].byteCount)
    }

    func checkedBytes(of chunk: Int, _ worker: Worker) throws(LaminaError) -> UnsafeRawBufferPointer {
        let stored = try bytes(of: chunk, worker)
        // What stays in memory is what was checked when it came from the disk.
        guard !isChecked[chunk] else { return stored }
        let planned = plan.chunks[chunk]
        let matrix = plan.matrices[planned.matrix]
        let started = lamina_monotonic_seconds()
        try ChunkDecoder.check(
            matrix.tensor, chunk: planned.chunk, stored: stored, base: planned.offset, planeCount: matrix.planeCount)
        isChecked[chunk] = isKept[chunk]
        worker.seconds.check += lamina_monotonic_seconds() - started
        return stored
    }

    /// Multiplies the panels of a stored chunk: as they are coded if the codec allows it, else decoded first.
    private func multiply(
        _ stored: UnsafeRawBufferPointer, _ chunk: Int, _ task: ChunkTask, groups: Range<Int>?, _ worker: Worker
    ) throws(LaminaError) {
        let planned = plan.chunks[chunk]
        let matrix = plan.matrices[planned.matrix]
        if decoded == nil,
            let tiers = try ChunkDecoder.tiers(
                matrix.tensor, chunk: planned.chunk, stored: stored, base: planned.offset,
                planeCount: matrix.planeCount)
        {
            return try multiply(tiers, planned, task, groups: groups, worker)
        }
        let started = lamina_monotonic_seconds()
        let elements = try worker.decoder.decodeChecked(
            matrix.tensor, chunk: planned.chunk, stored: stored, base: planned.offset, planeCount: matrix.planeCount,
            planeBytes: matrix.planeBytes)
        decoded?.keep(elements, of: chunk)
        worker.seconds.decode += lamina_monotonic_seconds() - started
        multiply(.decoded(elements), chunk, task, groups: groups, worker)
    }

    private func multiply(
        _ tiers: TierChunk, _ planned: PlannedChunk, _ task: ChunkTask, groups: Range<Int>?, _ worker: Worker
    ) throws(LaminaError) {
        let started = lamina_monotonic_seconds()
        let matrix = plan.matrices[planned.matrix]
        let extent = matrix.tensor.geometry.chunk(planned.chunk)
        for unit in groups ?? 0..<extent.unitCount {
            let segment = tiers.segment(unit)
            var panel = self.panel(unit, extent, matrix, task, worker)
            panel.weights = segment.baseAddress
            guard kernels.pointee.multiply_tier_panel(&panel, segment.count, worker.decoder.scratch) else {
                throw ChunkDecoder.damage(chunk: planned.chunk, of: matrix.tensor)
            }
            if needsRowNorms(task, extent.firstUnit + unit) {
                let words = try worker.decoder.decode(tiers, segment: unit, of: matrix.tensor, chunk: planned.chunk)
                rowNorms?.add(words, panel, number: extent.firstUnit + unit, matrix, kernels, worker)
            }
            finish(panel, number: extent.firstUnit + unit, extent, matrix, task, worker)
        }
        worker.seconds.compute += lamina_monotonic_seconds() - started
    }

    private func multiply(
        _ elements: DecodedChunks.Elements, _ chunk: Int, _ task: ChunkTask, groups: Range<Int>?, _ worker: Worker
    ) {
        let started = lamina_monotonic_seconds()
        let planned = plan.chunks[chunk]
        let matrix = plan.matrices[planned.matrix]
        let geometry = matrix.tensor.geometry
        let extent = geometry.chunk(planned.chunk)
        let fullPanel = 64 * extent.columnCount * geometry.elementSize
        for group in groups ?? 0..<geometry.groupCount(extent) {
            let number = geometry.firstGroup(extent) + group
            var panel = self.panel(group, extent, matrix, task, worker)
            if let form = matrix.form {
                let input = QuantizedInput(
                    codes: codes.columns(task.input), widened: worker.rows.start, restored: worker.decoder.room)
                matrix.multiply(form, elements, group: group, of: extent, input, panel, kernels)
            } else if case .decoded(let start) = elements {
                panel.weights = start + group * fullPanel
                kernels.multiply(
                    matrix.weightType, &panel, scales: scales(matrix, panel: number), widened: worker.rows.start)
                if needsRowNorms(task, number) {
                    rowNorms?.add(start + group * fullPanel, panel, number: number, matrix, kernels, worker)
                }
            }
            finish(panel, number: number, extent, matrix, task, worker)
        }
        worker.seconds.compute += lamina_monotonic_seconds() - started
    }

    /// The scales of a panel of 8-bit floats.
    func scales(_ matrix: PlannedMatrix, panel: Int) -> PanelScales? {
        PanelScales(matrix, panel: panel, plan.float8Blocks, vectors)
    }

    /// The product of a group of rows, all but the weights.
    private func panel(
        _ group: Int, _ extent: ChunkExtent, _ matrix: PlannedMatrix, _ task: ChunkTask, _ worker: Worker
    ) -> lamina_panel_task {
        let number = matrix.tensor.geometry.firstGroup(extent) + group
        var panel = lamina_panel_task()
        panel.width = min(64, roundedUp(matrix.rows - number * 64, to: 16))
        panel.rows = min(64, matrix.rows - number * 64)
        panel.k_begin = extent.firstColumn
        panel.k_count = extent.columnCount
        panel.x = UnsafePointer(activations.column(task.input, 0))
        panel.x_stride = activations.stride(task.input)
        panel.columns = columns
        if let output = task.output {
            panel.y = activations.column(output, 0) + number * 64
            panel.y_stride = activations.stride(output)
        } else if case .logits(let start, let stride) = headTarget {
            panel.y = start + number * 64
            panel.y_stride = stride
        } else {
            panel.y = worker.panel.start
            panel.y_stride = 64
        }
        return panel
    }

    private func needsRowNorms(_ task: ChunkTask, _ number: Int) -> Bool {
        task.output == nil && rowNorms?.isKnown(panel: number) == false
    }

    /// Makes logits of a panel's products, and scores of those where that is what the head is for.
    private func finish(
        _ panel: lamina_panel_task, number: Int, _ extent: ChunkExtent, _ matrix: PlannedMatrix, _ task: ChunkTask,
        _ worker: Worker
    ) {
        let isComplete = extent.firstColumn + extent.columnCount == matrix.tensor.geometry.paddedColumns
        guard task.output == nil, isComplete else { return }
        makeLogits(panel, number: number)
        guard case .scores(let scores, let lastLogits) = headTarget else { return }
        scores.reduce(panel: number, rows: panel.rows, logits: worker.panel.start, columns: columns)
        let last = worker.panel.start + (columns - 1) * 64
        for row in 0..<panel.rows { lastLogits[number * 64 + row] = last[row] }
    }

    private func makeLogits(_ panel: lamina_panel_task, number: Int) {
        let form = plan.headForm
        guard form != HeadForm(), let products = panel.y else { return }
        rowNorms?.complete(panel: number)
        for column in 0..<columns {
            let logits = products + column * panel.y_stride
            rowNorms?.divide(logits, panel: number, rows: panel.rows)
            if form.scale != 1 { kernels.pointee.scale(logits, form.scale, panel.rows) }
            if let cap = form.softcap { kernels.pointee.softcap(logits, cap, panel.rows) }
        }
    }
}
