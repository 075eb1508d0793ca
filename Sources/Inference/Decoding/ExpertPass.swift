import CKernels
import LayerStore
import TensorCore

/// The columns of one expert after the other: gathered side by side, and their results added up with the router's
/// weights. Experts come in their order, so that a column's sum does not depend on the columns beside it.
final class ExpertPass: @unchecked Sendable {
    // Sendable: places are treated by one worker each; between barriers the rest belongs to one thread.

    /// What is done with each place.
    enum Step: Sendable { case gather, activate, accumulate }

    private let kernels: KernelTable
    private let activations: Activations
    private let codes: ActivationCodes
    private let router: Router
    private let widths: [Int]
    /// Places of the expert in hand.
    private var places = 0..<0
    private var chosen: [Int] = []

    init(
        kernels: KernelTable, activations: Activations, codes: ActivationCodes, router: Router, widths: [Int]
    ) {
        self.kernels = kernels
        self.activations = activations
        self.codes = codes
        self.router = router
        self.widths = widths
    }

    /// Indices into `StreamPlan.experts` of all that some column has chosen, rising.
    func wanted(_ routing: PlannedRouting) -> [Int] {
        chosen.removeAll(keepingCapacity: true)
        for expert in 0..<routing.routing.experts where !router.range(of: expert).isEmpty {
            chosen.append(routing.firstExpert + expert)
        }
        return chosen
    }

    func clear(_ mixture: PlannedMixture, columns: Int) {
        for column in 0..<columns {
            activations.column(mixture.sum, column).update(repeating: 0, count: widths[mixture.sum])
        }
    }

    /// Turns to the columns of `expert`; returns how many there are.
    func begin(_ expert: Int) -> Int {
        places = router.range(of: expert)
        return places.count
    }

    /// The pass's columns that the expert in hand has, as they stand side by side.
    var columns: [Int] { Array(router.columns[places]) }

    func perform(_ step: Step, _ mixture: PlannedMixture, place: Int) {
        let column = router.columns[places.lowerBound + place]
        switch step {
        case .gather:
            activations.column(mixture.gathered, place)
                .update(from: activations.column(mixture.input, column), count: widths[mixture.input])
            codes.fill(mixture.gathered, place, from: activations, kernels)
        case .activate:
            let gate = activations.column(mixture.gate, place)
            kernels.pointee.activate_multiply(
                mixture.function.kernelActivation, gate, activations.column(mixture.up, place), gate,
                widths[mixture.gate])
            codes.fill(mixture.gate, place, from: activations, kernels)
        case .accumulate:
            kernels.pointee.add_scaled(
                router.sortedWeights[places.lowerBound + place], activations.column(mixture.down, place),
                activations.column(mixture.sum, column), widths[mixture.sum])
        }
    }
}
