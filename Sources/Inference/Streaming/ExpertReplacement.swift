import CKernels

/// Which experts of one layer stay in memory, and which of them gives way.
///
/// An expert's score is how often passes have wanted it, a pass counting half of one that is `halfLife` passes later. A
/// wanted expert that is not in memory takes a free slot, or that of the unwanted one with the lowest score if its own
/// is higher; else it is read without being kept. Equal scores go by number, so the same passes keep the same experts.
///
/// How fast scores forget is a compromise: popularity that stays is best counted for ever, neighbouring tokens that
/// repeat one another's experts are best remembered for a pass, as by replacing the least recently used. Hits in percent
/// of the simulation in ExpertReplacementTests (8 of 64 experts, on average of room for 8, 16 and 32, where a fixed set
/// chosen blindly has 29), by half-life in passes:
///
/// | popularity | 1 | 4 | 16 | 64 | for ever |
/// |---|---|---|---|---|---|
/// | steady | 45.1 | 50.9 | 54.9 | 56.3 | 56.7 |
/// | drifting | 44.9 | 49.9 | 52.2 | 49.6 | 41.0 |
/// | new every 256 passes | 52.1 | 57.7 | 60.6 | 58.1 | 42.9 |
/// | steady, 30 % of the pass before repeated | 55.1 | 51.7 | 49.6 | 49.2 | 49.2 |
/// | less than the best for the trace | 7.0 | 3.8 | 2.0 | 3.0 | 8.9 |
struct ExpertReplacement: Sendable {
    /// What becomes of a wanted expert.
    enum Outcome: Sendable, Equatable {
        /// It is in memory.
        case cached
        /// It is to be read into a slot, in which another may have been.
        case admitted(slot: Int, evicted: Int?)
        /// It is to be read and not kept.
        case streamed
    }

    /// Passes after which a use counts half: the least of the last line above, which 12 to 24 have within 0.2.
    static let defaultHalfLife = 16.0

    private let slotCount: Int
    private let decay: Double
    private var scores: [Double]
    /// Per expert; `nil` for those not in memory.
    private var slots: [Int?]
    /// The expert in each slot that is in use.
    private var occupants: [Int] = []
    private var isWanted: [Bool]
    /// Of the experts last wanted, in their order.
    private(set) var outcomes: [Outcome] = []

    init(experts: Int, slots slotCount: Int, halfLife: Double = ExpertReplacement.defaultHalfLife) {
        self.slotCount = min(slotCount, experts)
        decay = lamina_pow(0.5, 1 / halfLife)
        scores = [Double](repeating: 0, count: experts)
        slots = [Int?](repeating: nil, count: experts)
        isWanted = [Bool](repeating: false, count: experts)
    }

    var holdsAll: Bool { slotCount == scores.count }

    /// The slot of a cached expert.
    func slot(of expert: Int) -> Int? { slots[expert] }

    /// One pass wants these experts, whose numbers rise; says in `outcomes` what becomes of each.
    mutating func route(_ wanted: some Collection<Int>) {
        for expert in scores.indices { scores[expert] *= decay }
        outcomes.removeAll(keepingCapacity: true)
        var misses: [(position: Int, expert: Int)] = []
        for (position, expert) in wanted.enumerated() {
            scores[expert] += 1
            isWanted[expert] = true
            outcomes.append(slots[expert] == nil ? .streamed : .cached)
            if slots[expert] == nil { misses.append((position, expert)) }
        }
        // The ones most likely to be wanted again first; within a score in the order they are read.
        let scores = scores
        misses.sort { (scores[$1.expert], $0.expert) < (scores[$0.expert], $1.expert) }
        for miss in misses {
            guard let outcome = admit(miss.expert) else { break }
            outcomes[miss.position] = outcome
        }
        for expert in wanted { isWanted[expert] = false }
    }

    /// Gives the expert a slot, if it deserves one; `nil` if no expert with a lower score does either.
    private mutating func admit(_ expert: Int) -> Outcome? {
        if occupants.count < slotCount {
            occupants.append(expert)
            slots[expert] = occupants.count - 1
            return .admitted(slot: occupants.count - 1, evicted: nil)
        }
        let candidates = occupants.filter { !isWanted[$0] }
        guard let victim = candidates.min(by: { (scores[$0], $0) < (scores[$1], $1) }), let slot = slots[victim],
            scores[expert] > scores[victim]
        else { return nil }
        slots[victim] = nil
        slots[expert] = slot
        occupants[slot] = expert
        return .admitted(slot: slot, evicted: victim)
    }
}
