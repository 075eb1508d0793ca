import CKernels
import LayerStore
import TensorCore

/// The experts chosen for the columns of a pass, and the columns of each expert side by side.
final class Router: @unchecked Sendable {
    // Sendable: columns are chosen for by one worker each; between barriers everything else belongs to one thread.
    private let most: Int
    /// (columns, chosen) experts, and their weights.
    private let chosen: UnsafeMutablePointer<Int32>
    private let weights: UnsafeMutablePointer<Float>
    /// Columns and weights sorted by expert, columns rising; where each expert's begin.
    private(set) var columns: [Int] = []
    private(set) var sortedWeights: [Float] = []
    private var starts: [Int] = []

    /// Room for `columns` columns of any of `routings`.
    init(columns: Int, _ routings: [Routing]) {
        let experts = routings.reduce(0) { max($0, $1.experts) }
        most = routings.reduce(0) { max($0, $1.chosen) }
        chosen = .allocate(capacity: max(1, columns * most))
        weights = .allocate(capacity: max(1, columns * most))
        self.columns.reserveCapacity(columns * most)
        sortedWeights.reserveCapacity(columns * most)
        starts.reserveCapacity(experts + 1)
    }

    deinit {
        chosen.deallocate()
        weights.deallocate()
    }

    /// Bytes per column.
    static func bytesPerColumn(_ plan: StreamPlan) -> Int { plan.routings.reduce(0) { max($0, $1.chosen) } * 24 }

    /// Chooses for one column. `products` are the router's, `scratch` has room for twice as many values.
    func choose(
        column: Int, _ routing: Routing, products: UnsafePointer<Float>, bias: UnsafePointer<Float>?,
        scratch: UnsafeMutablePointer<Float>
    ) {
        let count = routing.experts
        let scores = scratch
        let choice = scratch + count
        Router.score(routing.scores, products, into: scores, count: count)
        for expert in 0..<count {
            // -inf is for what is out of the choice: NaN from a damaged model must not choose an expert twice.
            let value = scores[expert] + (bias?[expert] ?? 0)
            choice[expert] = value > -Float.greatestFiniteMagnitude ? value : -Float.greatestFiniteMagnitude
        }
        Router.keepGroups(routing.groups, choice, count: count)
        var sum: Float = 0
        for place in 0..<routing.chosen {
            let expert = Router.largest(choice, count)
            choice[expert] = -.infinity
            chosen[column * most + place] = Int32(expert)
            weights[column * most + place] = scores[expert]
            sum += scores[expert]
        }
        let factor = routing.normalizes ? routing.scale / sum : routing.scale
        for place in 0..<routing.chosen { weights[column * most + place] *= factor }
    }

    private static func score(
        _ kind: Routing.Scores, _ products: UnsafePointer<Float>, into scores: UnsafeMutablePointer<Float>, count: Int
    ) {
        switch kind {
        case .sigmoid: for expert in 0..<count { scores[expert] = lamina_sigmoidf(products[expert]) }
        case .softmax:
            var maximum = products[0]
            for expert in 1..<max(count, 1) { maximum = max(maximum, products[expert]) }
            var sum: Float = 0
            for expert in 0..<count {
                scores[expert] = lamina_expf(products[expert] - maximum)
                sum += scores[expert]
            }
            for expert in 0..<count { scores[expert] /= sum }
        }
    }

    /// The first of the largest values.
    private static func largest(_ values: UnsafePointer<Float>, _ count: Int) -> Int {
        var best = 0
        for index in 1..<max(count, 1) where values[index] > values[best] { best = index }
        return best
    }

    /// Takes experts of all but the best groups out of the choice.
    private static func keepGroups(_ groups: Routing.Groups, _ choice: UnsafeMutablePointer<Float>, count: Int) {
        let (groupCount, kept, summed) =
            switch groups {
            case .all: (1, 1, 1)
            case .byMaximum(let count, let kept): (count, kept, 1)
            case .byTopTwo(let count, let kept): (count, kept, 2)
            }
        guard kept < groupCount else { return }
        let size = count / groupCount
        /// A group's score: the sum of its best experts.
        func score(_ group: Int) -> Float {
            var best = -Float.infinity
            var second = -Float.infinity
            for expert in (group * size)..<((group + 1) * size) {
                let value = choice[expert]
                if value > best {
                    second = best
                    best = value
                } else if value > second {
                    second = value
                }
            }
            return summed == 1 ? best : best + second
        }
        // Groups are few: as many rounds as are taken out, the worst each time, the last of equals first.
        for _ in 0..<(groupCount - kept) {
            var worst: (group: Int, score: Float)?
            for group in 0..<groupCount {
                let value = score(group)
                guard value > -.infinity else { continue }
                if worst == nil || value <= worst?.score ?? 0 { worst = (group, value) }
            }
            guard let worst else { return }
            for expert in (worst.group * size)..<((worst.group + 1) * size) { choice[expert] = -.infinity }
        }
    }

    /// After all of `columns` columns have chosen: sorts them by expert.
    func sort(_ routing: Routing, columns count: Int) {
        starts.removeAll(keepingCapacity: true)
        for _ in 0...routing.experts { starts.append(0) }
        for column in 0..<count {
            for place in 0..<routing.chosen { starts[Int(chosen[column * most + place]) + 1] += 1 }
        }
        for expert in 0..<routing.experts { starts[expert + 1] += starts[expert] }
        columns.removeAll(keepingCapacity: true)
        sortedWeights.removeAll(keepingCapacity: true)
        for _ in 0..<(count * routing.chosen) {
            columns.append(0)
            sortedWeights.append(0)
        }
        // Columns in order, so that those of an expert rise; `starts` is moved to the ends and back.
        for column in 0..<count {
            for place in 0..<routing.chosen {
                let expert = Int(chosen[column * most + place])
                columns[starts[expert]] = column
                sortedWeights[starts[expert]] = weights[column * most + place]
                starts[expert] += 1
            }
        }
        for expert in stride(from: routing.experts, to: 0, by: -1) { starts[expert] = starts[expert - 1] }
        starts[0] = 0
    }

    /// Places in `columns` of one expert.
    func range(of expert: Int) -> Range<Int> { starts[expert]..<starts[expert + 1] }
}

extension StreamPlan {
    /// How each layer with experts chooses.
    var routings: [Routing] {
        body.compactMap { if case .route(let planned) = $0 { planned.routing } else { nil } }
    }
}
