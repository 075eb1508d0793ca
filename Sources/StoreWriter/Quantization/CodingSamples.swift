import LayerStore
import TensorCore

/// Source bytes of some blocks of tensors with one rate, kept to be coded with one step after another.
final class CodingSamples {
    /// Tensors that take about the same bits: of one factor, and so one step; and of one shape where what chunks take
    /// beside their codes counts.
    private struct Kind: Hashable {
        var factor: Double
        var shape: [Int]

        init(_ job: TensorJob, countsPages: Bool) {
            factor = job.quantization.stepFactor
            shape = countsPages ? job.shape.dimensions : []
        }
    }

    /// Blocks that stand for all blocks of the tensors of a kind.
    private struct Stratum {
        var blocks: Range<Int>
        /// Of the tensors.
        var weights: Double
    }

    private var blocks: [Block] = []
    private var strata: [Stratum] = []
    private let encoders: [BlockEncoder]
    private let pool: WorkerPool
    /// Chunks begin at pages: count what they take in the file.
    private let countsPages: Bool

    /// Reads about `count` blocks, of every kind at least one, spread over all blocks of `jobs` without a period that
    /// theirs could meet. Throws what reading throws, `.limit`.
    init(
        of jobs: [TensorJob], count: Int, countsPages: Bool, threads: Int, kernels: KernelTable
    ) throws(LaminaError) {
        self.countsPages = countsPages
        pool = try WorkerPool(threads: threads)
        var encoders: [BlockEncoder] = []
        for _ in 0..<threads { encoders.append(try BlockEncoder(jobs: jobs, kernels: kernels)) }
        self.encoders = encoders
        let total = max(1, jobs.reduce(0) { $0 + $1.blockCount })
        // In the order of the plan: sums of floating-point numbers depend on theirs.
        var kinds: [Kind] = []
        var jobsOfKind: [Kind: [TensorJob]] = [:]
        for job in jobs {
            let kind = Kind(job, countsPages: countsPages)
            if jobsOfKind[kind] == nil { kinds.append(kind) }
            jobsOfKind[kind, default: []].append(job)
        }
        for kind in kinds {
            let alike = jobsOfKind[kind] ?? []
            let own = alike.reduce(0) { $0 + $1.blockCount }
            let first = blocks.count
            for place in CodingSamples.places(max(1, min(count, (count * own + total - 1) / total)), of: own) {
                if let block = try CodingSamples.block(place, of: alike) { blocks.append(block) }
            }
            strata.append(
                Stratum(
                    blocks: first..<blocks.count,
                    weights: alike.reduce(0) { $0 + Double($1.shape.elementCount) }))
        }
    }

    /// Block `place` among all of `jobs`, read.
    private static func block(_ place: Int, of jobs: [TensorJob]) throws(LaminaError) -> Block? {
        var index = place
        for job in jobs {
            guard index >= job.blockCount else {
                let block = Block(
                    of: BlockSequence(jobs: [job]), job: 0, index: index, in: try BlockBuffers(jobs: [job]))
                try block.read()
                return block
            }
            index -= job.blockCount
        }
        return nil
    }

    /// Different numbers below `total`, spread by the golden ratio.
    private static func places(_ count: Int, of total: Int) -> [Int] {
        guard total > count else { return Array(0..<total) }
        var places: Set<Int> = []
        var fraction = 0.5
        while places.count < count {
            places.insert(min(total - 1, Int(fraction * Double(total))))
            fraction += 0.618_033_988_749_895
            fraction -= fraction.rounded(.down)
        }
        return places.sorted()
    }

    /// Stored bits per weight where tensors of factor 1 have `step`. Throws what encoding throws.
    func bits(step: Double) throws(LaminaError) -> Double {
        let (blocks, encoders) = (blocks, encoders)
        try pool.run(blocks.count) { (index, worker) throws(LaminaError) in
            try blocks[index].encode(with: encoders[worker], step: blocks[index].job.quantization.ownStep(step))
        }
        var (bits, weights) = (0.0, 0.0)
        for stratum in strata {
            let (bytes, count) = blocks[stratum.blocks].reduce((0, 0)) { sum, block in
                let stored = block.planes.reduce(0) { $0 + (countsPages ? $1.fileBytes : $1.range.count) }
                return (sum.0 + stored, sum.1 + block.sourceBytes.count / block.job.dtype.size)
            }
            bits += stratum.weights * 8 * Double(bytes) / Double(max(1, count))
            weights += stratum.weights
        }
        return bits / max(1, weights)
    }
}
