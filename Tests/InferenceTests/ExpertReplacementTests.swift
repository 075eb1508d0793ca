import CKernels
import TestSupport
import Testing

@testable import Inference

@Suite struct ExpertReplacementTests {
    private typealias Outcome = ExpertReplacement.Outcome

    private func route(_ wanted: [Int], in layer: inout ExpertReplacement) -> [Outcome] {
        layer.route(wanted)
        return layer.outcomes
    }

    @Test func freeSlotsAreTakenAndHitAfterwards() {
        var layer = ExpertReplacement(experts: 8, slots: 3)
        #expect(!layer.holdsAll)
        #expect(
            route([1, 5], in: &layer) == [.admitted(slot: 0, evicted: nil), .admitted(slot: 1, evicted: nil)])
        #expect(route([1, 6], in: &layer) == [.cached, .admitted(slot: 2, evicted: nil)])
        #expect(route([], in: &layer).isEmpty)
        #expect(route([1, 5, 6], in: &layer) == [.cached, .cached, .cached])
        #expect((0..<8).map { layer.slot(of: $0) } == [nil, 0, nil, nil, nil, 1, 2, nil])
    }

    @Test func theLowestScoreGivesWayToAHigherOne() {
        var layer = ExpertReplacement(experts: 8, slots: 2)
        for _ in 0..<3 { _ = route([0], in: &layer) }
        #expect(route([1], in: &layer) == [.admitted(slot: 1, evicted: nil)])
        // Newer than the one that was wanted as often.
        #expect(route([2], in: &layer) == [.admitted(slot: 1, evicted: 1)])
        // An expert that was wanted in this pass stays, and no other score is lower.
        #expect(route([2, 3], in: &layer) == [.cached, .streamed])
        #expect(route([0, 2, 3], in: &layer) == [.cached, .cached, .streamed])
    }

    @Test func ofSeveralNewOnesTheMostWantedStay() {
        var layer = ExpertReplacement(experts: 8, slots: 1)
        _ = route([7], in: &layer)
        _ = route([7, 4], in: &layer)
        _ = route([7, 4], in: &layer)
        #expect(route([2, 4], in: &layer) == [.streamed, .admitted(slot: 0, evicted: 7)])
        var equal = ExpertReplacement(experts: 8, slots: 1)
        #expect(route([2, 4], in: &equal) == [.admitted(slot: 0, evicted: nil), .streamed])
    }

    @Test func usesCountHalfAfterAHalfLife() {
        for (passes, isForgotten) in [(11, false), (12, true), (13, true)] {
            var layer = ExpertReplacement(experts: 4, slots: 1, halfLife: 12)
            // Two uses, of which half are left after 12 passes; the second one is a pass younger.
            for _ in 0..<2 { _ = route([0], in: &layer) }
            for _ in 1..<passes { _ = route([], in: &layer) }
            let newer = route([1], in: &layer)
            let half = lamina_pow(0.5, Double(passes) / 12) * (1 + lamina_pow(0.5, 1.0 / 12))
            #expect((half < 1) == isForgotten)
            #expect(newer == (isForgotten ? [.admitted(slot: 0, evicted: 0)] : [.streamed]))
        }
    }

    @Test func aLayerThatFitsIsReadOnce() {
        var layer = ExpertReplacement(experts: 5, slots: 9)
        #expect(layer.holdsAll)
        var generator = SeededGenerator(seed: 3)
        var seen: Set<Int> = []
        for _ in 0..<50 {
            let wanted = (0..<5).filter { _ in Bool.random(using: &generator) }
            for (expert, outcome) in zip(wanted, route(wanted, in: &layer)) {
                #expect((outcome == .cached) == seen.contains(expert) && outcome != .streamed)
                seen.insert(expert)
            }
        }
    }

    // MARK: The half-life

    /// How experts are chosen: the chance of the r-th most popular is 1 / r to the power of `skew`; an expert of the pass
    /// before stays with the chance `repeats`; every `period` passes so many pairs change their popularity.
    private struct Trace {
        var name: String
        var skew: Double
        var repeats = 0.0
        var period = Int.max
        var swaps = 0

        /// The wanted experts of each pass.
        func passes(_ count: Int, experts: Int, perToken: Int) -> [[Int]] {
            var generator = SeededGenerator(seed: 42)
            var ranks = Array(0..<experts).shuffled(using: &generator)
            let chances = (1...experts).map { 1 / lamina_pow(Double($0), skew) }
            var last: Set<Int> = []
            return (0..<count).map { pass in
                if pass > 0, pass % period == 0 {
                    for _ in 0..<swaps {
                        ranks.swapAt(
                            Int.random(in: 0..<experts, using: &generator),
                            Int.random(in: 0..<experts, using: &generator))
                    }
                }
                var wanted = Set(
                    last.sorted().filter { _ in Double.random(in: 0..<1, using: &generator) < repeats })
                while wanted.count < perToken {
                    var rest = Double.random(in: 0..<chances.reduce(0, +), using: &generator)
                    let rank = chances.firstIndex { chance in
                        rest -= chance
                        return rest < 0
                    }
                    wanted.insert(ranks[rank ?? 0])
                }
                last = wanted
                return wanted.sorted()
            }
        }
    }

    private func hitRate(_ passes: [[Int]], slots: Int, halfLife: Double) -> Double {
        var layer = ExpertReplacement(experts: 64, slots: slots, halfLife: halfLife)
        var (hits, wanted) = (0, 0)
        for pass in passes {
            layer.route(pass)
            hits += layer.outcomes.count { $0 == .cached }
            wanted += pass.count
        }
        return Double(hits) / Double(wanted)
    }

    /// The simulation that the half-life was chosen by: 8 of 64 experts, room for 8, 16 and 32.
    @Test func theHalfLifeIsACompromiseThatIsFarFromWrongForNoTrace() {
        let traces = [
            Trace(name: "steady", skew: 0.8),
            Trace(name: "drifting", skew: 0.8, period: 16, swaps: 5),
            Trace(name: "topics", skew: 1, period: 256, swaps: 200),
            Trace(name: "repeating", skew: 0.6, repeats: 0.3),
        ]
        let halfLives = [1, 4, ExpertReplacement.defaultHalfLife, 64, 1e9]
        var losses = [Double](repeating: 0, count: halfLives.count)
        for trace in traces {
            let passes = trace.passes(1500, experts: 64, perToken: 8)
            for slots in [8, 16, 32] {
                let rates = halfLives.map { hitRate(passes, slots: slots, halfLife: $0) }
                let best = rates.max() ?? 0
                for (index, rate) in rates.enumerated() { losses[index] += (best - rate) / Double(3 * traces.count) }
                // Better than chance by far, and never much worse than what suits the trace.
                #expect(rates[2] > Double(slots) / 64 + 0.1, "\(trace.name), \(slots) slots: \(rates)")
                #expect(best - rates[2] < 0.12, "\(trace.name), \(slots) slots: \(rates)")
            }
        }
        #expect(losses.min() == losses[2], "\(losses)")
    }
}
