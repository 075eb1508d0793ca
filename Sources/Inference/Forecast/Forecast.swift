/// What a session will cost, told from its plan and from measured rates before any of its memory is taken.
///
/// Disk and processors work side by side, and the slower one decides: a pass takes
/// `max(bytes / disk rate, products + checks + attention + barriers)`, where
/// - bytes are those of the pass that do not stay in memory (the first time all), and of the chunks of the embedding
///   that are looked up; of n experts, k for each of c columns, those of n (1 - (1 - k/n)^c), the distinct ones if
///   columns are sent anywhere with equal chance, less the share that stays in memory;
/// - products are, for each way weights are stored, their number times the measured time of a weight with this number
///   of columns; of the head only the columns whose logits are wanted count, of experts the distinct ones, each with
///   its part of c times k columns;
/// - checks are the bytes read divided by the checksum's rate;
/// - attention is layers times heads times the positions that all columns attend to, times the time of one;
/// - barriers are the steps of the pass times the time of one.
///
/// A prompt takes the sum of its passes; a step after it one token of every sequence, halfway through what is to be
/// generated. Left out are norms and other work on single columns, the first touch of memory that fills up, and the
/// disk's changes of mood.
public struct Forecast: Sendable {
    /// Seconds of some work; `nil` where a rate is not known.
    public struct Time: Sendable, Equatable {
        public var disk: Double?
        public var compute: Double?
        /// What it takes: pass by pass the longer of the two.
        public var seconds: Double?

        init(disk: Double?, compute: Double?) {
            self.disk = disk
            self.compute = compute
            seconds = disk.flatMap { disk in compute.map { max(disk, $0) } }
        }

        /// Work after work.
        static func + (first: Time, second: Time) -> Time {
            func sum(_ part: KeyPath<Time, Double?>) -> Double? {
                first[keyPath: part].flatMap { first in second[keyPath: part].map { first + $0 } }
            }
            var time = Time(disk: sum(\.disk), compute: sum(\.compute))
            time.seconds = sum(\.seconds)
            return time
        }
    }

    /// One pass over the weights.
    struct Pass: Sendable, Equatable {
        var columns: Int
        /// Columns whose logits are wanted.
        var headColumns: Int
        /// Positions that all columns together attend to.
        var attended: Int
        /// Whether it is the first to read the body, the head.
        var isFirstOfBody = false
        var isFirstOfHead = false
    }

    let cost: PassCost
    let sequences: [SequenceDemand]
    /// How an evaluation is divided; `nil` for other workloads.
    private let evaluation: EvaluationDivision?
    /// `nil` if it was not measured.
    public var disk: DiskRate?
    public var compute: ComputeRates?

    init(
        _ cost: PassCost, _ sequences: [SequenceDemand], evaluation: EvaluationDivision? = nil, disk: DiskRate?,
        compute: ComputeRates?
    ) {
        self.cost = cost
        self.sequences = sequences
        self.evaluation = evaluation
        self.disk = disk
        self.compute = compute
    }

    /// For a planned session. Without a rate the times that need it are not known.
    public init(_ session: SessionPlan, disk: DiskRate?, compute: ComputeRates?) {
        self.init(
            PassCost(session), session.workload.sequences, evaluation: session.evaluation, disk: disk, compute: compute)
    }

    // MARK: What is done

    /// The passes of the prompts, or of an evaluation.
    var promptPasses: [Pass] {
        if let evaluation { return Forecast.passes(evaluation) }
        var hasHead = false
        let division = PassDivision(counts: sequences.map(\.promptTokens), columns: cost.columns)
        return division.passes.enumerated().map { index, parts in
            let ends = parts.count(where: \.isEnd)
            defer { hasHead = hasHead || ends > 0 }
            return Pass(
                columns: parts.reduce(0) { $0 + $1.tokens.count }, headColumns: ends,
                attended: parts.reduce(0) { $0 + Forecast.attended($1.tokens) }, isFirstOfBody: index == 0,
                isFirstOfHead: ends > 0 && !hasHead)
        }
    }

