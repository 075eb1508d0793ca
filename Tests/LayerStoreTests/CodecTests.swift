import CKernels
import LayerStore
import TensorCore
import TestSupport
import Testing

/// The conformance suite every registered codec passes.
@Suite struct CodecTests {
    private nonisolated(unsafe) static let kernels = lamina_kernels_for(LAMINA_ISA_PORTABLE)!

    private func bytes(_ kind: Int, _ count: Int, _ dtype: DType, _ generator: inout SeededGenerator) -> [UInt8] {
        switch kind {
        case 0: return [UInt8](repeating: 0, count: count * dtype.size)
        case 1: return (0..<(count * dtype.size)).map { _ in UInt8.random(in: 0...255, using: &generator) }
        default: return SyntheticCheckpoint.weights(count, dtype: dtype, using: &generator)
        }
    }

    @Test(arguments: 0..<3, [1, 2, 63, 64, 65, 4097, 200_000])
    func planesGiveBackEveryBit(_ kind: Int, _ count: Int) throws {
        var generator = SeededGenerator(seed: UInt64(kind * 1000 + count))
        let encoder = try LiteralZstdEncoder()
        let decoder = try ZstdDecoder()
        for codec in Codecs.all {
            // Those of one plane code chunks as a whole: TierChunkTests.
            guard let dtype = codec.dtype, codec.planes(elementSize: dtype.size).count > 1 else { continue }
            let elements = bytes(kind, count, dtype, &generator)
            let specifications = codec.planes(elementSize: dtype.size)
            let sizes = specifications.map { specification in
                if case .elements(let bytes) = specification.content { bytes } else { 0 }
            }
            #expect(sizes.reduce(0, +) == dtype.size)
            #expect(specifications.count <= Codecs.maximumPlanes)
            var planes = sizes.map { [UInt8](repeating: 0, count: count * $0) }
            let pointers = planes.indices.map { index in
                planes[index].withUnsafeMutableBytes { UnsafeMutableRawPointer(mutating: $0.baseAddress!) }
            }
            elements.withUnsafeBytes {
                codec.split($0.baseAddress!, into: pointers, count: count, kernels: Self.kernels)
            }
            for plane in planes {
                var frame = [UInt8](repeating: 0, count: LiteralZstdEncoder.bound(plane.count))
                let size = try plane.withBytes { (input) throws(LaminaError) in
                    try frame.withMutableBytes { (output) throws(LaminaError) in try encoder.encode(input, into: output)
                    }
                }
                var back = [UInt8](repeating: 0xAA, count: plane.count)
                let problem = back.withUnsafeMutableBytes { output in
                    frame[0..<size].withUnsafeBytes { decoder.decode($0, into: output) }
                }
                #expect(problem == nil)
                #expect(back == plane)
            }
            var merged = [UInt8](repeating: 0, count: elements.count)
            let constants = pointers.map { UnsafeRawPointer($0) }
            constants.withUnsafeBufferPointer { list in
                merged.withUnsafeMutableBytes {
                    codec.merge(list.baseAddress!, into: $0.baseAddress!, count: count, kernels: Self.kernels)
                }
            }
            #expect(merged == elements, "\(codec.name), \(count) elements, kind \(kind)")
        }
    }

    /// Literal-only frames must come close to the plane's entropy, or this libzstd ignores a parameter.
    @Test func exponentsCompressToTheirEntropy() throws {
        var generator = SeededGenerator(seed: 3)
        let count = 1 << 19
        let weights = SyntheticCheckpoint.weights(count, dtype: .bfloat16, using: &generator)
        var planes = [[UInt8](repeating: 0, count: count), [UInt8](repeating: 0, count: count)]
        let pointers = planes.indices.map { index in
            planes[index].withUnsafeMutableBytes { UnsafeMutableRawPointer(mutating: $0.baseAddress!) }
        }
        weights.withUnsafeBytes {
            ExponentHuffman().split($0.baseAddress!, into: pointers, count: count, kernels: Self.kernels)
        }
        var histogram = [Double](repeating: 0, count: 256)
        for byte in planes[0] { histogram[Int(byte)] += 1 }
        let entropy = histogram.filter { $0 > 0 }.reduce(0.0) { sum, frequency in
            sum - frequency * lamina_log(frequency / Double(count)) / lamina_log(2)
        }
        var frame = [UInt8](repeating: 0, count: LiteralZstdEncoder.bound(count))
        let encoder = try LiteralZstdEncoder()
        let size = try planes[0].withBytes { (input) throws(LaminaError) in
            try frame.withMutableBytes { (output) throws(LaminaError) in try encoder.encode(input, into: output) }
        }
        #expect(Double(size) < entropy / 8 * 1.02)
    }

    @Test func badFramesAreRefused() throws {
        let decoder = try ZstdDecoder()
        let encoder = try LiteralZstdEncoder()
        let plane = (0..<5000).map { UInt8($0 % 7) }
        var room = [UInt8](repeating: 0, count: LiteralZstdEncoder.bound(plane.count))
        let size = try plane.withBytes { (input) throws(LaminaError) in
            try room.withMutableBytes { (output) throws(LaminaError) in try encoder.encode(input, into: output) }
        }
        let frame = Array(room[0..<size])
        func problem(_ bytes: [UInt8], size: Int) -> String? {
            var output = [UInt8](repeating: 0, count: size)
            return output.withUnsafeMutableBytes { output in bytes.withUnsafeBytes { decoder.decode($0, into: output) }
            }
        }
        #expect(problem(frame, size: 5000) == nil)
        #expect(problem(frame, size: 4999) != nil)
        #expect(problem(frame, size: 5001) != nil)
        #expect(problem(frame + [0], size: 5000) != nil)
        #expect(problem([], size: 5000) != nil)
        for length in 0..<frame.count { #expect(problem(Array(frame[0..<length]), size: 5000) != nil) }
        var generator = SeededGenerator(seed: 9)
        for _ in 0..<2000 {
            var damaged = frame
            damaged[Int.random(in: 0..<damaged.count, using: &generator)] ^= UInt8.random(
                in: 1...255, using: &generator)
            // Without a checksum of its own the frame may decode; it must not overrun or trap.
            _ = problem(damaged, size: 5000)
        }
    }
}
