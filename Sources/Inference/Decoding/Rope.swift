import CKernels

/// Rotary frequencies and angles, computed as transformers computes them (f32 values), from our own elementary
/// functions: the same bits on every machine.
public struct Rope: Sendable {
    /// Inverse frequencies, rotary dimension / 2 of them.
    public let frequencies: [Float]
    /// What cosine and sine are multiplied with; 1 but for YaRN.
    public let attentionFactor: Float

    /// Frequencies for a prompt of `promptLength` tokens.
    ///
    /// Only dynamic scaling looks at the length, and only when the prompt exceeds the model's positions. The
    /// frequencies then follow the whole prompt and stay as they are while tokens are generated, also across that
    /// boundary: keys that are in the cache were rotated with them.
    public init(_ settings: RopeSettings, promptLength: Int) {
        var base = settings.base
        if case .dynamic(let factor) = settings.scaling, settings.dimension > 2 {
            let positions = Double(settings.maximumPositions)
            let length = max(Double(promptLength), positions)
            let dimension = Double(settings.dimension)
            base *= lamina_pow(factor * length / positions - (factor - 1), dimension / (dimension - 2))
        }
        let powers = (0..<settings.dimension / 2).map { index in
            Float(lamina_pow(base, Double(Float(2 * index) / Float(settings.dimension))))
        }
        switch settings.scaling {
        case .none, .dynamic: frequencies = powers.map { 1 / $0 }
        case .linear(let factor): frequencies = powers.map { 1 / $0 / Float(factor) }
        case .llama3(let factor, let low, let high, let original):
            frequencies = powers.map {
                Rope.llama3(
                    1 / $0, factor: Float(factor), low: Float(low), high: Float(high), original: Float(original))
            }
        case .yarn(let yarn): frequencies = Rope.yarn(powers, yarn, base: base)
        }
        attentionFactor = if case .yarn(let yarn) = settings.scaling { Float(yarn.attentionFactor) } else { 1 }
    }

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
