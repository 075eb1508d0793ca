import CKernels
import Foundation
import TensorCore
import Testing

@testable import Inference

@Suite struct EvaluationStatisticsTests {
    private func score(_ probability: Double, top: Int = 0, divergence: Double = 0) -> PositionScore {
        PositionScore(logProbability: log(probability), topToken: top, divergence: divergence)
    }

    private func close(_ a: Double, _ b: Double, _ tolerance: Double = 1e-12) -> Bool {
        abs(a - b) <= tolerance * max(1, abs(b))
    }

    @Test func estimateIsMeanAndStandardError() {
        // Variance ((1.5)² + (0.5)² + (0.5)² + (1.5)²) / 4 = 1.25; over 4 - 1.
        let estimate = Estimate([1, 2, 3, 4])
        #expect(close(estimate.mean, 2.5))
        #expect(close(estimate.error, (1.25 / 3).squareRoot()))
        #expect(Estimate([7]) == Estimate(mean: 7, error: 0))
        #expect(Estimate([]) == Estimate(mean: 0, error: 0))
    }

    @Test func perplexityOfEvenOddsIsTheirNumber() {
        let perplexity = Perplexity(logProbabilities: [log(0.25), log(0.25), log(0.25)])
        #expect(close(perplexity.value.mean, 4))
        #expect(abs(perplexity.value.error) < 1e-7)
        // Losses ln 2 and ln 8: mean ln 4, variance (ln 2)², over 2 - 1.
        let mixed = Perplexity(logProbabilities: [log(0.5), log(0.125)])
        #expect(close(mixed.value.mean, 4))
        #expect(close(mixed.value.error, 4 * log(2)))
    }

    @Test func percentilesLieOnStraightLines() {
        let distribution = Distribution([40, 10, 30, 20])
        #expect(distribution.values == [10, 20, 30, 40])
        #expect(distribution.median == 25)
        #expect(close(distribution.percentile(0.9), 37))
        #expect(distribution.percentile(0) == 10 && distribution.percentile(1) == 40)
        #expect(distribution.percentile(-1) == 10 && distribution.percentile(2) == 40)
        #expect(Distribution([5]).percentile(0.3) == 5)
        #expect(Distribution([]).percentile(0.5).isNaN)
    }

    @Test func comparisonIsByPositions() {
        let reference = [score(0.5, top: 1), score(0.25, top: 2), score(0.125, top: 3), score(0.5, top: 4)]
        let scores = [
            score(0.25, top: 1, divergence: 0.1), score(0.25, top: 9, divergence: 0.3),
            score(0.25, top: 3, divergence: 0), score(0.25, top: 4, divergence: 0.2),
        ]
        let comparison = ScoreComparison(scores, reference: reference)
        #expect(close(comparison.perplexity.value.mean, 4))
        // Mean of ln p - ln q: (ln 2 + 0 - ln 2 + ln 2) / 4.
        #expect(close(comparison.ratio.mean, exp(log(2) / 4)))
        // Its squares' mean 3 (ln 2)² / 4, less the mean's square (ln 2)² / 16, over 3.
        let error = ((0.75 - 0.0625) / 3).squareRoot() * log(2)
        #expect(close(comparison.ratio.error, comparison.ratio.mean * error))
        #expect(close(comparison.divergence.mean, 0.15))
        #expect(close(comparison.divergences.median, 0.15) && comparison.divergences.percentile(1) == 0.3)
        #expect(close(comparison.sameTop.mean, 0.75))
        #expect(close(comparison.sameTop.error, (0.75 * 0.25 / 3).squareRoot()))
        // q - p: -1/4, 0, 1/8, -1/4.
        #expect(close(comparison.probabilityChange.mean, -0.375 / 4))
        #expect(close(comparison.rootMeanSquareChange.mean, (0.140625 / 4).squareRoot()))
        #expect(close(comparison.probabilityChanges.percentile(0), -0.25))
    }

    @Test func equalStoresDoNotDiffer() {
        let scores = [score(0.5, top: 1), score(0.1, top: 2)]
        let comparison = ScoreComparison(scores, reference: scores)
        #expect(comparison.ratio == Estimate(mean: 1, error: 0))
        #expect(comparison.sameTop == Estimate(mean: 1, error: 0))
        #expect(comparison.rootMeanSquareChange == Estimate(mean: 0, error: 0))
    }

