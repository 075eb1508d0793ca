import CKernels
import TensorCore

/// How sequences of an evaluation are divided into sweeps over the weights: as many whole sequences side by side as fit
/// into a pass; one that is longer than a pass has a sweep of several passes to itself.
///
/// What is kept of a sequence's keys and values is then gone when its sweep ends. In a sweep of one pass a layer's are
/// needed only while that layer is computed, so all layers take turns in the same room.
struct EvaluationDivision: Sendable, Equatable {
    /// Tokens of one sequence in a pass.
    struct Part: Sendable, Equatable {
        /// Index of the sequence.
        var sequence: Int
        var tokens: Range<Int>
    }

    /// Sequences that are in memory together.
    struct Sweep: Sendable, Equatable {
        var sequences: Range<Int>
        var passes: [[Part]]
        /// Whether all layers' keys and values take turns in the same room.
        var sharesRoom: Bool { passes.count == 1 }
    }

    private(set) var sweeps: [Sweep] = []
    private let demands: [EvaluationDemand]

    /// Divides `demands` for passes of at most `columns` columns.
    init(_ demands: [EvaluationDemand], columns: Int) {
        self.demands = demands
        var room = 0
        for (sequence, demand) in demands.enumerated() {
            let whole = Part(sequence: sequence, tokens: 0..<demand.tokens)
            // Keys and values take whole blocks, and there are as many of those as a pass has columns.
            let needed = KeyValueCache.capacity(demand.tokens)
            if demand.tokens > columns {
                let passes = stride(from: 0, to: demand.tokens, by: columns).map { start in
                    [Part(sequence: sequence, tokens: start..<min(demand.tokens, start + columns))]
                }
                sweeps.append(Sweep(sequences: sequence..<(sequence + 1), passes: passes))
                room = 0
            } else if needed <= room, let last = sweeps.indices.last {
                sweeps[last].sequences = sweeps[last].sequences.lowerBound..<(sequence + 1)
                sweeps[last].passes[0].append(whole)
                room -= needed
            } else {
                sweeps.append(Sweep(sequences: sequence..<(sequence + 1), passes: [[whole]]))
                room = columns - needed
            }
        }
    }

    /// All passes, in order.
    var passes: [[Part]] { sweeps.flatMap(\.passes) }

    /// Positions of a pass whose distributions are wanted.
    func wantedCount(_ pass: [Part]) -> Int {
        pass.reduce(0) { $0 + demands[$1.sequence].wanted.clamped(to: $1.tokens).count }
    }

    /// What the passes read: those in which nothing is wanted leave the head out.
    var schedule: [PassSchedule] { PassSchedule.joined(passes.map { wantedCount($0) > 0 }) }

    /// Columns of a pass that holds all of `demands`, with the room that their keys and values take.
    static func columns(_ demands: [EvaluationDemand]) -> Int {
        demands.reduce(0) { $0 + KeyValueCache.capacity($1.tokens) }
    }
}
