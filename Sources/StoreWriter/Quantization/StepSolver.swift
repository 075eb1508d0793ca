import LayerStore
import TensorCore

/// The step of all tensors that one codec stores at the same rate.
public struct SolvedStep: Sendable, Equatable {
    public var codec: String
    public var rate: WantedRate
    public var step: Double

    public init(codec: String, rate: WantedRate, step: Double) {
        self.codec = codec
        self.rate = rate
        self.step = step
    }

    /// An entry of a partial manifest. Throws `.damaged`.
    init(_ object: JSONObject, _ reader: ManifestReader) throws(LaminaError) {
        codec = try reader.string(object, "codec")
        guard let step = object["step"]?.double, step > 0 else {
            throw LaminaError(.damaged, reader.file, "a rate without its step")
        }
        self.step = step
        if let bits = object["bits"]?.double {
            rate = .bits(bits)
        } else if let bytes = object["store_bytes"]?.unsignedInteger {
            rate = .storeBytes(bytes)
        } else {
            throw LaminaError(.damaged, reader.file, "a step without its rate")
        }
    }

    var json: JSONValue {
        switch rate {
        case .bits(let bits): ["codec": .string(codec), "bits": JSONValue(bits), "step": JSONValue(step)]
        case .storeBytes(let bytes):
            ["codec": .string(codec), "store_bytes": JSONValue(bytes), "step": JSONValue(step)]
        }
    }
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

    /// Nearly every weight is zero then.
    private static let largestStep = 4.0

    private let threads: Int
    private let kernels: KernelTable

    public init(threads: Int, kernels: KernelTable) {
        self.threads = threads
        self.kernels = kernels
    }

    /// Sets the step of every tensor of `plan` whose parameters say at what rate it is to be stored: one step for all with
    /// the same codec and rate, that of `known` if it is there. One step relative to the rows is one relative error: what a
    /// given size is best spent on where the tensors' errors weigh the same. The steps depend on samples only, not on
    /// threads or machine. Throws `.usage` for a size that cannot be, and what reading and encoding samples throws.
    public func solve(_ plan: inout ConversionPlan, known: [SolvedStep] = []) throws(LaminaError) {
        plan.steps = []
        for (group, places) in StepSolver.groups(plan.shards) {
            let earlier = known.first { $0.codec == group.codec && $0.rate == group.rate }?.step
            let step = if let earlier { earlier } else { try self.step(for: group.rate, places, plan) }
            for place in places { plan.shards[place.shard].tensors[place.tensor].quantization.step = step }
            plan.steps.append(SolvedStep(codec: group.codec, rate: group.rate, step: step))
        }
    }

    private typealias Place = (shard: Int, tensor: Int)

    private struct Group: Hashable {
        var codec: String
        var rate: WantedRate
    }

    /// Those that have a size to fit in come last: they get what the others leave. Otherwise in the order of the plan.
    private static func groups(_ shards: [ConversionPlan.Shard]) -> [(group: Group, places: [Place])] {
        var groups: [(group: Group, places: [Place])] = []
        for (shard, entry) in shards.enumerated() {
            for (tensor, job) in entry.tensors.enumerated() {
                guard let rate = job.quantization.rate else { continue }
                let group = Group(codec: job.codec.name, rate: rate)
                if let index = groups.firstIndex(where: { $0.group == group }) {
                    groups[index].places.append((shard, tensor))
                } else {
                    groups.append((group, [(shard, tensor)]))
                }
            }
        }
        return groups.filter { $0.group.rate.isOfTensors } + groups.filter { !$0.group.rate.isOfTensors }
    }

    private func step(for rate: WantedRate, _ places: [Place], _ plan: ConversionPlan) throws(LaminaError) -> Double {
        let jobs = places.map { plan.shards[$0.shard].tensors[$0.tensor] }
        let samples = try CodingSamples(
            of: jobs, count: StepSolver.sampleCount, countsPages: !rate.isOfTensors, threads: threads, kernels: kernels)
        switch rate {
        case .bits(let bits): return try step(for: bits, samples)
        case .storeBytes(let bytes):
            return try step(for: try bits(for: jobs, inStoreOf: bytes, plan), samples)
        }
    }

    /// The bits that each weight of `jobs` can have, pages of the file included, when all else is stored. Throws `.usage`.
    private func bits(
        for jobs: [TensorJob], inStoreOf bytes: UInt64, _ plan: ConversionPlan
    ) throws(LaminaError) -> Double {
        var others = plan
        for index in others.shards.indices {
            others.shards[index].tensors.removeAll { $0.quantization.rate == .storeBytes(bytes) }
        }
        let forecast = try ConversionForecast(others, threads: threads, kernels: kernels)
        let taken = Double(forecast.storeBytes) + Double(jobs.reduce(0) { $0 + ConversionForecast.structureBytes($1) })
        let weights = jobs.reduce(0.0) { $0 + Double($1.shape.elementCount) }
        let bits = 8 * (Double(bytes) - taken) / max(1, weights)
        guard StepSolver.possibleBits.contains(bits) else {
            let range = [StepSolver.possibleBits.lowerBound, StepSolver.possibleBits.upperBound].map {
                UInt64(taken + $0 * weights / 8)
            }
            throw LaminaError(
                .usage, "--target-size", "no rate gives a store of this size",
                expected: "\(range[0]) to \(range[1]) bytes", found: "\(bytes)",
                hint: "choose other schemes for embeddings and head, or another size")
        }
        return bits
    }

    /// Below, codes are nearly all zero; above, rows have more escapes than a panel holds.
    private static let possibleBits = 2.0...7.0

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
            guard step < StepSolver.largestStep || found <= 1.01 * bits else {
                throw LaminaError(
                    .usage, "", "matrices this small take more than \(bits) bits a weight, whatever their codes",
                    expected: "at least about \(found)", hint: "keep them exact, or choose another scheme")
            }
            if abs(missing) <= bits * StepSolver.tolerance { break }
            var slope = -step * StepSolver.stepPerBit
            if let last, last.step != step, last.bits != found {
                // Within reason: near the ends of the range the curve is flat.
                let secant = (step - last.step) / (found - last.bits)
                slope = min(slope / 4, max(slope * 4, secant))
            }
            last = (step, found)
            step = min(step * 2, StepSolver.largestStep, max(step / 2, step + slope * missing))
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
    /// Chunks begin at pages: count what they take in the file.
    private let countsPages: Bool

    /// Reads `count` blocks, spread over all blocks of `jobs` without a period that theirs could meet. Throws what reading
    /// throws, `.limit`.
    init(
        of jobs: [TensorJob], count: Int, countsPages: Bool, threads: Int, kernels: KernelTable
    ) throws(LaminaError) {
        self.countsPages = countsPages
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
        let bytes = blocks.reduce(0) { sum, block in
            block.planes.reduce(sum) { $0 + (countsPages ? $1.fileBytes : $1.range.count) }
        }
        return 8 * Double(bytes) / Double(max(1, weightCount))
    }
}

extension WantedRate {
    /// Whether it says what the tensors themselves take.
    fileprivate var isOfTensors: Bool { if case .bits = self { true } else { false } }
}
