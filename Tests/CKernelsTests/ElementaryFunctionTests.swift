import CKernels
import Foundation
import Testing

@Suite struct ElementaryFunctionTests {
    /// How far `found` is from `exact`, in units of the last place of a result there.
    private static func ulps(_ found: Double, _ exact: Double) -> Double {
        if found == exact || (found.isNaN && exact.isNaN) { return 0 }
        return abs(found - exact) / exact.ulp
    }

    @Test func expOfFloatIsWithinTwoUlp() {
        var worst = 0.0
        for step in 0...2_000_000 {
            let x = Float(-104 + Double(step) * (193.0 / 2_000_000))
            let found = lamina_expf(x)
            let exact = exp(Double(x))
            if exact > Double(Float.greatestFiniteMagnitude) {
                #expect(found == .infinity || exact < 3.5e38)
                continue
            }
            let ulp = max(Double(Float(exact).ulp), Double(Float.leastNonzeroMagnitude))
            worst = max(worst, abs(Double(found) - exact) / ulp)
        }
        #expect(worst < 1.5)
    }

    @Test func expOfFloatAtTheEdges() {
        #expect(lamina_expf(0) == 1)
        #expect(lamina_expf(-0.0) == 1)
        #expect(lamina_expf(.infinity) == .infinity)
        #expect(lamina_expf(-.infinity).bitPattern == 0)
        #expect(lamina_expf(-1000).bitPattern == 0)
        #expect(lamina_expf(1000) == .infinity)
        #expect(lamina_expf(88.72) < .infinity)
        #expect(lamina_expf(88.73) == .infinity)
        #expect(lamina_expf(-103) == .leastNonzeroMagnitude)
        #expect(lamina_expf(.nan).isNaN)
        #expect(lamina_expf(.leastNonzeroMagnitude) == 1)
    }

    /// The largest error over every `step`th float of `range` and its mirror, in ulp of the result.
    private static func worst(
        _ function: (Float) -> Float, _ exact: (Double) -> Double, _ range: ClosedRange<Float>, step: UInt32
    ) -> Double {
        var worst = 0.0
        for pattern in stride(from: range.lowerBound.bitPattern, through: range.upperBound.bitPattern, by: Int(step)) {
            for x in [Float(bitPattern: pattern), -Float(bitPattern: pattern)] {
                let expected = exact(Double(x))
                let ulp = max(Double(Float(expected).ulp), Double(Float.leastNonzeroMagnitude))
                worst = max(worst, abs(Double(function(x)) - expected) / ulp)
            }
        }
        return worst
    }

    @Test func tanhAndErfAreWithinOneAndAHalfUlp() {
        for (range, step): (ClosedRange<Float>, UInt32) in [
            (0...0x1p-12, 9_973), (0x1p-12...0x1p-3, 331), (0x1p-3...12, 97),
        ] {
            #expect(Self.worst(lamina_tanhf, tanh, range, step: step) < 1.5)
            #expect(Self.worst(lamina_erff, erf, range, step: step) < 1.5)
        }
    }

    @Test func tanhAndErfAtTheEdges() {
        for function in [lamina_tanhf, lamina_erff] {
            #expect(function(0).bitPattern == 0 && function(-0.0).bitPattern == 0x8000_0000)
            #expect(function(.infinity) == 1 && function(-.infinity) == -1 && function(.nan).isNaN)
            #expect(function(.greatestFiniteMagnitude) == 1 && function(-30) == -1 && function(89) == 1)
            #expect(function(.leastNonzeroMagnitude) == .leastNonzeroMagnitude)
        }
        #expect(lamina_erff(3.5) < 1 && lamina_tanhf(8.5) < 1)
    }

    @Test func sigmoidIsWithinTwoAndAHalfUlp() {
        let exact: (Double) -> Double = { 1 / (1 + exp(-$0)) }
        #expect(Self.worst(lamina_sigmoidf, exact, 0...87, step: 997) < 2.5)
        #expect(lamina_sigmoidf(0) == 0.5 && lamina_sigmoidf(40) == 1 && lamina_sigmoidf(-89).bitPattern == 0)
        #expect(lamina_sigmoidf(.infinity) == 1 && lamina_sigmoidf(-.infinity) == 0 && lamina_sigmoidf(.nan).isNaN)
    }

    @Test(arguments: [1.0, 100, 1e5, 2_147_483_647])
    func sineAndCosineAreWithinTwoUlp(range: Double) {
        var generator = SeededGenerator(seed: 31)
        var worst = 0.0
        for _ in 0..<200_000 {
            let x = Double.random(in: -range...range, using: &generator)
            worst = max(worst, Self.ulps(lamina_sin(x), sin(x)), Self.ulps(lamina_cos(x), cos(x)))
        }
        #expect(worst < 2)
    }

