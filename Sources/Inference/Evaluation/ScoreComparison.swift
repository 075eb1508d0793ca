import CKernels

/// How the scores of a store differ from a reference's for the same positions, as llama-perplexity's
/// `--kl-divergence` defines it.
public struct ScoreComparison: Sendable {
    public let reference: Perplexity
    public let perplexity: Perplexity
    /// Of the two perplexities' quotient; its error is smaller than theirs since they rise and fall together.
    public let ratio: Estimate
    /// The mean Kullback-Leibler divergence from the reference's distribution, in nats.
    public let divergence: Estimate
    public let divergences: Distribution
    /// The share of positions with the same most probable token.
    public let sameTop: Estimate
    /// p(token that follows) less the reference's: its mean, and the root of the mean square.
    public let probabilityChange: Estimate
    public let rootMeanSquareChange: Estimate
    public let probabilityChanges: Distribution

    /// Compares position by position; there must be as many of both.
    public init(_ scores: [PositionScore], reference: [PositionScore]) {
        let losses = scores.map { -$0.logProbability }
        let referenceLosses = reference.map { -$0.logProbability }
        perplexity = Perplexity(logProbabilities: scores.map(\.logProbability))
        self.reference = Perplexity(logProbabilities: reference.map(\.logProbability))
        // The mean of the differences, and their variance: var a + var b - 2 cov(a, b).
        ratio = Estimate(zip(losses, referenceLosses).map { $0 - $1 }).exponential
        divergence = Estimate(scores.map(\.divergence))
        divergences = Distribution(scores.map(\.divergence))
        sameTop = Estimate(zip(scores, reference).map { $0.topToken == $1.topToken ? 1 : 0 })
        let changes = zip(scores, reference).map { lamina_exp($0.logProbability) - lamina_exp($1.logProbability) }
        probabilityChange = Estimate(changes)
        probabilityChanges = Distribution(changes)
        let square = Estimate(changes.map { $0 * $0 })
        let root = square.mean.squareRoot()
        rootMeanSquareChange = Estimate(mean: root, error: root > 0 ? 0.5 / root * square.error : 0)
    }
}
