import Inference
import TensorCore
import Testing

@Suite struct SamplingTests {
    private func draws(_ settings: SamplerSettings, _ logits: [Float], count: Int, history: [Int] = []) throws -> [Int]
    {
        var sampler = try Sampler(settings: settings)
        var ids: [Int] = []
        for _ in 0..<count {
            let id = logits.withUnsafeBufferPointer { logits in
                Result { () throws(LaminaError) in try sampler.sample(logits: logits, history: history) }
            }
            ids.append(try id.get())
        }
        return ids
    }

    /// Everything off but the draw at temperature 1.
    private static let plain = SamplerSettings(temperature: 1, topK: 0, topP: 1, minP: 0, seed: 11)

    /// The logits of probabilities that are powers of two.
    private static func logits(_ probabilities: [Double]) -> [Float] {
        probabilities.map { Float(Double($0.exponent) * 0.6931471805599453) }
    }

    /// Chi-square of the draws against probabilities: below 30 for up to 6 degrees of freedom is far inside chance.
    private func chiSquare(_ ids: [Int], _ probabilities: [Double]) -> Double {
        var counts = [Double](repeating: 0, count: probabilities.count)
        for id in ids { counts[id] += 1 }
        var sum = 0.0
        for (count, probability) in zip(counts, probabilities) where count > 0 || probability > 0 {
            let expected = probability * Double(ids.count)
            sum += (count - expected) * (count - expected) / expected
        }
        return sum
    }

    private static let powers = [0.0625, 0.5, 0.125, 0.25, 0.0625]

    @Test func drawsFromTheSoftmax() throws {
        #expect(chiSquare(try draws(Self.plain, Self.logits(Self.powers), count: 20000), Self.powers) < 30)
    }

    @Test func temperatureSharpensTheSoftmax() throws {
        var settings = Self.plain
        settings.temperature = 0.5
        let squares = Self.powers.map { $0 * $0 }
        let total = squares.reduce(0, +)
        #expect(chiSquare(try draws(settings, Self.logits(Self.powers), count: 20000), squares.map { $0 / total }) < 30)
    }

    private static let topOne = [0.0, 1, 0, 0, 0]
    private static let topTwo = [0, 2.0 / 3, 0, 1.0 / 3, 0]
    private static let topThree = [0, 4.0 / 7, 1.0 / 7, 2.0 / 7, 0]

    @Test(arguments: zip([1, 2, 3, 5, 9], [topOne, topTwo, topThree, powers, powers]))
    func topKKeepsTheMostProbable(_ count: Int, _ expected: [Double]) throws {
        var settings = Self.plain
        settings.topK = count
        #expect(chiSquare(try draws(settings, Self.logits(Self.powers), count: 20000), expected) < 30)
    }

    /// The nucleus includes the token that reaches p, and never loses the first.
    @Test(arguments: zip([1e-9, 0.49, 0.6, 0.8, 1], [topOne, topOne, topTwo, topThree, powers]))
    func topPKeepsTheNucleus(_ p: Double, _ expected: [Double]) throws {
        for topK in [0, 5] {
            var settings = Self.plain
            settings.topP = p
            settings.topK = topK
            #expect(chiSquare(try draws(settings, Self.logits(Self.powers), count: 20000), expected) < 30)
        }
    }

    /// Top-p sees the probabilities among the tokens that top-k left: 2/3 and 1/3 here.
    @Test func topPComesAfterTopK() throws {
        var settings = Self.plain
        settings.topK = 2
        settings.topP = 0.6
        #expect(Set(try draws(settings, Self.logits(Self.powers), count: 500)) == [1])
    }

    @Test(arguments: zip([1, 0.3, 0.2, 0], [topOne, topTwo, topThree, powers]))
    func minPKeepsWhatIsNearTheBest(_ p: Double, _ expected: [Double]) throws {
        var settings = Self.plain
        settings.minP = p
        #expect(chiSquare(try draws(settings, Self.logits(Self.powers), count: 20000), expected) < 30)
    }

