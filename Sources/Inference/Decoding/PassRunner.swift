import CKernels
import CSystem
import LayerStore
import TensorCore

/// Carries out passes of a plan with a thread pool. Parses nothing and allocates nothing on the way.
final class PassRunner: @unchecked Sendable {
    // Sendable: set up by one thread between runs of the pool, whose barriers order it; `failure` has its own lock.

    /// Which positions the head is applied to.
    enum HeadUse {
        /// The last column's logits.
        case lastColumn
        /// Scores of all columns; `keepsLast` also keeps the last column's logits.
        case allColumns(HeadScores, keepsLast: Bool)
    }

    /// What the pool's tasks do.
    private enum Work {
        case columns([ColumnStep], blockSize: Int)
        case tasks(Range<Int>)
        case attention(layer: Int, scale: Float)
    }

    private let plan: StreamPlan
    private let config: ModelConfig
    private let kernels: KernelTable
    private let vectors: ResidentVectors
    private let rope: Rope
    private let pool: OpaquePointer
    let workers: [Worker]
    let activations: Activations
    private let cache: KeyValueCache
    /// (columns, cosines then sines) of the positions in this pass.
    private let angles: FloatBuffer
    /// Logits (vocabulary) of the last position asked for.
    let logits: FloatBuffer
    private let prefetcher: Prefetcher
    private let monitor = Monitor()
    private var failure: LaminaError?
    private var work = Work.tasks(0..<0)
    private var firstIndex = 0
    private var headUse = HeadUse.lastColumn
    private(set) var pass = 0
    private var columns = 0
    private var firstPosition = 0

    init(
        _ plan: StreamPlan, _ config: ModelConfig, kernels: KernelTable, vectors: ResidentVectors, rope: Rope,
        workers: [Worker], activations: Activations, cache: KeyValueCache, prefetcher: Prefetcher
    ) throws(LaminaError) {
        self.plan = plan
        self.config = config
        self.kernels = kernels
        self.vectors = vectors
        self.rope = rope
        self.workers = workers
        self.activations = activations
        self.cache = cache
        self.prefetcher = prefetcher
        angles = try FloatBuffer(count: activations.columns * 2 * rope.frequencies.count)
        logits = try FloatBuffer(count: roundedUp(config.vocabularySize, to: 16))
        guard let pool = lamina_pool_create(workers.count) else {
            throw LaminaError(.limit, "--threads", "cannot start \(workers.count) threads")
        }
        self.pool = pool
    }

    deinit { lamina_pool_destroy(pool) }

    /// One pass over `columns` tokens whose embeddings stand in the residual stream, at `firstPosition` and after.
    /// False if `shouldStop` ended it early. Throws what reading and checking chunks throws.
    func run(
        columns: Int, firstPosition: Int, head: HeadUse?, shouldStop: () -> Bool,
        layerEnd: ((Int) -> Void)? = nil
    ) throws(LaminaError) -> Bool {
        self.columns = columns
        self.firstPosition = firstPosition
        let half = rope.frequencies.count
        for column in 0..<columns {
            let start = angles.start + column * 2 * half
            rope.fill(position: firstPosition + column, cosine: start, sine: start + half)
        }
        for step in plan.body {
            switch step {
            case .columns(let steps): try runColumns(steps, columns)
            case .multiply(let tasks): try run(.tasks(tasks), count: tasks.count)
            case .attend(let layer, let scale):
                try run(.attention(layer: layer, scale: scale), count: columns * config.headCount)
            case .layerEnd(let layer):
                layerEnd?(layer)
                if shouldStop() { return false }
            }
        }
        if let head {
            headUse = head
            try runColumns(plan.final, columns)
            try run(.tasks(plan.headTasks), count: plan.headTasks.count)
        }
        pass += 1
        return true
    }

    // MARK: The pool

    private func runColumns(_ steps: [ColumnStep], _ columns: Int) throws(LaminaError) {
        // A few tasks per thread: one column is a microsecond's work.
        let blockSize = max(1, columns / (4 * workers.count))
        try run(.columns(steps, blockSize: blockSize), count: dividedUp(columns, by: blockSize))
    }

    /// Tasks in one run of the pool, a limit of its own.
    private static let mostTasks = (1 << 20) - 1

    private func run(_ work: Work, count: Int) throws(LaminaError) {
        self.work = work
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
        if let failure { throw failure }
    }

    private func perform(_ index: Int, _ worker: Int) {
        let index = firstIndex + index
        switch work {
        case .columns(let steps, let blockSize):
            for column in (index * blockSize)..<min((index + 1) * blockSize, columns) { perform(steps, column) }
        case .attention(let layer, let scale):
            attend(layer, scale, column: index / config.headCount, head: index % config.headCount, workers[worker])
        case .tasks(let tasks):
            let started = lamina_monotonic_seconds()
            let waited = workers[worker].waitSeconds
            multiply(plan.tasks[tasks.lowerBound + index], workers[worker])
            let elapsed = lamina_monotonic_seconds() - started
            workers[worker].taskSeconds += elapsed - (workers[worker].waitSeconds - waited)
        }
    }

