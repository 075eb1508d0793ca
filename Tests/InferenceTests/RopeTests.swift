import Testing

@testable import Inference

/// Expected numbers: transformers' formulas (modeling_rope_utils) written out in numpy with float32 arrays.
@Suite struct RopeTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var name: String
        var settings: RopeSettings
        var promptLength = 1
        var expected: [Float]
        var attentionFactor: Float = 1

        var testDescription: String { name }
    }

    private static func settings(
        _ base: Double, _ dimension: Int, _ scaling: RopeSettings.Scaling, positions: Int = 2048
    ) -> RopeSettings {
        RopeSettings(base: base, dimension: dimension, scaling: scaling, maximumPositions: positions)
    }

    private static func yarn(truncates: Bool) -> RopeSettings.Scaling {
        .yarn(
            YarnSettings(
                factor: 4, betaFast: 32, betaSlow: 1, originalPositions: 64, truncates: truncates,
                attentionFactor: 1.138629436111989))
    }

    private static let plain: [Float] = [
        1, 0.3162277638, 0.1000000014, 0.0316227786, 0.0099999997, 0.0031622778, 0.0010000000, 0.0003162277,
    ]

    static let cases: [Case] = [
        Case(name: "default", settings: settings(10_000, 16, .none), expected: plain),
        Case(
            name: "theta", settings: settings(500_000, 8, .none),
            expected: [1, 0.0376060307, 0.0014142134, 5.318296462e-05]),
        Case(
            name: "linear", settings: settings(10_000, 16, .linear(factor: 4)),
            expected: [
                0.25, 0.0790569409, 0.0250000003, 0.0079056946, 0.0024999999, 0.0007905694, 0.00025, 7.905694656e-05,
            ]),
        Case(
            name: "dynamic beyond", settings: settings(10_000, 16, .dynamic(factor: 2), positions: 24),
            promptLength: 33,
            expected: [
                1, 0.2919310331, 0.0852237418, 0.0248794555, 0.0072630848, 0.0021203199, 0.0006189871, 0.0001807015,
            ]),
        Case(
            name: "dynamic within", settings: settings(10_000, 16, .dynamic(factor: 2), positions: 24),
            promptLength: 24,
            expected: plain),
        Case(
            name: "llama3",
            settings: settings(
                500_000, 32, .llama3(factor: 8, lowFrequency: 1, highFrequency: 4, originalPositions: 256)),
            expected: [
                1, 0.4403666257, 0.1939227581, 0.0724300369, 0.0105382315, 0.0020700551, 0.0009115831, 0.0004014307,
                0.0001767766, 7.784655463e-05, 3.428102355e-05, 1.509621779e-05, 6.647870578e-06, 2.927499736e-06,
                1.289173156e-06, 5.677088097e-07,
            ]),
        Case(
            name: "yarn", settings: settings(10_000, 16, yarn(truncates: true)),
            expected: [
                1, 0.2371708154, 0.0499999970, 0.0079056946, 0.0024999999, 0.0007905694, 0.00025, 7.905694656e-05,
            ], attentionFactor: 1.1386294),
        Case(
            name: "yarn without rounding", settings: settings(10_000, 16, yarn(truncates: false)),
            expected: [
                1, 0.1985835283, 0.0255952496, 0.0079056946, 0.0024999999, 0.0007905694, 0.00025, 7.905694656e-05,
            ], attentionFactor: 1.1386294),
    ]

    @Test(arguments: cases) func frequencies(_ example: Case) {
        let rope = Rope(example.settings, promptLength: example.promptLength)
        #expect(rope.frequencies.count == example.expected.count)
        for (found, expected) in zip(rope.frequencies, example.expected) {
            #expect(abs(found - expected) <= 1e-6 * expected, "\(found), expected \(expected)")
        }
        #expect(rope.attentionFactor == example.attentionFactor)
    }

    @Test func cosineAndSineOfAFarPosition() {
        let rope = Rope(Self.settings(10_000, 16, .none), promptLength: 1)
        var cosine = [Float](repeating: 0, count: 8)
        var sine = cosine
        rope.fill(position: 1000, cosine: &cosine, sine: &sine)
        let expectedCosine: [Float] = [
            0.5623790621, -0.477397918, 0.8623188734, 0.9786823987, -0.839071512, -0.999786078, 0.5403022766,
            0.9504152536,
        ]
        let expectedSine: [Float] = [
            0.8268795609, 0.8786872029, -0.506365656, 0.2053794413, -0.544021129, -0.020683808, 0.8414709568,
            0.310983628,
        ]
        // One unit in the last place of a frequency moves the angle by 3e-5 at this position.
        for index in 0..<8 {
            #expect(abs(cosine[index] - expectedCosine[index]) < 5e-5)
            #expect(abs(sine[index] - expectedSine[index]) < 5e-5)
        }
    }
}
