import CKernels
import Foundation
import Testing

@Suite struct NormTests {
    /// Whole hidden states, single heads, and what fills no vector.
    private static let counts = [1, 2, 15, 16, 17, 31, 33, 64, 80, 100, 128, 256, 577, 4096]
    private static let epsilon: Float = 1e-6

    /// Weights of a model, a zero of each sign among them.
    private static func weights(_ generator: inout SeededGenerator, _ count: Int) -> [Float] {
        var weights = generator.values(count)
        weights[0] = -0.0
        return weights
    }

    @Test(arguments: KernelTable.available, counts)
    func rmsNorm(table: KernelTable, count: Int) {
        var generator = SeededGenerator(seed: UInt64(count))
        let (x, weight) = (generator.values(count), Self.weights(&generator, count))
        let mean = x.reduce(0.0) { $0 + Double($1) * Double($1) } / Double(count)
        for offset: Float in [0, 1] {
            var found = [Float](repeating: 0, count: count)
            var expected = found
            table.kernels.rms_norm(x, weight, offset, Self.epsilon, &found, count)
            KernelTable.reference.rms_norm(x, weight, offset, Self.epsilon, &expected, count)
            #expect(bits(found) == bits(expected))
            for index in 0..<count {
                let factor = Double(weight[index] + offset)
                let exact = Double(x[index]) / (mean + Double(Self.epsilon)).squareRoot() * factor
                #expect(abs(Double(found[index]) - exact) <= 1e-6 * abs(exact) + 1e-40)
            }
            var inPlace = x
            inPlace.withUnsafeMutableBufferPointer {
                table.kernels.rms_norm($0.baseAddress, weight, offset, Self.epsilon, $0.baseAddress, count)
            }
            #expect(bits(inPlace) == bits(expected))
        }
    }

    /// An offset of 0 is the norm without offset: a weight of -0 keeps its sign.
    @Test(arguments: KernelTable.available)
    func anOffsetOfZeroIsNone(table: KernelTable) {
        var found: [Float] = [0, 0]
        table.kernels.rms_norm([1, 1], [-0.0, 2], 0, 0, &found, 2)
        #expect(bits(found) == bits([-0.0, 2]))
    }

    @Test(arguments: KernelTable.available, counts)
    func rmsNormWithoutWeights(table: KernelTable, count: Int) {
        var generator = SeededGenerator(seed: UInt64(count))
        let x = generator.values(count)
        var (found, expected) = ([Float](repeating: 0, count: count), [Float](repeating: 0, count: count))
        table.kernels.rms_norm(x, nil, 1, Self.epsilon, &found, count)
        table.kernels.rms_norm(x, [Float](repeating: 1, count: count), 0, Self.epsilon, &expected, count)
        #expect(bits(found) == bits(expected))
    }

    @Test(arguments: KernelTable.available, counts)
    func layerNorm(table: KernelTable, count: Int) {
        var generator = SeededGenerator(seed: UInt64(count))
        // A mean far from zero, which a variance from squares alone would drown in.
        let x = generator.values(count).map { $0 + 40 }
        let (weight, bias) = (Self.weights(&generator, count), generator.values(count))
        let mean = x.reduce(0.0) { $0 + Double($1) } / Double(count)
        let variance = x.reduce(0.0) { $0 + (Double($1) - mean) * (Double($1) - mean) } / Double(count)
        for (weight, bias) in [(weight, bias), (weight, nil), (nil, bias), (nil, nil)] as [([Float]?, [Float]?)] {
            var found = x
            var expected = [Float](repeating: 0, count: count)
            KernelTable.reference.layer_norm(x, weight, bias, Self.epsilon, &expected, count)
            found.withUnsafeMutableBufferPointer {
                table.kernels.layer_norm($0.baseAddress, weight, bias, Self.epsilon, $0.baseAddress, count)
            }
            #expect(bits(found) == bits(expected))
            for index in 0..<count {
                let scale = 1 / (variance + Double(Self.epsilon)).squareRoot()
                let centred = (Double(x[index]) - mean) * scale
                let exact = centred * Double(weight?[index] ?? 1) + Double(bias?[index] ?? 0)
                // The mean is off by an ulp or two of 40, which the scale multiplies.
                #expect(abs(Double(found[index]) - exact) <= 1e-5 * scale + 1e-6 * abs(exact))
            }
        }
    }

    @Test(arguments: KernelTable.available, [1, 16, 37])
    func layerNormOfEqualValuesIsTheBias(table: KernelTable, count: Int) {
        let x = [Float](repeating: 3, count: count)
        let bias = (0..<count).map { Float($0) }
        var found = x
        table.kernels.layer_norm(x, x, bias, 1e-5, &found, count)
        #expect(found == bias)
    }
}
