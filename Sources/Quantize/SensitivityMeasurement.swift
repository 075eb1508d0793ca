import CSystem
import CommandLineSupport
import Inference
import LayerStore
import ModelCommandSupport
import StoreCommands
import StoreWriter
import TensorCore

/// Finds out what quantizing each kind of matrix costs, so that a store of a given size has its bits where they matter.
///
/// A trial store with all of them at one rate is made beside the output. The model then predicts a text with the
/// matrices of one kind after the other, and of one quarter of the layers after the other, taken from the trial store,
/// the others exact. Afterwards the trial store goes.
struct SensitivityMeasurement {
    /// Bits a weight of the trial store: about what is wanted in the end. The rates hardly depend on it.
    private static let trialBits = 4.25
    /// Two windows, of which the second half counts: the fourth root of a cost goes into a step, so that a rough mean
    /// serves.
    private static let (context, windowCount) = (256, 2)
    /// Layers are told apart by quarters where there are some in each.
    private static let (depths, leastLayers) = (4, 8)

    let model: StoredModel
    let source: StoreSource
    let text: EvaluationText
    let options: SessionOptions
    let kernels: KernelTable
    let isQuiet: Bool

    /// Matrices that are taken from the trial store together.
    private struct Group {
        var name: String
        var names: Set<String> = []
        var weights = 0.0
        var layers: Range<Int>

        mutating func add(_ job: TensorJob) {
            names.insert(job.storedName)
            weights += Double(job.shape.elementCount)
        }
    }

    /// The allocation for tensors of `plan` whose rate the size of the store decides; the trial store is made beside
    /// `destination`. A signal ends the program. Nothing is left of the trial, but by a kill. Throws what making and
    /// running stores throws.
    func run(_ plan: ConversionPlan, beside destination: Destination) throws(LaminaError) -> RateAllocation {
        let (kinds, quarters) = (kinds(plan), quarters(plan))
        // A text that will not do is refused before the trial store is made.
        let windows = try text.windows(
            for: model, context: min(SensitivityMeasurement.context, model.config.maximumPositions),
            most: SensitivityMeasurement.windowCount)
        guard let divergences = try measure(kinds + quarters, windows, plan, destination) else {
            SensitivityMeasurement.noteInterruption()
            CommandLineTool.exitForSignal(lamina_caught_signal())
        }
        let costs = zip(kinds + quarters, divergences).map {
            RateAllocation.Cost(weights: $0.weights, divergence: $1)
        }
        let allocation = RateAllocation(
            kinds: Dictionary(zip(kinds.map(\.name), costs), uniquingKeysWith: { first, _ in first }),
            depths: Array(costs.dropFirst(kinds.count)), layersPerDepth: layersPerDepth)
        if !isQuiet { Console.note(report(kinds, costs, allocation)) }
        return allocation
    }

    private static func noteInterruption() { Console.note("interrupted: the same command measures again\n") }

    /// Makes the trial store, measures with it and removes it; `nil` if a signal ended it.
    private func measure(
        _ groups: [Group], _ windows: TextWindows, _ plan: ConversionPlan, _ destination: Destination
    ) throws(LaminaError) -> [Double]? {
        let (place, fileSystem) = (destination.trialPath, model.store.fileSystem)
        let removal = StoreRemoval(of: place, in: fileSystem, hint: "it is a trial store: remove it by hand")
        try removal.finish()
        let conversion = try trial(plan, fileSystem)
        if case .otherStore = try conversion.find(at: place) { try removal.remove() }
        let found: [Double]?
        do throws(LaminaError) {
            if case .noStore = try conversion.find(at: place) {
                let forecast = try ConversionForecast(conversion.plan, threads: options.threads, kernels: kernels)
                try destination.checkSpace(
                    for: forecast.peakBytes, hint: "make room for a trial store, or give --rates equal")
                let run = ConversionRun(conversion, source, verb: "trial", past: "quantized", isQuiet: isQuiet)
                _ = try run.make(at: place) {
                    try? removal.removeUnfinished(conversion.plan)
                    SensitivityMeasurement.noteInterruption()
                }
            }
            let trial = try StoredModel(try Store(path: place, in: fileSystem))
            found = try measure(groups, windows, in: trial)
        } catch {
            // What failed says more than what cannot be removed.
            try? removal.remove()
            try? removal.removeUnfinished(conversion.plan)
            throw error
        }
        try removal.remove()
        return found
    }

