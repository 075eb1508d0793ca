import LayerStore

/// Some panels of a chunk: what a thread multiplies where a stage has too few chunks to go round.
struct PanelPart: Sendable, Equatable {
    /// Index into `StreamPlan.tasks`; the task has one chunk.
    var task: Int
    /// Groups of rows of the chunk.
    var groups: Range<Int>
}

/// One stage of products: chunk by chunk, and, for few chunks, cut finer.
struct ProductStage: Sendable, Equatable {
    /// Indices into `StreamPlan.tasks`.
    var tasks: Range<Int>
    /// Indices into `StreamPlan.chunks`.
    var chunks: Range<Int>
    /// Indices into `WorkPlan.parts`, which cover all tasks; empty where chunks are enough, or may not all be in memory
    /// at once.
    var parts: Range<Int>
}

/// How the products of a plan are shared among threads. Changes which thread computes what, never a result.
struct WorkPlan: Sendable {
    /// One per `.multiply` step of the body, in order, for experts two each, and the head's last.
    private(set) var stages: [ProductStage] = []
    private(set) var parts: [PanelPart] = []

    /// Chunks per thread from which threads finish at about the same time.
    private static let enoughChunks = 4
    /// Parts per thread of a stage that is cut.
    private static let wantedParts = 8

    /// Stages for `threads`. `slots` bounds the streamed requests a stage may hold at once; `isStreamed` says which
    /// chunks go through the ring.
    init(_ plan: StreamPlan, requestOfChunk: [Int], slots: Int, threads: Int, isStreamed: (Int) -> Bool) {
        // One slot stays free for the stage after this one. While experts are computed, what is read ahead may have all
        // slots but those that are kept for them.
        let (most, mostOfExperts) = (slots - 1, Prefetcher.slotsForExperts(of: slots))
        var ranges: [(tasks: Range<Int>, most: Int)] = []
        for step in plan.body {
            switch step {
            case .multiply(let tasks): ranges.append((tasks, most))
            case .experts(let mixture):
                for tasks in mixture.tasks { ranges += [(tasks.gateUp, mostOfExperts), (tasks.down, mostOfExperts)] }
            default: break
            }
        }
        for (tasks, most) in ranges + [(plan.headTasks, most)] {
            let chunks = plan.chunks(of: tasks)
            let first = parts.count
            if threads > 1, tasks.count < WorkPlan.enoughChunks * threads,
                tasks.allSatisfy({ plan.tasks[$0].chunks.count == 1 && plan.isCuttable($0) })
            {
                let held = Set(chunks.filter(isStreamed).map { requestOfChunk[$0] })
                if held.count <= most { cut(tasks, of: plan, threads: threads) }
            }
            stages.append(ProductStage(tasks: tasks, chunks: chunks, parts: first..<parts.count))
        }
    }

    private mutating func cut(_ tasks: Range<Int>, of plan: StreamPlan, threads: Int) {
        let counts = tasks.map { plan.groupCount(ofTask: $0) }
        let perPart = max(1, counts.reduce(0, +) / (WorkPlan.wantedParts * threads))
        for (task, count) in zip(tasks, counts) {
            for start in stride(from: 0, to: count, by: perPart) {
                parts.append(PanelPart(task: task, groups: start..<min(count, start + perPart)))
            }
        }
    }
}

extension StreamPlan {
    /// The chunks of tasks next to each other.
    func chunks(of tasks: Range<Int>) -> Range<Int> {
        guard let first = tasks.first, let last = tasks.last else { return 0..<0 }
        return self.tasks[first].chunks.lowerBound..<self.tasks[last].chunks.upperBound
    }

    /// What the first chunk of a task covers.
    func extent(ofTask task: Int) -> ChunkExtent {
        let chunk = chunks[tasks[task].chunks.lowerBound]
        return matrices[chunk.matrix].tensor.geometry.chunk(chunk.chunk)
    }

    /// Groups of rows in the first chunk of a task.
    func groupCount(ofTask task: Int) -> Int {
        matrices[tasks[task].matrix].tensor.geometry.groupCount(extent(ofTask: task))
    }

    /// Whether parts of the task's chunk can be multiplied without decoding all of it.
    func isCuttable(_ task: Int) -> Bool {
        let chunk = chunks[tasks[task].chunks.lowerBound]
        let matrix = matrices[chunk.matrix]
        guard matrix.planeCount == 1 else { return false }
        switch matrix.tensor.chunks[chunk.chunk].encoding {
        case .raw, .expTier: return true
        case .zstd, .ecqTier: return false
        }
    }
}
