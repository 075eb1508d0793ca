import CKernels
import Foundation
import Testing

@Suite struct ElementwiseTests {
    private static let counts = [1, 2, 15, 16, 17, 31, 32, 33, 64, 100, 577, 4096]

    @Test(arguments: KernelTable.available, counts)
    func rmsNorm(table: KernelTable, count: Int) {
        var generator = SeededGenerator(seed: UInt64(count))
        let (x, weight) = (generator.values(count), generator.values(count))
        var found = [Float](repeating: 0, count: count)
        var expected = found
        table.kernels.rms_norm(x, weight, 1e-6, &found, count)
        KernelTable.reference.rms_norm(x, weight, 1e-6, &expected, count)
        #expect(bits(found) == bits(expected))

        let mean = x.reduce(0.0) { $0 + Double($1) * Double($1) } / Double(count)
        for index in 0..<count {
            let exact = Double(x[index]) / (mean + 1e-6).squareRoot() * Double(weight[index])
            #expect(abs(Double(found[index]) - exact) <= 1e-6 * abs(exact) + 1e-40)
        }

        var inPlace = x
        inPlace.withUnsafeMutableBufferPointer {
            table.kernels.rms_norm($0.baseAddress, weight, 1e-6, $0.baseAddress, count)
        }
        #expect(bits(inPlace) == bits(expected))
    }

    @Test(arguments: KernelTable.available, counts)
    func add(table: KernelTable, count: Int) {
        var generator = SeededGenerator(seed: UInt64(count))
        let (x, y) = (generator.values(count), generator.values(count))
        var found = y
        table.kernels.add(x, &found, count)
        #expect(bits(found) == bits(zip(x, y).map { $1 + $0 }))
    }

    @Test(arguments: KernelTable.available, counts)
    func siluMultiply(table: KernelTable, count: Int) {
        var generator = SeededGenerator(seed: UInt64(count))
        let gate = generator.values(count).map { $0 * 100 }
        let up = generator.values(count)
        var found = gate
        var expected = gate
        table.kernels.silu_multiply(&found, up, count)
        KernelTable.reference.silu_multiply(&expected, up, count)
        #expect(bits(found) == bits(expected))
        for index in 0..<count {
            let exact = Double(gate[index]) / (1 + exp(-Double(gate[index]))) * Double(up[index])
            // Below -88.7 exp(-gate) is infinite and the product zero; exact would be up to 3e-37.
            #expect(abs(Double(found[index]) - exact) <= 1e-6 * abs(exact) + 3e-37)
        }
    }

    @Test(arguments: KernelTable.available, [2, 6, 32, 64, 80, 128, 130])
    func ropeHalf(table: KernelTable, rotary: Int) {
        var generator = SeededGenerator(seed: UInt64(rotary))
        let angles = generator.values(rotary / 2).map { Double($0) * 3 }
        let cosine = angles.map { Float(cos($0)) }
        let sine = angles.map { Float(sin($0)) }
        let head = generator.values(rotary + 8)
        var found = head
        var expected = head
        table.kernels.rope_half(&found, cosine, sine, rotary)
        KernelTable.reference.rope_half(&expected, cosine, sine, rotary)
        #expect(bits(found) == bits(expected))
        #expect(bits(found[rotary...]) == bits(head[rotary...]))
        for index in 0..<rotary / 2 {
            let before = hypot(Double(head[index]), Double(head[index + rotary / 2]))
            let after = hypot(Double(found[index]), Double(found[index + rotary / 2]))
            #expect(abs(before - after) <= 1e-6)
        }
    }
}

@Suite struct AttentionTests {
    /// A cache for one head; positions outside first..<count hold NaN, as memory never written may.
    private struct Cache {
        let headDim: Int
        var queries: Int
        let first: Int
        let count: Int
        var query: [Float]
        var keys: [Float]
        var values: [Float]
        let scale: Float = 0.125

        init(headDim: Int, first: Int, count: Int, queries: Int = 1) {
            var generator = SeededGenerator(seed: UInt64(headDim * 1000 + count))
            let blocks = (count + 15) / 16
            (self.headDim, self.first, self.count, self.queries) = (headDim, first, count, queries)
            query = generator.values(queries * headDim).map { $0 * 4 }
            keys = [Float](repeating: .nan, count: blocks * headDim * 16)
            values = [Float](repeating: .nan, count: blocks * 16 * headDim)
            for position in first..<count {
                for dimension in 0..<headDim {
                    keys[keyIndex(position, dimension)] = generator.value() * 4
                    values[position * headDim + dimension] = generator.value()
                }
            }
        }