    private var layersPerDepth: Int { dividedUp(model.config.layerCount, by: SensitivityMeasurement.depths) }

    private func kinds(_ plan: ConversionPlan) -> [Group] {
        var groups: [String: Group] = [:]
        for job in plan.shards.flatMap(\.tensors) where job.isFree {
            let kind = RateAllocation.kind(ofStoredName: job.storedName)
            groups[kind, default: Group(name: kind, layers: 0..<model.config.layerCount)].add(job)
        }
        return groups.values.sorted { $0.name < $1.name }
    }

    private func quarters(_ plan: ConversionPlan) -> [Group] {
        let count = model.config.layerCount
        guard count >= SensitivityMeasurement.leastLayers else { return [] }
        return stride(from: 0, to: count, by: layersPerDepth).map { first in
            let layers = first..<min(count, first + layersPerDepth)
            var group = Group(name: "layers \(layers.lowerBound) to \(layers.upperBound - 1)", layers: layers)
            for shard in plan.shards {
                guard let layer = Int(shard.layer), layers.contains(layer) else { continue }
                for job in shard.tensors where job.isFree { group.add(job) }
            }
            return group
        }
    }

    /// The same plan with one rate for all.
    private func trial(_ plan: ConversionPlan, _ fileSystem: any FileSystem) throws(LaminaError) -> Conversion {
        var trial = plan
        for shard in trial.shards.indices {
            for tensor in trial.shards[shard].tensors.indices where trial.shards[shard].tensors[tensor].isFree {
                trial.shards[shard].tensors[tensor].quantization.rate = .bits(SensitivityMeasurement.trialBits)
            }
        }
        try StepSolver(threads: options.threads, kernels: kernels).solve(&trial)
        var conversionOptions = Conversion.Options(threads: options.threads)
        // Half a trial store may be from a run with other options.
        conversionOptions.restarts = true
        return Conversion(plan: trial, options: conversionOptions, kernels: kernels, fileSystem: fileSystem)
    }

    /// The mean divergence with each group's matrices from the trial store; `nil` if a signal ended it.
    private func measure(
        _ groups: [Group], _ windows: TextWindows, in trial: StoredModel
    ) throws(LaminaError) -> [Double]? {
        let comparison = try StoreComparison(
            StoreComparison.Subject(model: model, options: options),
            groups.map { group in
                let variant = WeightVariant(model: trial, names: group.names, layers: group.layers)
                return StoreComparison.Subject(model: model, variant: variant, options: options)
            }, windows: windows.sequences, kernels: kernels)
        var progress = StepProgress(label: "measure", steps: try comparison.layerCount(), isQuiet: isQuiet)
        let outcome = Result { () throws(LaminaError) in
            try comparison.run {
                progress.finishedStep()
                return lamina_caught_signal() != 0
            }
        }
        progress.clear()
        return try outcome.get()?.dropFirst().map { Estimate($0.scores.map(\.divergence)).mean }
    }

    private func report(_ kinds: [Group], _ costs: [RateAllocation.Cost], _ allocation: RateAllocation) -> String {
        let total = kinds.reduce(0) { $0 + $1.weights }
        var table = TextTable(["measured", "weights", "KL at \(SensitivityMeasurement.trialBits) bits", "step"])
        for (kind, cost) in zip(kinds, costs) {
            table.add([
                kind.name, formatted(100 * kind.weights / total, decimals: 1) + " %",
                formatted(cost.divergence, decimals: 5),
                "x " + formatted(allocation.stepFactor(kind: kind.name, layer: nil), decimals: 2),
            ])
        }
        return table.text
    }
}

extension TensorJob {
    /// Whether the size of the store decides its rate.
    fileprivate var isFree: Bool { if case .storeBytes = quantization.rate { true } else { false } }
}