    private static func passes(_ evaluation: EvaluationDivision) -> [Pass] {
        var hasHead = false
        return evaluation.passes.enumerated().map { index, parts in
            let wanted = evaluation.wantedCount(parts)
            defer { hasHead = hasHead || wanted > 0 }
            return Pass(
                columns: parts.reduce(0) { $0 + $1.tokens.count }, headColumns: wanted,
                attended: parts.reduce(0) { $0 + attended($1.tokens) }, isFirstOfBody: index == 0,
                isFirstOfHead: wanted > 0 && !hasHead)
        }
    }

    /// Positions attended to by tokens that each see themselves and all before.
    private static func attended(_ tokens: Range<Int>) -> Int {
        (tokens.lowerBound + 1 + tokens.upperBound) * tokens.count / 2
    }

    /// The passes of a step in which every sequence takes one token.
    var stepPasses: [Pass] {
        PassDivision(counts: sequences.map { _ in 1 }, columns: cost.columns).passes.map { parts in
            let attended = parts.reduce(0) { $0 + sequences[$1.feed].promptTokens + sequences[$1.feed].newTokens / 2 }
            return Pass(columns: parts.count, headColumns: parts.count, attended: attended)
        }
    }

    /// Bytes that `pass` reads.
    func bytes(_ pass: Pass) -> Double {
        let body = pass.isFirstOfBody ? cost.body.bytes : cost.body.streamedBytes
        let head = pass.headColumns == 0 ? 0 : pass.isFirstOfHead ? cost.head.bytes : cost.head.streamedBytes
        let experts = cost.expertBytes(columns: pass.columns, isFirst: pass.isFirstOfBody)
        return Double(body + head) + experts + cost.lookupBytes(tokens: pass.columns)
    }

    /// Bytes read in a step.
    public var bytesPerStep: Double { stepPasses.reduce(0) { $0 + bytes($1) } }

    /// Steps after the prompts, every sequence going on to its end.
    public var stepCount: Int { sequences.reduce(0) { max($0, $1.newTokens - 1) } }

    /// Bytes read by all of the workload.
    public var totalBytes: Double { promptPasses.reduce(0) { $0 + bytes($1) } + Double(stepCount) * bytesPerStep }

    // MARK: What it takes

    /// All prompts.
    public var prefill: Time { promptPasses.map(time).reduce(Time(disk: 0, compute: 0), +) }

    /// One token of every sequence.
    public var step: Time { stepPasses.map(time).reduce(Time(disk: 0, compute: 0), +) }

    /// Tokens of all sequences together.
    public var tokensPerSecond: Double? { step.seconds.map { Double(sequences.count) / $0 } }

    func time(_ pass: Pass) -> Time {
        let bytes = bytes(pass)
        let disk = bytes == 0 ? 0 : disk.map { bytes / $0.bytesPerSecond }
        guard let compute, let body = products(cost.body.weights, pass.columns, compute),
            let head = products(cost.head.weights, pass.headColumns, compute),
            let experts = expertProducts(pass.columns, compute)
        else { return Time(disk: disk, compute: nil) }
        let checks = bytes / compute.checkedBytesPerSecond
        let attention = Double(cost.scoresPerPosition * pass.attended) * compute.secondsPerScore
        let barriers = Double(cost.barriers) * compute.secondsPerBarrier
        return Time(disk: disk, compute: body + head + experts + checks + attention + barriers)
    }

    private func expertProducts(_ columns: Int, _ compute: ComputeRates) -> Double? {
        var seconds = 0.0
        for layer in cost.experts {
            guard let all = products(layer.weights, layer.columnsPerExpert(columns: columns), compute) else {
                return nil
            }
            seconds += layer.wantedShare(columns: columns) * all
        }
        return seconds
    }

    private func products(_ weights: [WeightForm: Int], _ columns: Int, _ compute: ComputeRates) -> Double? {
        guard columns > 0 else { return 0 }
        var seconds = 0.0
        for (form, count) in weights {
            guard let each = compute.secondsPerWeight(form, columns: columns) else { return nil }
            seconds += Double(count) * each
        }
        return seconds
    }
}