    @Test func repeatPenaltyDividesAndMultiplies() throws {
        var settings = SamplerSettings.greedy
        settings.repeatPenalty = 2
        settings.repeatLastN = 2
        #expect(try draws(settings, [3, 2, 1], count: 1, history: [0, 9, 0]) == [1])
        #expect(try draws(settings, [3, 2, 1], count: 1, history: [0, 1, 2]) == [0])
        #expect(try draws(settings, [-1, -1.5, -4], count: 1, history: [0, 0]) == [1])
        settings.repeatLastN = 0
        #expect(try draws(settings, [3, 2, 1], count: 1, history: [0]) == [0])
        settings.repeatLastN = -1
        #expect(try draws(settings, [3, 2, 1], count: 1, history: [0, 2, 2, 2, -5]) == [1])
    }

    private static let onlySecond: [Double] = [0, 1, 0]
    private static let firstTwo: [Double] = [2.0 / 3, 1.0 / 3, 0]
    private static let allThree: [Double] = [4.0 / 7, 2.0 / 7, 1.0 / 7]

    /// Of weights 8, 4, 2 the mean of the logarithms is nearest to that of 4; then 8 is nearer than 2.
    @Test(arguments: zip([0.1, 0.4, 0.9, 1], [onlySecond, firstTwo, allThree, allThree]))
    func typicalKeepsWhatIsNearTheEntropy(_ mass: Double, _ expected: [Double]) throws {
        var settings = Self.plain
        settings.typicalP = mass
        #expect(chiSquare(try draws(settings, Self.logits([0.5, 0.25, 0.125]), count: 20000), expected) < 30)
    }

    /// Temperature comes before the filters: at 0.5 the probabilities 1/2, 1/4, ... are as 16 to 4 to 1 and so on.
    @Test func filtersSeeTheTemperature() throws {
        var settings = Self.plain
        settings.temperature = 0.5
        settings.minP = 0.2
        #expect(Set(try draws(settings, Self.logits(Self.powers), count: 500)) == [1, 3])
        settings.minP = 0.3
        #expect(Set(try draws(settings, Self.logits(Self.powers), count: 500)) == [1])
    }

    @Test func presenceAndFrequencyAreSubtracted() throws {
        var settings = SamplerSettings.greedy
        settings.presencePenalty = 1.5
        #expect(try draws(settings, [3, 2, 1], count: 1, history: [0, 0, 0]) == [1])
        #expect(try draws(settings, [3, 1, 1], count: 1, history: [0, 0, 0]) == [0])
        settings = .greedy
        settings.frequencyPenalty = 0.75
        #expect(try draws(settings, [3, 2, 1], count: 1, history: [0]) == [0])
        #expect(try draws(settings, [3, 2, 1], count: 1, history: [0, 0]) == [1])
        settings.repeatLastN = 1
        #expect(try draws(settings, [3, 2, 1], count: 1, history: [0, 0]) == [0])
        settings.frequencyPenalty = -0.75
        #expect(try draws(settings, [2, 2.5, 1], count: 1, history: [0]) == [0])
    }

    @Test func biasIsAddedFirst() throws {
        var settings = SamplerSettings.greedy
        settings.logitBias = [LogitBias(id: 2, bias: 2.5), LogitBias(id: 99, bias: 9)]
        #expect(try draws(settings, [3, 2, 1], count: 1) == [2])
        settings.logitBias = [LogitBias(id: 0, bias: -.infinity)]
        #expect(try draws(settings, [3, 2, 1], count: 1) == [1])
        settings.logitBias = [0, 1, 2].map { LogitBias(id: $0, bias: -.infinity) }
        #expect(throws: LaminaError.self) { try draws(settings, [3, 2, 1], count: 1) }
        #expect(throws: LaminaError.self) { try draws(settings, [3, .nan, 1], count: 1) }
    }

