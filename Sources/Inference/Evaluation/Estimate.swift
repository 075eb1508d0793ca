import CKernels

/// A mean and its standard error.
public struct Estimate: Sendable, Equatable {
    public var mean: Double
    /// The square root of the values' variance divided by one less than their number; 0 for a single value.
    public var error: Double

    public init(mean: Double, error: Double) {
        self.mean = mean
        self.error = error
    }

    /// The mean of `values`, added in order; 0 for none.
    public init(_ values: some Collection<Double>) {
        let count = Double(values.count)
        let mean = values.isEmpty ? 0 : values.reduce(0, +) / count
        let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / max(1, count)
        self.init(mean: mean, error: values.count < 2 ? 0 : (variance / (count - 1)).squareRoot())
    }

    /// e to the power of it, the error taken along to first order.
    public var exponential: Estimate {
        let value = lamina_exp(mean)
        return Estimate(mean: value, error: value * error)
    }
}

/// How surprised a model is by a text: the exponential of the mean negative log-probability of its tokens.
public struct Perplexity: Sendable, Equatable {
    /// Of -log p.
    public let loss: Estimate
    public var value: Estimate { loss.exponential }

    /// For the log-probabilities of tokens.
    public init(logProbabilities: some Collection<Double>) { loss = Estimate(logProbabilities.map { -$0 }) }
}

/// Values in order of size, for percentiles.
public struct Distribution: Sendable, Equatable {
    /// Rising.
    public let values: [Double]

    public init(_ values: some Collection<Double>) { self.values = values.sorted() }

    /// The value that a share of the others, from 0 to 1, does not exceed: between two of them on a straight line. NaN
    /// where there are none.
    public func percentile(_ share: Double) -> Double {
        guard let last = values.last else { return .nan }
        let place = min(max(share, 0), 1) * Double(values.count - 1)
        let index = Int(place)
        guard index + 1 < values.count else { return last }
        let part = place - Double(index)
        return (1 - part) * values[index] + part * values[index + 1]
    }

    public var median: Double { percentile(0.5) }
}