    /// Where the result is tiny because the argument is as close to a multiple of pi/2 as a double can be.
    @Test func sineAndCosineNearTheirZeros() {
        var worst = 0.0
        for n in stride(from: 1.0, through: 1.3e9, by: 104_729) {
            let x = n * (Double.pi / 2)
            for near in [x.nextDown, x, x.nextUp] {
                worst = max(worst, Self.ulps(lamina_sin(near), sin(near)), Self.ulps(lamina_cos(near), cos(near)))
            }
        }
        // Rounded multiples of pi: what is left of them is the rounding error alone.
        for n in 1...100_000 {
            let x = Double(n) * Double.pi
            worst = max(worst, Self.ulps(lamina_sin(x), sin(x)), Self.ulps(lamina_cos(x), cos(x)))
        }
        #expect(worst < 2)
    }

    @Test func sineAndCosineAtTheEdges() {
        #expect(lamina_sin(0) == 0 && lamina_cos(0) == 1)
        #expect(lamina_sin(-0.0).sign == .minus)
        #expect(lamina_sin(0x1p-1074) == 0x1p-1074)
        #expect(lamina_sin(.infinity).isNaN && lamina_cos(.nan).isNaN && lamina_sin(0x1p31).isNaN)
        #expect(lamina_cos(2) == lamina_cos(-2) && lamina_sin(2) == -lamina_sin(-2))
    }

    @Test func expAndLogAreWithinTwoUlp() {
        var generator = SeededGenerator(seed: 32)
        var (worstExp, worstLog) = (0.0, 0.0)
        for _ in 0..<300_000 {
            let x = Double.random(in: -745...709, using: &generator)
            worstExp = max(worstExp, Self.ulps(lamina_exp(x), exp(x)), Self.ulps(lamina_exp(x / 700), exp(x / 700)))
            let y = exp(x * 0.9)
            let near = 1 + x / 1e5
            worstLog = max(worstLog, Self.ulps(lamina_log(y), log(y)), Self.ulps(lamina_log(near), log(near)))
        }
        #expect(worstExp < 1.5)
        #expect(worstLog < 1.5)
    }

    @Test func expAndLogAtTheEdges() {
        #expect(lamina_exp(0) == 1 && lamina_log(1) == 0)
        #expect(lamina_exp(.infinity) == .infinity && lamina_exp(-.infinity) == 0)
        #expect(lamina_exp(1000) == .infinity && lamina_exp(-1000) == 0 && lamina_exp(.nan).isNaN)
        #expect(lamina_exp(-745) == exp(-745))
        #expect(lamina_log(0) == -.infinity && lamina_log(.infinity) == .infinity)
        #expect(lamina_log(-1).isNaN && lamina_log(.nan).isNaN)
        #expect(lamina_log(.leastNonzeroMagnitude) == log(.leastNonzeroMagnitude))
    }

    /// Rope's inverse frequencies theta^(-2 i / d), and powers in general.
    @Test func powIsWithinTwoUlp() {
        var worst = 0.0
        for theta in [10_000.0, 500_000, 1_000_000, 8_000_000, 1e7] {
            for dimension in [32, 64, 80, 96, 128, 192, 256] {
                for index in 0..<dimension / 2 {
                    let exponent = -Double(2 * index) / Double(dimension)
                    worst = max(worst, Self.ulps(lamina_pow(theta, exponent), pow(theta, exponent)))
                }
            }
        }
        var generator = SeededGenerator(seed: 33)
        for _ in 0..<200_000 {
            let base = exp(Double.random(in: -20...20, using: &generator))
            let exponent = Double.random(in: -30...30, using: &generator)
            worst = max(worst, Self.ulps(lamina_pow(base, exponent), pow(base, exponent)))
        }
        #expect(worst < 1.5)
    }

    @Test func powAtTheEdges() {
        #expect(lamina_pow(7, 0) == 1 && lamina_pow(1, .infinity) == 1 && lamina_pow(.nan, 0) == 1)
        #expect(lamina_pow(0, 2) == 0 && lamina_pow(0, -1) == .infinity)
        #expect(lamina_pow(2, 10) == 1024 && lamina_pow(10, -2) == 0.01 && lamina_pow(4, 0.5) == 2)
        #expect(lamina_pow(2, 5000) == .infinity && lamina_pow(2, -5000) == 0)
        #expect(lamina_pow(.infinity, -1) == 0 && lamina_pow(-2, 2).isNaN && lamina_pow(2, .nan).isNaN)
    }
}
