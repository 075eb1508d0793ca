/// What decides the step of tensors whose scheme leaves it free.
public enum WantedRate: Sendable, Hashable {
    /// Bits a weight, as stored: codes, scales and headers.
    case bits(Double)
    /// As many as there are for these tensors in a store of this size in bytes.
    case storeBytes(UInt64)

    var text: String {
        switch self {
        case .bits(let bits): "\(bits) bits"
        case .storeBytes(let bytes): "\(bytes) bytes"
        }
    }
}

/// What a scheme leaves open about one tensor.
public struct QuantizationParameters: Sendable, Equatable {
    /// For schemes with a free step.
    public var rate: WantedRate?
    /// Step over the root mean square of a row, for `ecq`; `StepSolver` finds it for the rate wanted.
    public var step: Double?
    /// This tensor's step over that of others with the same rate: where its errors cost less it may be coarser.
    public var stepFactor = 1.0
    /// Relative error that the source itself has, where it was quantized before.
    public var sourceError: Double

    public init(rate: WantedRate? = nil, step: Double? = nil, sourceError: Double = 0) {
        self.rate = rate
        self.step = step
        self.sourceError = sourceError
    }

    /// Steps of about 6.5 and 2.5 bits a weight: no tensor gets more or less because of its factor.
    private static let factoredSteps = (least: 0.048, largest: 0.77)

    /// The tensor's own step where those with factor 1 have `step`.
    func ownStep(_ step: Double) -> Double {
        guard stepFactor != 1 else { return step }
        let (least, largest) = QuantizationParameters.factoredSteps
        return StepSolver.rounded(min(max(step * stepFactor, min(step, least)), max(step, largest)))
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
