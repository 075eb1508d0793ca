/// What a scheme leaves open about one tensor.
public struct QuantizationParameters: Sendable, Equatable {
    /// Bits a weight is to take, for schemes with a free step.
    public var bits: Double?
    /// Step over the root mean square of a row, for `ecq`; `StepSolver` finds it for the bits wanted.
    public var step: Double?
    /// Relative error that the source itself has, where it was quantized before.
    public var sourceError: Double

    public init(bits: Double? = nil, step: Double? = nil, sourceError: Double = 0) {
        self.bits = bits
        self.step = step
        self.sourceError = sourceError
    }
}

/// What quantization cost, summed over weights in a fixed order so that the sums are the same everywhere.
struct QuantizationLoss: Sendable, Equatable {
    /// Sum of the squared differences from the source.
    var squaredError = 0.0
    /// Sum of the source's squares.
    var energy = 0.0

    static func += (sum: inout QuantizationLoss, loss: QuantizationLoss) {
        sum.squaredError += loss.squaredError
        sum.energy += loss.energy
    }

    /// Norm of the difference over the norm of the source; an earlier error, of which nobody has the difference any more,
    /// counts as independent of this one.
    func relativeError(after earlier: Double) -> Double {
        guard energy > 0 else { return earlier }
        return (squaredError / energy + earlier * earlier).squareRoot()
    }
}
