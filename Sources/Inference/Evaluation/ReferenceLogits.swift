import TensorCore

/// Logits of many positions, kept so that those of another store for the same positions can be compared with them.
public final class ReferenceLogits: @unchecked Sendable {
    // Sendable: a pass writes each place from one task, a later session only reads.

    /// Room for so many positions.
    public let capacity: Int
    public let vocabulary: Int
    /// (capacity, vocabulary).
    private let logits: UntouchedMemory
    /// Of every position: the logarithm of the sum of its logits' exponentials, and its most probable token.
    private(set) var logNormalizers: [Double]
    private(set) var topTokens: [Int]

    /// Throws `.limit` if there is not so much memory.
    public init(capacity: Int, vocabulary: Int) throws(LaminaError) {
        self.capacity = capacity
        self.vocabulary = vocabulary
        guard let bytes = Checked.product([capacity, vocabulary, MemoryLayout<Float>.stride]) else {
            throw LaminaError(.limit, "--memory", "too many positions to keep their logits")
        }
        logits = try UntouchedMemory(count: bytes)
        logNormalizers = [Double](repeating: 0, count: capacity)
        topTokens = [Int](repeating: 0, count: capacity)
    }

    /// Bytes for one position.
    public static func bytesPerPosition(vocabulary: Int) -> Int {
        vocabulary * MemoryLayout<Float>.stride + MemoryLayout<Double>.stride + MemoryLayout<Int>.stride
    }

    /// The logits of one position.
    func row(_ position: Int) -> UnsafeMutablePointer<Float> {
        logits.start.assumingMemoryBound(to: Float.self) + position * vocabulary
    }

    func finish(_ position: Int, logNormalizer: Double, topToken: Int) {
        logNormalizers[position] = logNormalizer
        topTokens[position] = topToken
    }
}

/// What becomes of the logits that an evaluation computes, besides scores.
public enum LogitUse: Sendable {
    /// Nothing.
    case score
    /// They are kept, in the order of the positions wanted.
    case keep(ReferenceLogits)
    /// They are compared with those that another session kept for the same positions.
    case compare(ReferenceLogits)
}

/// What the model says about one position.
public struct PositionScore: Sendable, Equatable {
    /// log p of the token that follows; NaN where none is given.
    public var logProbability: Double
    /// The most probable token, of several the first.
    public var topToken: Int
    /// The Kullback-Leibler divergence of the distribution from the reference's, in nats; 0 where none is given.
    public var divergence: Double
}
