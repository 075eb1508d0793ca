import CKernels
import Foundation
import Testing

/// An activation and its definition in double precision.
struct Activation: Sendable, CustomTestStringConvertible {
    let kind: lamina_activation
    let testDescription: String
    let exact: @Sendable (Double) -> Double

    static let all = [
        Activation(kind: LAMINA_ACTIVATION_SILU, testDescription: "silu") { $0 / (1 + exp(-$0)) },
        Activation(kind: LAMINA_ACTIVATION_GELU_ERF, testDescription: "gelu, erf") {
            0.5 * $0 * (1 + erf($0 / 2.0.squareRoot()))
        },
        Activation(kind: LAMINA_ACTIVATION_GELU_TANH, testDescription: "gelu, tanh") {
            0.5 * $0 * (1 + tanh((2 / Double.pi).squareRoot() * ($0 + 0.044715 * $0 * $0 * $0)))
        },
        Activation(kind: LAMINA_ACTIVATION_GELU_FAST, testDescription: "gelu, fast") {
            0.5 * $0 * (1 + tanh($0 * 0.7978845608 * (1 + 0.044715 * $0 * $0)))
        },
        Activation(kind: LAMINA_ACTIVATION_RELU, testDescription: "relu") { max($0, 0) },
    ]
}

@Suite struct ActivationTests {
    private static let counts = [1, 2, 15, 16, 17, 31, 33, 64, 100, 577]

    @Test(arguments: KernelTable.available, Activation.all)
    func activationsEqualTheReferenceAndTheDefinition(table: KernelTable, activation: Activation) {
        for count in Self.counts {
            for magnitude: Float in [1, 10, 100] {
                var generator = SeededGenerator(seed: UInt64(count))
                let x = generator.values(count).map { $0 * magnitude }
                var found = x + [-7.5]
                var expected = x
                table.kernels.activate(activation.kind, &found, count)
                KernelTable.reference.activate(activation.kind, &expected, count)
                #expect(bits(found) == bits(expected + [-7.5]))
                for (value, x) in zip(found, x) {
                    let exact = activation.exact(Double(x))
                    // 1 + erf and 1 + tanh cancel for x < 0: an absolute error of an ulp of 1, times x. Below -88.7
                    // exp(-x) is infinite.
                    let bound = 5e-7 * abs(exact) + 1.2e-7 * abs(Double(min(x, 0))) + 1e-40
                    #expect(
                        abs(Double(value) - exact) <= (activation.kind == LAMINA_ACTIVATION_SILU ? 3e-37 : 0) + bound)
                }
            }
        }
    }

    @Test(arguments: KernelTable.available, Activation.all)
    func theProductIsTheActivationTimesTheOther(table: KernelTable, activation: Activation) {
        for count in Self.counts {
            var generator = SeededGenerator(seed: UInt64(count))
            let gate = generator.values(count).map { $0 * 20 }
            let up = generator.values(count)
            var expected = gate
            KernelTable.reference.activate(activation.kind, &expected, count)
            expected = zip(expected, up).map { $0 * $1 }
            var apart = [Float](repeating: 0, count: count)
            table.kernels.activate_multiply(activation.kind, gate, up, &apart, count)
            #expect(bits(apart) == bits(expected))
            var (onGate, onUp) = (gate, up)
            onGate.withUnsafeMutableBufferPointer {
                table.kernels.activate_multiply(activation.kind, $0.baseAddress, up, $0.baseAddress, count)
            }
            onUp.withUnsafeMutableBufferPointer {
                table.kernels.activate_multiply(activation.kind, gate, $0.baseAddress, $0.baseAddress, count)
            }
            #expect(bits(onGate) == bits(expected) && bits(onUp) == bits(expected))
        }
    }

    @Test(arguments: KernelTable.available, Activation.all)
    func theEnds(table: KernelTable, activation: Activation) {
        var x: [Float] = [0, -0.0, .infinity, 1e30, -1e30, .nan, 30, -300]
        table.kernels.activate(activation.kind, &x, x.count)
        #expect(x[0] == 0 && x[1] == 0 && x[2] == .infinity && x[3] == 1e30 && x[4] == 0)
        #expect(x[5].isNaN && x[6] == 30 && x[7] == 0)
    }
}
