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
        /// Scores of the given columns, rising, and the last one's logits, in row 0.
        case scores(HeadScores, columns: [Int])
    }

    /// What the pool's tasks do.
    private enum Work {
        case columns([ColumnStep], blockSize: Int)
        case tasks(Range<Int>)
        case checks(Range<Int>)
        case parts(Range<Int>)
        case attention(PlannedAttention)
        case headProduct(PlannedHeadProduct)
        case routing(PlannedRouting)
        case experts(ExpertPass.Step, PlannedMixture)
    }

    let plan: StreamPlan
    private let work: WorkPlan
    let kernels: KernelTable
    private let pool: OpaquePointer
    let workers: [Worker]
    let activations: Activations
    let products: ChunkProducts
    private let steps: ColumnSteps
    private let attention: AttentionRunner
    private let experts: ExpertPass
    private let router: Router
    /// (rows, vocabulary rounded up) logits of the columns asked for.
    let logits: FloatBuffer
    private let logitsStride: Int
    private let prefetcher: Prefetcher
    private let failure = FirstFailure()
    private var currentWork = Work.tasks(0..<0)
    private var firstIndex = 0
    private var columns: [Column] = []
    /// Called before tasks multiply, with the columns of the pass that stand side by side then; nobody is at work.
    var willMultiply: ((_ tasks: Range<Int>, _ columns: [Int]) throws(LaminaError) -> Void)?
    /// These columns, where they are not the first ones; only for `willMultiply`.
    private var gathered: [Int]?

    init(
        _ plan: StreamPlan, _ work: WorkPlan, _ config: ModelConfig, kernels: KernelTable, steps: ColumnSteps,
        workers: [Worker], products: ChunkProducts, logitsRows: Int, prefetcher: Prefetcher
    ) throws(LaminaError) {
        self.plan = plan
        self.work = work
        self.kernels = kernels
        self.steps = steps
        self.workers = workers
        self.products = products
        self.prefetcher = prefetcher
        activations = steps.activations
        attention = AttentionRunner(kernels: kernels, activations: activations, cache: steps.cache)
        router = Router(columns: activations.columns, plan.routings)
        experts = ExpertPass(
            kernels: kernels, activations: activations, codes: steps.codes, router: router, widths: plan.widths)
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
        gathered = nil
        products.begin(columns: columns.count)
        for (index, column) in columns.enumerated() {
            steps.angles.fill(column: index, sequence: column.sequence, position: column.position)
        }
        if !plan.start.isEmpty { try runColumns(plan.start) }
        var stages = work.stages[...]
        for step in plan.body {
            switch step {
            case .columns(let steps): try runColumns(steps)
            case .multiply: if let stage = stages.popFirst() { try multiply(stage) }
            case .attend(let layer): try run(.attention(layer), count: columns.count * layer.groups.count)
            case .headProduct(let product): try run(.headProduct(product), count: product.tasks.count)
            case .route(let routing): try route(routing)
            case .experts(let mixture): try run(mixture, &stages)
            case .layerEnd(let layer):
                layerEnd?(layer)
                if shouldStop() { return false }
            }
        }
        if let head, let stage = stages.first { try run(head, stage) }
        products.end()
        return true
    }

    private func run(_ head: HeadUse, _ stage: ProductStage) throws(LaminaError) {
        switch head {
        case .logits(let wanted, let firstRow):
            moveToFront(wanted)
            products.beginHead(.logits(logits(row: firstRow), stride: logitsStride), columns: wanted.count)
        case .scores(let scores, let wanted):
            moveToFront(wanted)
            products.beginHead(.scores(scores, lastLogits: logits.start), columns: wanted.count)
        }
        try runColumns(plan.final)
        try multiply(stage)
    }

    /// Keeps these columns of the residual stream, which rise, and no others: the head then reads one block of columns.
    private func moveToFront(_ wanted: [Int]) {
        if willMultiply != nil { gathered = wanted }
        let width = plan.widths[StreamPlan.residual]
        for (index, column) in wanted.enumerated() where index != column {
            activations.column(StreamPlan.residual, index)
                .update(from: activations.column(StreamPlan.residual, column), count: width)
        }
        columns.removeLast(columns.count - wanted.count)
    }

    private func multiply(_ stage: ProductStage) throws(LaminaError) {
        try willMultiply?(stage.tasks, gathered ?? Array(0..<products.columns))
        guard products.canCut(stage) else { return try run(.tasks(stage.tasks), count: stage.tasks.count) }
        let needsChecks = products.needsChecks(stage)
        if needsChecks { try run(.checks(stage.chunks), count: stage.chunks.count) }
        try run(.parts(stage.parts), count: stage.parts.count)
        if needsChecks { for chunk in stage.chunks { products.release(chunk) } }
    }

    // MARK: Experts

    private func route(_ routing: PlannedRouting) throws(LaminaError) {
        try run(.routing(routing), count: columns.count)
        router.sort(routing.routing, columns: columns.count)
        try products.route(experts.wanted(routing))
    }

    /// The chosen experts one after the other, each with its columns side by side.
    private func run(_ mixture: PlannedMixture, _ stages: inout ArraySlice<ProductStage>) throws(LaminaError) {
        experts.clear(mixture, columns: columns.count)
        for expert in mixture.tasks.indices {
            guard let gateUp = stages.popFirst(), let down = stages.popFirst() else { return }
            let count = experts.begin(expert)
            guard count > 0 else { continue }
            if willMultiply != nil { gathered = experts.columns }
            products.begin(columns: count)
            try run(.experts(.gather, mixture), count: count)
            try multiply(gateUp)
            try run(.experts(.activate, mixture), count: count)
            try multiply(down)
            try run(.experts(.accumulate, mixture), count: count)
        }
        gathered = nil
        products.begin(columns: columns.count)
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
            for column in (index * blockSize)..<min((index + 1) * blockSize, columns.count) {
                self.steps.perform(
                    steps, column: column, sequence: columns[column].sequence, position: columns[column].position)
            }
        case .attention(let layer):
            let column = index / layer.groups.count
            attention.attend(
                layer, layer.groups[index % layer.groups.count], column: column, sequence: columns[column].sequence,
                position: columns[column].position, worker)
        case .tasks(let tasks):
            let task = plan.tasks[tasks.lowerBound + index]
            multiply(task.matrix) { () throws(LaminaError) in try products.multiply(task, worker) }
        case .checks(let chunks):
            let chunk = chunks.lowerBound + index
            multiply(plan.chunks[chunk].matrix) { () throws(LaminaError) in try products.check(chunk, worker) }
        case .parts(let parts):
            let part = work.parts[parts.lowerBound + index]
            multiply(plan.tasks[part.task].matrix) { () throws(LaminaError) in try products.multiply(part, worker) }
        case .headProduct(let product):
            multiply(product.matrix) { () throws(LaminaError) in
                try products.multiply(product, plan.tasks[product.tasks.lowerBound + index], worker)
            }
        case .routing(let routing):
            router.choose(
                column: index, routing.routing, products: activations.column(routing.scores, index),
                bias: routing.bias.map(steps.vectors.vector), scratch: worker.scores.start)
        case .experts(let step, let mixture): experts.perform(step, mixture, place: index)
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
}
