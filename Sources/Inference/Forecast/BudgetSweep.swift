import TensorCore

/// What a memory budget buys.
public struct BudgetStep: Sendable {
    /// What a budget that is large enough gives.
    public struct Gain: Sendable {
        /// Of the weights.
        public var residentShare: Double
        /// For one token of every sequence.
        public var bytesPerStep: Double
        public var step: Forecast.Time
    }

    public var memoryBytes: Int
    /// `nil` if the budget is too small.
    public var gain: Gain?
}

extension SessionPlan {
    private static let smallestFirstBudget = 64 << 20
    private static let largestBudget = 1 << 60

    /// Forecasts for budgets that double from 1 GiB on, or from less for a smaller model, until everything stays in
    /// memory: the engine's own division of memory each time, at the rates given.
    public func sweep(disk: DiskRate?, compute: ComputeRates?) -> [BudgetStep] {
        var first = 1 << 30
        while first > SessionPlan.smallestFirstBudget, first > weightBytes { first /= 2 }
        return sweep(from: first, disk: disk, compute: compute)
    }

    func sweep(from first: Int, disk: DiskRate?, compute: ComputeRates?) -> [BudgetStep] {
        var steps: [BudgetStep] = []
        var budget = first
        while budget <= SessionPlan.largestBudget {
            let plan: SessionPlan? = try? replanned(memoryBytes: budget)
            let gain = plan.map { plan in
                let forecast = Forecast(plan, disk: disk, compute: compute)
                return BudgetStep.Gain(
                    residentShare: plan.residentShare, bytesPerStep: forecast.bytesPerStep, step: forecast.step)
            }
            steps.append(BudgetStep(memoryBytes: budget, gain: gain))
            // Nothing stays in memory where there is only one pass.
            if let plan, plan.residentShare == 1 || plan.memory.passes == 1 && budget > weightBytes { break }
            budget *= 2
        }
        return steps
    }
}