    private func fail(_ error: LaminaError) {
        monitor.lock()
        if failure == nil { failure = error }
        monitor.unlock()
        // Workers that wait for chunks behind this one would wait for ever: its slots are not given back.
        prefetcher.abort(error)
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
            case .rotateHalves(let activation, let heads):
                let cosine = angles.start + column * 2 * rope.frequencies.count
                for head in 0..<heads {
                    kernels.pointee.rope_half(
                        activations.column(activation, column) + head * config.headDimension, cosine,
                        cosine + rope.frequencies.count, 2 * rope.frequencies.count)
                }
            case .storeKeyValue(let layer):
                cache.store(
                    layer: layer, position: firstPosition + column, key: activations.column(.key, column),
                    value: activations.column(.value, column))
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

    private func attend(_ layer: Int, _ scale: Float, column: Int, head: Int, _ worker: Worker) {
        let keyValueHead = head / (config.headCount / config.keyValueHeadCount)
        var task = lamina_attention_task()
        task.query = UnsafePointer(activations.column(.query, column) + head * config.headDimension)
        task.keys = UnsafePointer(cache.keys(layer: layer, head: keyValueHead))
        task.values = UnsafePointer(cache.values(layer: layer, head: keyValueHead))
        task.head_dim = config.headDimension
        task.first = 0
        task.count = firstPosition + column + 1
        task.scale = scale
        task.scores = worker.scores.start
        task.output = activations.column(.mixed, column) + head * config.headDimension
        kernels.pointee.attend(&task)
    }

    // MARK: Products

    private func multiply(_ task: ChunkTask, _ worker: Worker) {
        let matrix = plan.matrices[task.matrix]
        for read in task.reads {
            do throws(LaminaError) {
                try multiply(plan.reads[read], index: read, matrix, task, worker)
            } catch {
                return fail(error.located(in: plan.files[matrix.file], tensor: matrix.name))
            }
        }
    }

    private func multiply(
        _ read: ChunkRead, index: Int, _ matrix: PlannedMatrix, _ task: ChunkTask, _ worker: Worker
    ) throws(LaminaError) {
        let chunk = try prefetcher.take(pass: pass, read: index, waited: &worker.waitSeconds)
        if let start = chunk.bytes.baseAddress, chunk.isDecoded {
            return multiply(UnsafeRawPointer(start), read, matrix, task, worker)
        }
        defer { prefetcher.release(pass: pass, read: index) }
        let elements = try worker.decoder.decode(
            matrix.tensor, chunk: read.chunk, stored: chunk.bytes, base: read.offset, planeCount: matrix.planeCount,
            planeBytes: matrix.planeBytes)
        prefetcher.keep(elements, of: index)
        multiply(elements, read, matrix, task, worker)
    }

    /// All panels of a chunk, whose decoded elements these are, times all columns.
    private func multiply(
        _ elements: UnsafeRawPointer, _ read: ChunkRead, _ matrix: PlannedMatrix, _ task: ChunkTask, _ worker: Worker
    ) {
        let geometry = matrix.tensor.geometry
        let extent = geometry.chunk(read.chunk)
        var panel = lamina_panel_task()
        panel.k_begin = extent.firstColumn
        panel.k_count = extent.columnCount
        for unit in 0..<extent.unitCount {
            let number = extent.firstUnit + unit
            panel.weights = elements + unit * 64 * extent.columnCount * geometry.elementSize
            panel.width = geometry.width(ofUnit: number)
            panel.rows = min(64, geometry.rows - number * 64)
            if let output = task.output {
                panel.x = UnsafePointer(activations.column(task.input, 0))
                panel.x_stride = activations.stride(task.input)
                panel.y = activations.column(output, 0) + number * 64
                panel.y_stride = activations.stride(output)
                panel.columns = columns
                kernels.multiply(matrix.weightType, &panel)
            } else {
                let isComplete = extent.firstColumn + extent.columnCount == geometry.paddedColumns
                multiplyHead(&panel, number: number, matrix.weightType, worker, isComplete: isComplete)
            }
        }
    }

    private func multiplyHead(
        _ panel: inout lamina_panel_task, number: Int, _ type: WeightType, _ worker: Worker, isComplete: Bool
    ) {
        panel.x_stride = activations.stride(plan.headInput)
        switch headUse {
        case .lastColumn:
            panel.x = UnsafePointer(activations.column(plan.headInput, columns - 1))
            panel.y = logits.start + number * 64
            panel.y_stride = 0
            panel.columns = 1
            kernels.multiply(type, &panel)
        case .allColumns(let scores, let keepsLast):
            panel.x = UnsafePointer(activations.column(plan.headInput, 0))
            panel.y = worker.panel.start
            panel.y_stride = 64
            panel.columns = columns
            kernels.multiply(type, &panel)
            guard isComplete else { return }
            scores.reduce(panel: number, rows: panel.rows, logits: worker.panel.start, columns: columns)
            guard keepsLast else { return }
            let last = worker.panel.start + (columns - 1) * 64
            for row in 0..<panel.rows { logits.start[number * 64 + row] = last[row] }
        }
    }
}