    // MARK: Windows

    @Test func windowsLieNextToEachOther() throws {
        let windows = try TextWindows(tokens: [9] + Array(100..<124), beginning: [9], context: 8)
        #expect(windows.tokenCount == 25 && windows.sequences.count == 3)
        #expect(windows.sequences.map(\.wanted) == [4..<7, 4..<7, 4..<7] && windows.countedPositions == 9)
        #expect(windows.sequences.map(\.fed) == [7, 7, 7] && windows.fedTokens == 21)
        #expect(windows.sequences[0].tokens == [9, 100, 101, 102, 103, 104, 105, 106])
        // The window's own first token gives way to the one that a text begins with.
        #expect(windows.sequences[1].tokens == [9, 108, 109, 110, 111, 112, 113, 114])
        #expect(windows.sequences[1].next(6) == 114)
        let bare = try TextWindows(tokens: Array(0..<25), beginning: [], context: 7, most: 2)
        #expect(bare.sequences.map(\.tokens) == [Array(0..<7), Array(7..<14)])
        #expect(bare.sequences[0].wanted == 3..<6)
    }

    @Test func windowsOfAStrideOverlap() throws {
        let windows = try TextWindows(tokens: Array(0..<20), beginning: [0], context: 8, stride: 3)
        // One begins at every third token as long as one more token follows the window.
        #expect(windows.sequences.map { $0.tokens[0] } == [0, 3, 6, 9])
        #expect(windows.sequences[3].tokens == Array(9..<17))
        #expect(windows.sequences.allSatisfy { $0.wanted == 4..<7 } && windows.countedPositions == 12)
        // Every token is predicted once from the fifth on.
        let predicted = windows.sequences.flatMap { window in window.wanted.map { window.tokens[$0 + 1] } }
        #expect(predicted == Array(5..<17))
    }

    @Test func impossibleWindowsAreRefused() {
        func kind(_ tokens: Int, _ context: Int, stride: Int? = nil, beginning: [Int] = []) -> LaminaError.Kind? {
            do throws(LaminaError) {
                _ = try TextWindows(tokens: Array(0..<tokens), beginning: beginning, context: context, stride: stride)
                return nil
            } catch { return error.kind }
        }
        #expect(kind(16, 8) == nil && kind(15, 8) == .malformed && kind(0, 8) == .malformed)
        #expect(kind(9, 8, stride: 8) == .usage && kind(9, 8, stride: 0) == .usage)
        #expect(kind(9, 8, stride: 7) == nil && kind(8, 8, stride: 7) == .malformed)
        #expect(kind(100, 3) == .usage && kind(100, 4) == nil && kind(100, 4, beginning: [1, 2, 3]) == .usage)
    }

    // MARK: Division

    @Test func wholeSequencesShareSweeps() {
        func demand(_ tokens: Int) -> EvaluationDemand {
            EvaluationDemand(tokens: tokens, wanted: (tokens / 2)..<tokens)
        }
        // Rooms of 16, 32, 16, 112 and 16 positions in passes of 64 columns.
        let division = EvaluationDivision([10, 17, 16, 100, 5].map(demand), columns: 64)
        #expect(division.sweeps.map(\.sequences) == [0..<3, 3..<4, 4..<5])
        #expect(division.sweeps.map(\.sharesRoom) == [true, false, true])
        #expect(division.sweeps[0].passes[0].map(\.tokens) == [0..<10, 0..<17, 0..<16])
        #expect(division.sweeps[1].passes.map { $0.map(\.tokens) } == [[0..<64], [64..<100]])
        #expect(division.passes.map(division.wantedCount) == [5 + 9 + 8, 14, 36, 3])
        // A pass in which nothing is wanted leaves the head out.
        let late = EvaluationDivision([EvaluationDemand(tokens: 100, wanted: 90..<100)], columns: 64)
        #expect(late.schedule.map(\.includesHead) == [false, true])
        #expect(EvaluationDivision.columns([10, 17].map(demand)) == 48)
    }
}
