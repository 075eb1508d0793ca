import CKernels
import CSystem
import LayerStore
import TensorCore

/// Carries out passes of a plan with a thread pool. Parses nothing and allocates nothing on the way.
final class PassRunner: @unchecked Sendable {
    // Sendable: set up by one thread between runs of the pool, whose barriers order it; `failure` has its own lock.

    /// Which token of which sequence a column is.
    struct Column: Sendable {
        var sequence: Int
        var position: Int
    }

    /// Which columns the head is applied to.
    enum HeadUse {
        /// Logits of the given columns, rising, to rows from `firstRow` on.
        case logits(columns: [Int], firstRow: Int)
        /// Scores of all columns; `keepsLast` also keeps the last column's logits, in row 0.
        case scores(HeadScores, keepsLast: Bool)
    }

    /// What the pool's tasks do.
    private enum Work {
        case columns([ColumnStep], blockSize: Int)
        case tasks(Range<Int>)
        case checks(Range<Int>)
        case parts(Range<Int>)
        case attention(layer: Int, scale: Float)
    }

    private let plan: StreamPlan
    private let work: WorkPlan
    private let config: ModelConfig
    private let attention: [AttentionHeads]
    private let kernels: KernelTable
    private let vectors: ResidentVectors
    /// Per sequence: rotary frequencies may depend on the prompt's length.
    private let ropes: [Rope]
    private let pool: OpaquePointer
    let workers: [Worker]
    let activations: Activations
    private let cache: KeyValueCache
    let products: ChunkProducts
    /// (columns, cosines then sines) of the positions in this pass.
    private let angles: FloatBuffer
    /// (rows, vocabulary rounded up) logits of the columns asked for.
    let logits: FloatBuffer
    private let logitsStride: Int
    private let prefetcher: Prefetcher
    private let failure = FirstFailure()
    private var currentWork = Work.tasks(0..<0)
    private var firstIndex = 0
    private var columns: [Column] = []

    init(
        _ plan: StreamPlan, _ work: WorkPlan, _ config: ModelConfig, kernels: KernelTable, vectors: ResidentVectors,
        ropes: [Rope], workers: [Worker], activations: Activations, cache: KeyValueCache, products: ChunkProducts,
        logitsRows: Int, prefetcher: Prefetcher
    ) throws(LaminaError) {
        self.plan = plan
        self.work = work
        self.config = config
        attention = AttentionHeads.all(config)
        self.kernels = kernels
        self.vectors = vectors
        self.ropes = ropes
        self.workers = workers
        self.activations = activations
        self.cache = cache
        self.products = products
        self.prefetcher = prefetcher
        angles = try FloatBuffer(count: activations.columns * config.rope.dimension)
        logitsStride = PassRunner.logitsStride(config)
        logits = try FloatBuffer(count: logitsRows * logitsStride)
        columns.reserveCapacity(activations.columns)
        guard let pool = lamina_pool_create(workers.count) else {
            throw LaminaError(.limit, "--threads", "cannot start \(workers.count) threads")
        }
        self.pool = pool
    }

    deinit { lamina_pool_destroy(pool) }

    /// Floats from one row of logits to the next.
    static func logitsStride(_ config: ModelConfig) -> Int { roundedUp(config.vocabularySize, to: 16) }

    /// One row of logits (vocabulary).
    func logits(row: Int) -> UnsafeMutablePointer<Float> { logits.start + row * logitsStride }

    /// One pass over `columns`, whose embeddings stand in the residual stream. False if `shouldStop` ended it early.
    /// Throws what reading and checking chunks throws.
    func run(
        _ columns: [Column], head: HeadUse?, shouldStop: () -> Bool, layerEnd: ((Int) -> Void)? = nil
    ) throws(LaminaError) -> Bool {
        self.columns = columns
        products.begin(columns: columns.count)
        for (index, column) in columns.enumerated() {
            let rope = ropes[column.sequence]
            let start = angles.start + index * 2 * rope.frequencies.count
            rope.fill(position: column.position, cosine: start, sine: start + rope.frequencies.count)
        }
        var stages = work.stages.startIndex
        for step in plan.body {
            switch step {
            case .columns(let steps): try runColumns(steps)
            case .multiply:
                try multiply(work.stages[stages])
                stages += 1
            case .attend(let layer, let scale):
                try run(.attention(layer: layer, scale: scale), count: columns.count * attention.count)
            case .layerEnd(let layer):
                layerEnd?(layer)
                if shouldStop() { return false }
            }
        }
        if let head { try run(head, work.stages[stages]) }
        products.end()
        return true
    }

    private func run(_ head: HeadUse, _ stage: ProductStage) throws(LaminaError) {
        switch head {
        case .logits(let wanted, let firstRow):
            // The wanted columns move to the front, in order: the head then reads one block of columns.
            let width = plan.widths[Activation.residual.rawValue]
            for (index, column) in wanted.enumerated() where index != column {
                activations.column(.residual, index).update(from: activations.column(.residual, column), count: width)
            }
            columns.removeLast(columns.count - wanted.count)
            products.beginHead(.logits(logits(row: firstRow), stride: logitsStride), columns: wanted.count)
        case .scores(let scores, let keepsLast):
            products.beginHead(.scores(scores, lastLogits: keepsLast ? logits.start : nil), columns: columns.count)
        }
        try runColumns(plan.final)
        try multiply(stage)
    }

