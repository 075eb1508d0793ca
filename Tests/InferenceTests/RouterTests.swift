import TestSupport
import Testing

@testable import Inference

@Suite struct RouterTests {
    private func routing(
        _ experts: Int, _ chosen: Int, groups: Routing.Groups = .all, scores: Routing.Scores = .softmax
    ) -> Routing {
        Routing(experts: experts, chosen: chosen, scores: scores, groups: groups, normalizes: true, scale: 2.5)
    }

    /// (expert, column, weight) of what is chosen for columns of router products.
    private func choice(
        _ routing: Routing, _ products: [[Float]], bias: [Float]? = nil
    ) -> [(expert: Int, column: Int, weight: Float)] {
        let router = Router(columns: products.count, [routing])
        for (column, values) in products.enumerated() {
            withUnsafeTemporaryAllocation(of: Float.self, capacity: 2 * routing.experts) { scratch in
                guard let start = scratch.baseAddress else { return }
                router.choose(column: column, routing, products: values, bias: bias, scratch: start)
            }
        }
        router.sort(routing, columns: products.count)
        return (0..<routing.experts).flatMap { expert in
            router.range(of: expert).map { (expert, router.columns[$0], router.sortedWeights[$0]) }
        }
    }

    @Test func theBestAreChosenTheFirstOfEquals() {
        let found = choice(routing(5, 2), [[1, 3, 2, 3, 0], [0, 0, 0, 0, 0]])
        #expect(found.map(\.expert) == [0, 1, 1, 3] && found.map(\.column) == [1, 0, 1, 0])
        // Equal scores, divided by their sum, times the scale.
        #expect(found.allSatisfy { abs($0.weight - 1.25) < 1e-6 })
    }

    @Test func aBiasChangesTheChoiceNotTheWeights() {
        let found = choice(routing(3, 1, scores: .sigmoid), [[0, 4, -4]], bias: [0, -9, 5])
        #expect(found.map(\.expert) == [2] && abs(found[0].weight - 2.5) < 1e-6)
    }

    @Test func groupsAreJudgedByTheirBest() {
        // The first group has the best expert, the second the best two.
        let products: [Float] = [5, 0, 0, 4, 3, 0]
        let best = choice(routing(6, 2, groups: .byMaximum(count: 2, kept: 1)), [products])
        #expect(best.map(\.expert) == [0, 1])
        let two = choice(
            routing(6, 2, groups: .byTopTwo(count: 2, kept: 1), scores: .sigmoid), [products],
            bias: [0, -1, -1, 0, 0, 0])
        #expect(two.map(\.expert) == [3, 4])
    }

    /// Whatever a damaged model computes, a column has as many experts as it should, each once.
    @Test func nothingChoosesAnExpertTwice() {
        var generator = SeededGenerator(seed: 5)
        let odd: [Float] = [.nan, .infinity, -.infinity, 0, 3e38, -3e38, 1]
        let groups: [Routing.Groups] = [.all, .byMaximum(count: 4, kept: 2), .byTopTwo(count: 4, kept: 2)]
        for round in 0..<600 {
            let products = (0..<3).map { _ in (0..<8).map { _ in odd.randomElement(using: &generator) ?? 0 } }
            let bias = round % 2 == 0 ? nil : (0..<8).map { _ in odd.randomElement(using: &generator) ?? 0 }
            let scores: Routing.Scores = round % 5 < 2 ? .softmax : .sigmoid
            let found = choice(routing(8, 4, groups: groups[round % 3], scores: scores), products, bias: bias)
            for column in 0..<3 {
                let experts = found.filter { $0.column == column }.map(\.expert)
                #expect(experts.count == 4 && Set(experts).count == 4)
            }
        }
    }
}
