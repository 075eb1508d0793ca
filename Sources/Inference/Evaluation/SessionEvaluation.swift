import TensorCore

/// Tokens of which next-token distributions are wanted.
public struct EvaluationSequence: Sendable, Equatable {
    /// What the model takes, and behind it what only follows.
    public var tokens: [Int]
    /// How many of them the model takes.
    public var fed: Int
    /// Positions whose distributions are wanted.
    public var wanted: Range<Int>

    public init(tokens: [Int], fed: Int, wanted: Range<Int>) {
        self.tokens = tokens
        self.fed = fed
        self.wanted = wanted
    }

    var demand: EvaluationDemand { EvaluationDemand(tokens: fed, wanted: wanted) }

    /// The token that follows a position; -1 if none does.
    func next(_ position: Int) -> Int { position + 1 < tokens.count ? tokens[position + 1] : -1 }
}

extension Workload {
    /// Distributions of these sequences, each of which is taken once, in order.
    public static func evaluate(_ sequences: [EvaluationSequence]) -> Workload { .evaluate(sequences.map(\.demand)) }
}

/// A pass of an evaluation after one of its layers.
public struct EvaluationPass {
    /// Which sequence, and which of its positions, every column of the pass is.
    public let columns: [(sequence: Int, position: Int)]
    fileprivate let activations: Activations
    fileprivate let width: Int

    /// The residual stream (hidden size) of a column.
    public func residual(_ column: Int) -> UnsafeBufferPointer<Float> {
        UnsafeBufferPointer(start: activations.column(StreamPlan.residual, column), count: width)
    }
}

extension InferenceSession {
    /// Called when a layer of a pass is done, while no worker is at work.
    public typealias LayerEnd = (_ layer: Int, EvaluationPass) -> Void

    /// Takes all sequences through the model in as few passes as memory allows, and returns the scores of the positions
    /// wanted, sequence by sequence; `nil` if `shouldStop`, asked after every layer, ended it.
    ///
    /// They must be those of the workload, and are taken once. The logits of the last position wanted are there
    /// afterwards. `matrixInputs` is shown what each matrix is about to be multiplied with. Throws as `feed`, what
    /// `matrixInputs` throws, and `.unexpected` for logits that are not numbers.
    public func evaluate(
        _ sequences: [EvaluationSequence], use: LogitUse = .score, shouldStop: () -> Bool = { false },
        layerEnd: LayerEnd? = nil, matrixInputs: MatrixVisitor? = nil
    ) throws(LaminaError) -> [PositionScore]? {
        defer { runner.willMultiply = nil }
        guard let division = setup.session.evaluation,
            setup.session.workload.evaluation == sequences.map(\.demand)
        else { throw LaminaError(.unexpected, "", "the session was not made for this evaluation") }
        for sequence in sequences { try check(tokens: Array(sequence.tokens.prefix(sequence.fed))) }
        let scores = try HeadScores(
            vocabulary: model.config.vocabularySize, columns: setup.session.memory.columns, use: use)
        var result: [PositionScore] = []
        for sweep in division.sweeps {
            let demands = sequences[sweep.sequences].map { SequenceDemand(promptTokens: $0.fed, newTokens: 0) }
            cache.assign(demands, sharesRoom: sweep.sharesRoom)
            angles.assign(lengths: demands.map(\.promptTokens))
            for pass in sweep.passes {
                runner.willMultiply = matrixInputs.map { inputVisitor(pass, of: sequences, $0) }
                let finished = try run(
                    pass, of: sequences, first: sweep.sequences.lowerBound, scores, into: &result,
                    shouldStop: shouldStop, layerEnd: layerEnd)
                guard finished else { return nil }
            }
        }
        return result
    }

    /// One pass, in which the sequences are numbered from `first` on.
    private func run(
        _ parts: [EvaluationDivision.Part], of sequences: [EvaluationSequence], first: Int, _ scores: HeadScores,
        into result: inout [PositionScore], shouldStop: () -> Bool, layerEnd: LayerEnd?
    ) throws(LaminaError) -> Bool {
        var tokens: [Int] = []
        var columns: [PassRunner.Column] = []
        var wanted: [Int] = []
        for part in parts {
            let sequence = sequences[part.sequence]
            for position in part.tokens {
                if sequence.wanted.contains(position) {
                    scores.columns[wanted.count] = HeadScores.Column(
                        target: sequence.next(position), referenceRow: result.count + wanted.count)
                    wanted.append(columns.count)
                }
                columns.append(PassRunner.Column(sequence: part.sequence - first, position: position))
            }
            tokens += sequence.tokens[part.tokens]
        }
        let pass = EvaluationPass(
            columns: columns.map { ($0.sequence + first, $0.position) }, activations: runner.activations,
            width: model.config.hiddenSize)
        let finished = try run(
            tokens, columns, head: wanted.isEmpty ? nil : .scores(scores, columns: wanted), shouldStop: shouldStop,
            layerEnd: { layer in layerEnd?(layer, pass) })
        guard finished else { return false }
        for column in wanted.indices { result.append(try scores.score(column: column)) }
        return true
    }
}

extension InferenceSession {
    /// What `score` finds.
    public struct Scores: Sendable {
        /// log p(token i + 1 | tokens up to i), one fewer than tokens.
        public var logProbabilities: [Double] = []
        /// One per layer, empty unless asked for.
        public var probes: [LayerProbe] = []
    }

    /// Takes all tokens and returns the log-probability of each but the first; the logits of the last position are
    /// there afterwards. `nil` if `shouldStop` ended it. Throws as `evaluate`.
    public func score(
        _ tokens: [Int], probes wantsProbes: Bool = false, shouldStop: () -> Bool = { false }
    ) throws(LaminaError) -> Scores? {
        let sequence = EvaluationSequence(tokens: tokens, fed: tokens.count, wanted: 0..<tokens.count)
        var probes = [LayerProbe](repeating: LayerProbe(), count: wantsProbes ? model.config.layerCount : 0)
        let scores = try evaluate([sequence], shouldStop: shouldStop) { layer, pass in
            guard wantsProbes else { return }
            for column in pass.columns.indices { probes[layer].add(pass.residual(column)) }
        }
        return scores.map { Scores(logProbabilities: $0.dropLast().map(\.logProbability), probes: probes) }
    }
}
