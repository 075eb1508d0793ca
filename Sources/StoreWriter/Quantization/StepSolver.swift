import LayerStore
import TensorCore

/// The step of all tensors that one codec stores with so many bits a weight.
public struct SolvedStep: Sendable, Equatable {
    public var codec: String
    public var bits: Double
    public var step: Double

    public init(codec: String, bits: Double, step: Double) {
        self.codec = codec
        self.bits = bits
        self.step = step
    }

    /// An entry of a partial manifest. Throws `.damaged`.
    init(_ object: JSONObject, _ reader: ManifestReader) throws(LaminaError) {
        codec = try reader.string(object, "codec")
        guard let bits = object["bits"]?.double, let step = object["step"]?.double, step > 0 else {
            throw LaminaError(.damaged, reader.file, "a step without its numbers")
        }
        self.bits = bits
        self.step = step
    }

    var json: JSONValue { ["codec": .string(codec), "bits": JSONValue(bits), "step": JSONValue(step)] }
}

/// Finds the steps with which tensors of a free rate take the bits that are wanted, by coding samples of them.
public struct StepSolver {
    /// Blocks that stand for all blocks that get the same step.
    private static let sampleCount = 48
    /// The search ends when the samples take the bits wanted, give or take this fraction.
    private static let tolerance = 0.0005
    private static let mostRounds = 12
    /// 4.25 bits of Gaussian weights; another bit halves the step, about.
    private static let (firstStep, firstBits) = (0.23, 4.25)
    /// Natural logarithm of 2: so much smaller is the step for one bit more.
    private static let stepPerBit = 0.693

    private let threads: Int
    private let kernels: KernelTable

    public init(threads: Int, kernels: KernelTable) {
        self.threads = threads
        self.kernels = kernels
    }

    /// Sets the step of every tensor of `plan` whose parameters say how many bits it is to take: one step for all with the
    /// same codec and bits, that of `known` if it is there. The steps depend on the samples only, not on threads or
    /// machine. Throws what reading and encoding samples throws.
    public func solve(_ plan: inout ConversionPlan, known: [SolvedStep] = []) throws(LaminaError) {
        let rates = StepSolver.rates(plan.shards)
        plan.steps = []
        for (rate, places) in rates.sorted(by: { ($0.key.codec, $0.key.bits) < ($1.key.codec, $1.key.bits) }) {
            var step = known.first { $0.codec == rate.codec && $0.bits == rate.bits }?.step
            if step == nil {
                let samples = try CodingSamples(
                    of: places.map { plan.shards[$0.shard].tensors[$0.tensor] }, count: StepSolver.sampleCount,
                    threads: threads, kernels: kernels)
                step = try self.step(for: rate.bits, samples)
            }
            for place in places { plan.shards[place.shard].tensors[place.tensor].quantization.step = step }
            if let step { plan.steps.append(SolvedStep(codec: rate.codec, bits: rate.bits, step: step)) }
        }
    }

    private static func rates(_ shards: [ConversionPlan.Shard]) -> [Rate: [(shard: Int, tensor: Int)]] {
        var groups: [Rate: [(shard: Int, tensor: Int)]] = [:]
        for (shard, entry) in shards.enumerated() {
            for (tensor, job) in entry.tensors.enumerated() {
                guard let bits = job.quantization.bits else { continue }
                groups[Rate(codec: job.codec.name, bits: bits), default: []].append((shard, tensor))
            }
        }
        return groups
    }

    private struct Rate: Hashable {
        var codec: String
        var bits: Double
    }

    /// Newton's method with the slope of the last two points; plain arithmetic only, whose results are the same on every
    /// machine.
    private func step(for bits: Double, _ samples: CodingSamples) throws(LaminaError) -> Double {
        var step = StepSolver.firstStep
        // From the first guess towards the bits wanted, half or twice the step at a time.
        var difference = bits - StepSolver.firstBits
        while difference > 0.5 { (step, difference) = (step / 2, difference - 1) }
        while difference < -0.5 { (step, difference) = (step * 2, difference + 1) }
        var last: (step: Double, bits: Double)?
        for _ in 0..<StepSolver.mostRounds {
            step = StepSolver.rounded(step)
            let found = try samples.bits(step: step)
            let missing = bits - found
            if abs(missing) <= bits * StepSolver.tolerance { break }
            var slope = -step * StepSolver.stepPerBit
            if let last, last.step != step, last.bits != found {
                // Within reason: near the ends of the range the curve is flat.
                let secant = (step - last.step) / (found - last.bits)
                slope = min(slope / 4, max(slope * 4, secant))
            }
            last = (step, found)
            step = min(step * 2, max(step / 2, step + slope * missing))
        }
        return StepSolver.rounded(step)
    }

    /// Steps are multiples of 2^-16: short to write, and finer than any rate needs.
    private static func rounded(_ step: Double) -> Double { max(1, (step * 65_536).rounded()) / 65_536 }
}

/// Source bytes of some blocks of tensors that are coded alike, kept to be coded with one step after another.
final class CodingSamples {
    private let blocks: [Block]
    private let encoders: [BlockEncoder]
    private let pool: WorkerPool
    private let weightCount: Int

    /// Reads `count` blocks, spread over all blocks of `jobs` without a period that theirs could meet. Throws what reading
    /// throws, `.limit`.
    init(of jobs: [TensorJob], count: Int, threads: Int, kernels: KernelTable) throws(LaminaError) {
        pool = try WorkerPool(threads: threads)
        var encoders: [BlockEncoder] = []
        for _ in 0..<threads { encoders.append(try BlockEncoder(jobs: jobs, kernels: kernels)) }
        self.encoders = encoders
        let total = jobs.reduce(0) { $0 + $1.blockCount }
        var blocks: [Block] = []
        for place in CodingSamples.places(count, of: total) {
            var index = place
            guard
                let job = jobs.first(where: { job in
                    if index < job.blockCount { return true }
                    index -= job.blockCount
                    return false
                })
            else { continue }
            let block = Block(
                of: BlockSequence(jobs: [job]), job: 0, index: index, in: try BlockBuffers(jobs: [job]))
            try block.read()
            blocks.append(block)
        }
        self.blocks = blocks
        weightCount = blocks.reduce(0) { $0 + $1.sourceBytes.count / $1.job.dtype.size }
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

    /// Stored bits per weight with a step. Throws what encoding throws.
    func bits(step: Double) throws(LaminaError) -> Double {
        let (blocks, encoders) = (blocks, encoders)
        try pool.run(blocks.count) { (index, worker) throws(LaminaError) in
            try blocks[index].encode(with: encoders[worker], step: step)
        }
        let bytes = blocks.reduce(0) { $0 + $1.planes.reduce(0) { $0 + $1.range.count } }
        return 8 * Double(bytes) / Double(max(1, weightCount))
    }
}