    private func multiply(_ stage: ProductStage) throws(LaminaError) {
        guard products.canCut(stage) else { return try run(.tasks(stage.tasks), count: stage.tasks.count) }
        let needsChecks = products.needsChecks(stage)
        if needsChecks { try run(.checks(stage.chunks), count: stage.chunks.count) }
        try run(.parts(stage.parts), count: stage.parts.count)
        if needsChecks { for chunk in stage.chunks { products.release(chunk) } }
    }

    // MARK: The pool

    private func runColumns(_ steps: [ColumnStep]) throws(LaminaError) {
        // A few tasks per thread: one column is a microsecond's work.
        let blockSize = max(1, columns.count / (4 * workers.count))
        try run(.columns(steps, blockSize: blockSize), count: dividedUp(columns.count, by: blockSize))
    }

    /// Tasks in one run of the pool, a limit of its own.
    private static let mostTasks = (1 << 20) - 1

    private func run(_ work: Work, count: Int) throws(LaminaError) {
        currentWork = work
        firstIndex = 0
        while firstIndex < count {
            let batch = min(count - firstIndex, PassRunner.mostTasks)
            lamina_pool_run(
                pool, batch,
                { context, index, worker in
                    guard let context else { return }
                    Unmanaged<PassRunner>.fromOpaque(context).takeUnretainedValue().perform(index, worker)
                }, Unmanaged.passUnretained(self).toOpaque())
            firstIndex += batch
        }
        try failure.rethrow()
    }

    private func perform(_ index: Int, _ worker: Int) {
        let index = firstIndex + index
        let worker = workers[worker]
        switch currentWork {
        case .columns(let steps, let blockSize):
            for column in (index * blockSize)..<min((index + 1) * blockSize, columns.count) { perform(steps, column) }
        case .attention(let layer, let scale):
            attend(layer, scale, column: index / attention.count, attention[index % attention.count], worker)
        case .tasks(let tasks):
            let task = plan.tasks[tasks.lowerBound + index]
            multiply(task.matrix) { () throws(LaminaError) in try products.multiply(task, worker) }
        case .checks(let chunks):
            let chunk = chunks.lowerBound + index
            multiply(plan.chunks[chunk].matrix) { () throws(LaminaError) in try products.check(chunk, worker) }
        case .parts(let parts):
            let part = work.parts[parts.lowerBound + index]
            multiply(plan.tasks[part.task].matrix) { () throws(LaminaError) in try products.multiply(part, worker) }
        }
    }

    /// Runs `body`; its error is kept, with the matrix named.
    private func multiply(_ matrix: Int, _ body: () throws(LaminaError) -> Void) {
        do throws(LaminaError) {
            try body()
        } catch {
            let matrix = plan.matrices[matrix]
            let located = error.located(in: plan.files[matrix.file], tensor: matrix.name)
            failure.note(located)
            // Workers that wait for chunks behind this one would wait for ever: its slots are not given back.
            prefetcher.abort(located)
        }
    }

    // MARK: Columns

    private func perform(_ steps: [ColumnStep], _ column: Int) {
        for step in steps {
            switch step {
            case .rmsNorm(let input, let weight, let output):
                kernels.pointee.rms_norm(
                    activations.column(input, column), vectors.vector(weight), config.normEpsilon,
                    activations.column(output, column), plan.widths[input.rawValue])
            case .addBias(let bias, let target):
                kernels.pointee.add(
                    vectors.vector(bias), activations.column(target, column), plan.widths[target.rawValue])
            case .rotateHalves(let activation, let heads): rotateHalves(activation, heads: heads, column)
            case .storeKeyValue(let layer):
                cache.store(
                    sequence: columns[column].sequence, layer: layer, position: columns[column].position,
                    key: activations.column(.key, column), value: activations.column(.value, column))
            case .siluMultiply(let gate, let up):
                kernels.pointee.silu_multiply(
                    activations.column(gate, column), activations.column(up, column), plan.widths[gate.rawValue])
            case .add(let source, let target):
                kernels.pointee.add(
                    activations.column(source, column), activations.column(target, column),
                    plan.widths[target.rawValue])
            }
        }
    }

    private func rotateHalves(_ activation: Activation, heads: Int, _ column: Int) {
        let half = config.rope.dimension / 2
        let cosine = angles.start + column * 2 * half
        for head in 0..<heads {
            kernels.pointee.rope_half(
                activations.column(activation, column) + head * config.headDimension, cosine, cosine + half, 2 * half)
        }
    }

    private func attend(_ layer: Int, _ scale: Float, column: Int, _ heads: AttentionHeads, _ worker: Worker) {
        let started = lamina_monotonic_seconds()
        let (sequence, position) = (columns[column].sequence, columns[column].position)
        var task = lamina_attention_task()
        task.query = UnsafePointer(activations.column(.query, column) + heads.first * config.headDimension)
        task.queries = heads.count
        task.keys = UnsafePointer(cache.keys(sequence: sequence, layer: layer, head: heads.keyValueHead))
        task.values = UnsafePointer(cache.values(sequence: sequence, layer: layer, head: heads.keyValueHead))
        task.head_dim = config.headDimension
        task.first = 0
        task.count = position + 1
        task.scale = scale
        task.scores = worker.scores.start
        task.score_stride = worker.scoreStride
        task.output = activations.column(.mixed, column) + heads.first * config.headDimension
        kernels.pointee.attend(&task)
        worker.seconds.compute += lamina_monotonic_seconds() - started
    }
}