    @Test func greedyTakesTheLowestOfEquals() throws {
        #expect(try draws(.greedy, [1, 3, 3, 2, 3], count: 3) == [1, 1, 1])
        #expect(try draws(.greedy, [-.infinity, -5], count: 1) == [1])
        var topOne = Self.plain
        topOne.topK = 1
        #expect(try draws(topOne, [1, 3, 3], count: 1) == [1])
    }

    @Test(arguments: [[Float.nan, 1], [1, .infinity], [-.infinity, -.infinity], []])
    func refusesUnusableLogits(_ logits: [Float]) {
        for settings in [SamplerSettings.greedy, SamplerSettings(), Self.plain] {
            #expect(throws: LaminaError.self) { try draws(settings, logits, count: 1) }
        }
    }

    @Test func neverDrawsWhatIsRuledOut() throws {
        for settings in [SamplerSettings(), Self.plain, SamplerSettings(topK: 0)] {
            let ids = try draws(settings, [-.infinity, 0, -.infinity, 0, -.infinity], count: 500)
            #expect(Set(ids) == [1, 3])
        }
    }

    @Test func theSameSeedGivesTheSameTokens() throws {
        var random = RandomGenerator(seed: 5)
        let logits = (0..<5000).map { _ in Float(random.nextUniform() * 8) }
        for settings in [SamplerSettings(seed: 3), SamplerSettings(topK: 0, topP: 0.9, seed: 3), Self.plain] {
            #expect(try draws(settings, logits, count: 50) == draws(settings, logits, count: 50))
        }
        #expect(
            try draws(SamplerSettings(temperature: 2, seed: 3), logits, count: 50)
                != draws(SamplerSettings(temperature: 2, seed: 4), logits, count: 50))
    }

    /// A nucleus needs no sorting of everything, whatever its size.
    @Test func findsALargeNucleus() throws {
        let flat = [Float](repeating: 0, count: 2500)
        var settings = Self.plain
        settings.topP = 0.5
        let ids = try draws(settings, flat, count: 300)
        #expect(ids.max() ?? 0 < 1251)
        #expect(ids.max() ?? 0 > 1200)
    }

    /// The published first outputs for a state of 1, 2, 3, 4 cannot be reached from a seed; these were computed with
    /// an independent implementation of SplitMix64 and xoshiro256++.
    @Test func randomNumbersAreThePublishedOnes() {
        var generator = RandomGenerator(seed: 0)
        #expect(
            (0..<3).map { _ in generator.next() } == [
                0x5317_5D61_490B_23DF, 0x61DA_6F3D_C380_D507, 0x5C0F_DF91_EC9A_7BFC,
            ])
        var uniform = RandomGenerator(seed: 1)
        #expect((0..<10000).allSatisfy { _ in (0..<1).contains(uniform.nextUniform()) })
    }

    @Test(arguments: [
        ("--temp", SamplerSettings(temperature: -1)), ("--temp", SamplerSettings(temperature: .nan)),
        ("--top-k", SamplerSettings(topK: -1)), ("--top-p", SamplerSettings(topP: 0)),
        ("--top-p", SamplerSettings(topP: 1.1)), ("--min-p", SamplerSettings(minP: 2)),
        ("--repeat-penalty", SamplerSettings(repeatPenalty: 0)), ("--repeat-last-n", SamplerSettings(repeatLastN: -2)),
        ("--typical-p", SamplerSettings(typicalP: 0)), ("--presence-penalty", SamplerSettings(presencePenalty: .nan)),
        ("--frequency-penalty", SamplerSettings(frequencyPenalty: .infinity)),
    ])
    func refusesSettingsOutOfRange(_ option: String, _ settings: SamplerSettings) throws {
        let error = try #require(throws: LaminaError.self) { try Sampler(settings: settings) }
        #expect(error.kind == .usage)
        #expect(error.subject == option)
    }
}
