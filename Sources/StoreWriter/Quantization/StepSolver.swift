import LayerStore
import TensorCore

/// The step of all tensors that one codec stores at the same rate.
public struct SolvedStep: Sendable, Equatable {
    public var codec: String
    public var rate: WantedRate
    public var step: Double
    /// `QuantizationParameters.stepFactor` of the tensors, in the order of the plan; empty where all are 1.
    public var factors: [Double]

    public init(codec: String, rate: WantedRate, step: Double, factors: [Double] = []) {
        self.codec = codec
        self.rate = rate
        self.step = step
        self.factors = factors
    }

    /// An entry of a partial manifest. Throws `.damaged`.
    init(_ object: JSONObject, _ reader: ManifestReader) throws(LaminaError) {
        codec = try reader.string(object, "codec")
        guard let step = object["step"]?.double, step > 0 else {
            throw LaminaError(.damaged, reader.file, "a rate without its step")
        }
        self.step = step
        factors = []
        for entry in object["factors"]?.array ?? [] {
            guard let units = entry.integer, (1...(1 << 16)).contains(units) else {
                throw LaminaError(.damaged, reader.file, "a factor out of range", found: entry.summary)
            }
            factors.append(Double(units) * RateAllocation.resolution)
        }
        if let bits = object["bits"]?.double {
            rate = .bits(bits)
        } else if let bytes = object["store_bytes"]?.unsignedInteger {
            rate = .storeBytes(bytes)
        } else {
            throw LaminaError(.damaged, reader.file, "a step without its rate")
        }
    }

    var json: JSONValue {
        var members: [(key: String, value: JSONValue)] = [("codec", .string(codec))]
        switch rate {
        case .bits(let bits): members.append(("bits", JSONValue(bits)))
        case .storeBytes(let bytes): members.append(("store_bytes", JSONValue(bytes)))
        }
        members.append(("step", JSONValue(step)))
        if !factors.isEmpty {
            members.append(
                ("factors", .array(factors.map { JSONValue(Int(($0 / RateAllocation.resolution).rounded())) })))
        }
        return .object(JSONObject(members))
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
    /// the same codec and rate, that of `known` if it is there, times their factors. One step relative to the rows is one
    /// relative error: what a given size is best spent on where the tensors' errors weigh the same. The steps depend on
    /// samples only, not on threads or machine. Throws `.usage` for a size that cannot be, and what reading and encoding samples throws.
    public func solve(_ plan: inout ConversionPlan, known: [SolvedStep] = []) throws(LaminaError) {
        plan.steps = []
        for (group, places) in StepSolver.groups(plan.shards) {
            let earlier = known.first { $0.codec == group.codec && $0.rate == group.rate }
            if let factors = earlier?.factors, factors.count == places.count {
                for (place, factor) in zip(places, factors) {
                    plan.shards[place.shard].tensors[place.tensor].quantization.stepFactor = factor
                }
            }
            let step = if let earlier { earlier.step } else { try self.step(for: group.rate, places, plan) }
            var solved = SolvedStep(codec: group.codec, rate: group.rate, step: step)
            for place in places {
                let parameters = plan.shards[place.shard].tensors[place.tensor].quantization
                plan.shards[place.shard].tensors[place.tensor].quantization.step = parameters.ownStep(step)
                solved.factors.append(parameters.stepFactor)
            }
            if solved.factors.allSatisfy({ $0 == 1 }) { solved.factors = [] }
            plan.steps.append(solved)
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
    static func rounded(_ step: Double) -> Double { max(1, (step * 65_536).rounded()) / 65_536 }
}

extension WantedRate {
    /// Whether it says what the tensors themselves take.
    fileprivate var isOfTensors: Bool { if case .bits = self { true } else { false } }
}