        func keyIndex(_ position: Int, _ dimension: Int) -> Int {
            (position / 16 * headDim + dimension) * 16 + position % 16
        }

        func attend(_ kernels: lamina_kernels) -> [Float] {
            // Rows further apart than they need be.
            let stride = (count + 15) / 16 * 16 + 16
            var scores = [Float](repeating: .nan, count: queries * stride)
            var output = [Float](repeating: .nan, count: queries * headDim + 1)
            output[queries * headDim] = -7.5
            scores.withUnsafeMutableBufferPointer { scores in
                output.withUnsafeMutableBufferPointer { output in
                    query.withUnsafeBufferPointer { query in
                        keys.withUnsafeBufferPointer { keys in
                            values.withUnsafeBufferPointer { values in
                                var task = lamina_attention_task(
                                    query: query.baseAddress, queries: queries, keys: keys.baseAddress,
                                    values: values.baseAddress, head_dim: headDim, first: first, count: count,
                                    scale: scale, scores: scores.baseAddress, score_stride: stride,
                                    output: output.baseAddress)
                                kernels.attend(&task)
                            }
                        }
                    }
                }
            }
            return output
        }

        /// softmax(q k scale) v in double precision.
        func exact() -> [Double] {
            let scores = (first..<count).map { position in
                (0..<headDim).reduce(0.0) { $0 + Double(query[$1]) * Double(keys[keyIndex(position, $1)]) }
                    * Double(scale)
            }
            let weights = scores.map { exp($0 - scores.max()!) }
            let sum = weights.reduce(0, +)
            return (0..<headDim).map { dimension in
                zip(first..<count, weights).reduce(0.0) { $0 + $1.1 * Double(values[$1.0 * headDim + dimension]) } / sum
            }
        }
    }

    @Test(arguments: KernelTable.available, [64, 80, 128, 6])
    func attendEqualsTheReferenceAndTheDefinition(table: KernelTable, headDim: Int) {
        for count in Array(1...70) + [127, 128, 129, 500] {
            for first in [0, count / 3, count - 1] {
                let cache = Cache(headDim: headDim, first: first, count: count)
                let found = cache.attend(table.kernels)
                #expect(bits(found) == bits(cache.attend(KernelTable.reference)), "\(first)..<\(count)")
                #expect(found[headDim] == -7.5)
                for (value, exact) in zip(found, cache.exact()) {
                    // Scores reach about 10 from sums of magnitudes about 60, in f32: their errors are a few 1e-6.
                    #expect(abs(Double(value) - exact) <= 1e-5, "\(first)..<\(count)")
                }
            }
        }
    }

    /// Heads that share keys and values give what each gives alone.
    @Test(arguments: KernelTable.available, [64, 80, 128, 6])
    func queriesTogetherEqualEachAlone(table: KernelTable, headDim: Int) {
        for count in [1, 15, 16, 17, 33, 64, 65, 129, 500] {
            for (queries, first) in [(2, 0), (3, count / 3), (4, count / 2), (4, count - 1)] {
                let cache = Cache(headDim: headDim, first: first, count: count, queries: queries)
                let together = cache.attend(table.kernels)
                let reference = cache.attend(KernelTable.reference)
                #expect(bits(together) == bits(reference), "\(queries) of \(first)..<\(count)")
                #expect(together.last == -7.5)
                for query in 0..<queries {
                    let part = query * headDim..<(query + 1) * headDim
                    var alone = cache
                    (alone.queries, alone.query) = (1, Array(cache.query[part]))
                    #expect(bits(Array(together[part])) == bits(Array(alone.attend(table.kernels).dropLast())))
                }
            }
        }
    }

    /// Scores far apart: all but one weight underflow.
    @Test(arguments: KernelTable.available)
    func aDominantPositionTakesAll(table: KernelTable) {
        var cache = Cache(headDim: 64, first: 0, count: 40)
        cache.query = [Float](repeating: 1, count: 64)
        for position in 0..<40 {
            for dimension in 0..<64 {
                cache.keys[cache.keyIndex(position, dimension)] = position == 33 ? 100 : -100
            }
        }
        let output = cache.attend(table.kernels)
        #expect(output.prefix(64) == cache.values[33 * 64..<34 * 64])
    }
}
