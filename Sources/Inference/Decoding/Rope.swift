import CKernels

/// Rotary frequencies and angles, computed as transformers computes them (f32 values), from our own elementary
/// functions: the same bits on every machine.
public struct Rope: Sendable {
    /// Inverse frequencies, rotary dimension / 2 of them.
    public let frequencies: [Float]
    /// What cosine and sine are multiplied with; 1 but for YaRN and LongRoPE.
    public let attentionFactor: Float

    /// Frequencies for a prompt of `promptLength` tokens.
    ///
    /// Some kinds of scaling look at the length. The frequencies then follow the whole prompt and stay as they are while
    /// tokens are generated, also across the length at which another prompt would get others: keys that are in the cache
    /// were rotated with them.
    public init(_ settings: RopeSettings, promptLength: Int) {
        let base = Rope.base(settings, promptLength: promptLength)
        let powers = (0..<settings.dimension / 2).map { index in
            Float(lamina_pow(base, Double(Float(2 * index) / Float(settings.dimension))))
        }
        attentionFactor =
            switch settings.scaling {
            case .yarn(let yarn): Float(yarn.attentionFactor)
            case .longrope(let long): Float(long.attentionFactor)
            default: 1
            }
        switch settings.scaling {
        case .none, .dynamic, .byOctave: frequencies = powers.map { 1 / $0 }
        case .linear(let factor): frequencies = powers.map { 1 / $0 / Float(factor) }
        case .llama3(let factor, let low, let high, let original):
            frequencies = powers.map {
                Rope.llama3(
                    1 / $0, factor: Float(factor), low: Float(low), high: Float(high), original: Float(original))
            }
        case .yarn(let yarn): frequencies = Rope.yarn(powers, yarn, base: base)
        case .longrope(let long):
            let factors = promptLength > long.originalPositions ? long.longFactors : long.shortFactors
            frequencies = zip(powers, factors).map { 1 / (Float($1) * $0) }
        }
    }

    /// The base, which two kinds of scaling let grow with the prompt.
    private static func base(_ settings: RopeSettings, promptLength: Int) -> Double {
        let dimension = Double(settings.dimension)
        let growth: Double
        switch settings.scaling {
        case .dynamic(let factor):
            let positions = Double(settings.maximumPositions)
            growth = factor * max(Double(promptLength), positions) / positions - (factor - 1)
        case .byOctave(let trained):
            // 2 ^ ceil(log2(length / trained) + 1) - 1, without a logarithm that might fall on the wrong side.
            var octave = 2.0
            while Double(promptLength) > trained * octave / 2 { octave *= 2 }
            growth = octave - 1
        default: return settings.base
        }
        guard settings.dimension > 2 else { return settings.base }
        return settings.base * lamina_pow(growth, dimension / (dimension - 2))
    }

    /// Our own power.
    static func power(_ base: Double, _ exponent: Double) -> Double { lamina_pow(base, exponent) }

    /// Wavelengths beyond the original context are stretched by the factor, short ones kept, those between blended.
    private static func llama3(_ frequency: Float, factor: Float, low: Float, high: Float, original: Float) -> Float {
        let wavelength = 2 * Float.pi / frequency
        if wavelength > original / low { return frequency / factor }
        if wavelength < original / high { return frequency }
        let smooth = (original / wavelength - low) / (high - low)
        return (1 - smooth) * frequency / factor + smooth * frequency
    }

    private static func yarn(_ powers: [Float], _ yarn: YarnSettings, base: Double) -> [Float] {
        let dimension = Double(2 * powers.count)
        func correction(_ rotations: Double) -> Double {
            dimension * logarithm(yarn.originalPositions / (rotations * 2 * Double.pi)) / (2 * logarithm(base))
        }
        var low = correction(yarn.betaFast)
        var high = correction(yarn.betaSlow)
        if yarn.truncates {
            low.round(.down)
            high.round(.up)
        }
        low = max(low, 0)
        high = min(high, dimension - 1)
        // As in transformers, against a division by zero.
        if low == high { high += 0.001 }
        return powers.enumerated().map { index, power in
            let ramp = min(max((Float(index) - Float(low)) / Float(high - low), 0), 1)
            let kept = 1 - ramp
            return 1 / (Float(yarn.factor) * power) * (1 - kept) + 1 / power * kept
        }
    }

    /// Our own natural logarithm.
    static func logarithm(_ value: Double) -> Double { lamina_log(value) }

    /// Cosines and sines of `position`, `frequencies.count` each. The angle is an f32 product, as in transformers.
    func fill(position: Int, cosine: UnsafeMutablePointer<Float>, sine: UnsafeMutablePointer<Float>) {
        for (index, frequency) in frequencies.enumerated() {
            let angle = Double(Float(position) * frequency)
            cosine[index] = Float(lamina_cos(angle)) * attentionFactor
            sine[index] = Float(lamina_sin(angle)) * attentionFactor
        }
    }
}
