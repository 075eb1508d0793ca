import LayerStore

/// Divides the size of a store between tensors with a free rate by what their errors were measured to cost.
///
/// The divergence that a tensor's error causes grows with the square of its step, and a bit more halves the step. So a
/// size is spent best when every step is in proportion to the square root of weights over divergence, the divergence
/// being measured with one step for all: reverse water-filling, with errors weighted by what they do.
public struct RateAllocation: Sendable {
    /// What quantizing some tensors with the common step cost.
    public struct Cost: Sendable {
        public var weights: Double
        /// Mean Kullback-Leibler divergence, in nats.
        public var divergence: Double

        public init(weights: Double, divergence: Double) {
            self.weights = weights
            self.divergence = divergence
        }

        fileprivate var perWeight: Double { weights > 0 ? max(0, divergence) / weights : 0 }
    }

    /// Two bits either way: measurements of a few hundred predictions bear no more.
    private static let factors = 0.25...4.0
    /// Factors are multiples of it: short to write.
    static let resolution = 1.0 / 1024

    private let kinds: [String: Double]
    private let depths: [Double]
    private let layersPerDepth: Int
    private let mean: Double

    /// `kinds`: what each kind of tensor cost in all layers, `depths`: what each of equally many layers, in order, cost
    /// with all their kinds; empty if that was not measured.
    public init(kinds: [String: Cost], depths: [Cost], layersPerDepth: Int) {
        func perWeight(_ costs: [Cost]) -> Double {
            Cost(
                weights: costs.reduce(0) { $0 + $1.weights }, divergence: costs.reduce(0) { $0 + max(0, $1.divergence) }
            ).perWeight
        }
        self.kinds = kinds.mapValues(\.perWeight)
        // In the order of names: sums of floating-point numbers depend on theirs.
        mean = perWeight(kinds.sorted { $0.key < $1.key }.map(\.value))
        let depthMean = perWeight(depths)
        self.depths = depths.map { depthMean > 0 ? $0.perWeight / depthMean : 1 }
        self.layersPerDepth = max(1, layersPerDepth)
    }

    /// The step of a tensor over the common one; `layer` is `nil` outside the layers.
    public func stepFactor(kind: String, layer: Int?) -> Double {
        let depth = layer.map { $0 / layersPerDepth }.flatMap { depths.indices.contains($0) ? depths[$0] : nil } ?? 1
        guard let own = kinds[kind], mean > 0 else { return 1 }
        let cost = own / mean * depth
        guard cost > 0 else { return RateAllocation.factors.upperBound }
        let factor = min(
            max((1 / cost).squareRoot(), RateAllocation.factors.lowerBound), RateAllocation.factors.upperBound)
        return (factor / RateAllocation.resolution).rounded() * RateAllocation.resolution
    }

    /// The kind of a tensor: its name in the table with `*` for every number, such as an expert's.
    public static func kind(ofStoredName name: String) -> String {
        name.split(separator: ".", omittingEmptySubsequences: false)
            .map { $0.allSatisfy(\.isNumber) && !$0.isEmpty ? "*" : String($0) }.joined(separator: ".")
    }
}

extension ConversionPlan {
    /// Gives every tensor whose rate the size of the store decides its part of it.
    public mutating func allocate(_ allocation: RateAllocation) {
        for shard in shards.indices {
            let layer = Int(shards[shard].layer)
            for tensor in shards[shard].tensors.indices {
                guard case .storeBytes = shards[shard].tensors[tensor].quantization.rate else { continue }
                let kind = RateAllocation.kind(ofStoredName: shards[shard].tensors[tensor].storedName)
                shards[shard].tensors[tensor].quantization.stepFactor = allocation.stepFactor(kind: kind, layer: layer)
            }
        }
    }
}
