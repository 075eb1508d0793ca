import CKernels
import Foundation
import Testing

/// A task with its cache, one KV head; whatever is not attended to is NaN, as memory never written may be.
private struct AttentionCase {
    var type = KeyValueType.f32
    var headDim: Int
    var valueDim: Int
    var latent = false
    var first = 0
    var count: Int
    var queries = 1
    /// Blocks of the ring; 0 for as many as there are.
    var ring = 0
    var softcap: Float = 0
    var slopes: [Float]?
    var scale: Float = 0.125
    var seed: UInt64 = 1

    var ringBlocks: Int { ring == 0 ? (count + 15) / 16 : ring }
    /// The fewest blocks that hold first..<count.
    var fewestBlocks: Int { (count + 15) / 16 - first / 16 }

    struct Cache {
        var query: [Float]
        var keys: KeyValueBlocks
        var values: KeyValueBlocks
    }

    func cache() -> Cache {
        var generator = SeededGenerator(seed: seed)
        var cache = Cache(
            query: generator.values(queries * (headDim + 3)).map { $0 * 4 },
            keys: KeyValueBlocks(type, dimension: headDim, blocks: ringBlocks),
            values: KeyValueBlocks(type, dimension: valueDim, blocks: ringBlocks))
        for position in first..<count {
            let (block, lane) = (position / 16 % ringBlocks, position % 16)
            let key = generator.values(headDim).map { $0 * 4 }
            cache.keys.storeKey(KernelTable.reference, block: block, lane: lane, key)
            let value = generator.values(valueDim)
            cache.values.storeValue(KernelTable.reference, block: block, lane: lane, value)
        }
        return cache
    }

    /// Outputs (queries, valueDim + 1), with -7.5 where nothing may be written.
    func attend(_ kernels: lamina_kernels, _ cache: Cache) -> [Float] {
        // Rows further apart than they need be.
        let stride = fewestBlocks * 16 + 16
        var scores = [Float](repeating: .nan, count: queries * stride)
        var output = [Float](repeating: -7.5, count: queries * (valueDim + 1))
        var task = lamina_attention_task()
        (task.type, task.queries, task.ring_blocks) = (type.type, queries, ringBlocks)
        (task.head_dim, task.value_dim, task.first, task.count) = (headDim, valueDim, first, count)
        (task.query_stride, task.score_stride, task.output_stride) = (headDim + 3, stride, valueDim + 1)
        (task.scale, task.softcap, task.query_position) = (scale, softcap, count - 1)
        cache.query.withUnsafeBufferPointer { query in
            cache.keys.bytes.withUnsafeBytes { keys in
                cache.values.bytes.withUnsafeBytes { values in
                    (slopes ?? []).withUnsafeBufferPointer { slopes in
                        scores.withUnsafeMutableBufferPointer { scores in
                            output.withUnsafeMutableBufferPointer { output in
                                task.query = query.baseAddress
                                task.keys = keys.baseAddress
                                task.values = latent ? nil : values.baseAddress
                                task.slopes = self.slopes == nil ? nil : slopes.baseAddress
                                task.scores = scores.baseAddress
                                task.output = output.baseAddress
                                kernels.attend(&task)
                            }
                        }
                    }
                }
            }
        }
        return output
    }

    /// The definition in double precision, of what the cache holds.
    func exact(_ cache: Cache, query: Int) -> [Double] {
        let scores = (first..<count).map { position in
            var score = (0..<headDim).reduce(0.0) { sum, d in
                let key = cache.keys.key(block: position / 16 % ringBlocks, lane: position % 16, dimension: d)
                return sum + Double(cache.query[query * (headDim + 3) + d]) * Double(key)
            }
            score *= Double(scale)
            if softcap > 0 { score = Double(softcap) * tanh(score / Double(softcap)) }
            if let slopes { score += Double(slopes[query]) * Double(position - (count - 1)) }
            return score
        }
        let weights = scores.map { exp($0 - scores.max()!) }
        let sum = weights.reduce(0, +)
        return (0..<valueDim).map { d in
            zip(first..<count, weights).reduce(0.0) { total, item in
                let (block, lane) = (item.0 / 16 % ringBlocks, item.0 % 16)
                let value =
                    latent
                    ? cache.keys.key(block: block, lane: lane, dimension: d)
                    : cache.values.value(block: block, lane: lane, dimension: d)
                return total + item.1 * Double(value)
            } / sum
        }
    }
}

@Suite struct AttentionTests {
    private static let counts = Array(1...34) + [47, 48, 49, 64, 65, 127, 129, 500]

    /// The table against the reference to the bit, and against the definition.
    private func check(_ table: KernelTable, _ attention: AttentionCase) {
        let cache = attention.cache()
        let found = attention.attend(table.kernels, cache)
        let name = "\(attention)"
        #expect(bits(found) == bits(attention.attend(KernelTable.reference, cache)), "\(name)")
        let stride = attention.valueDim + 1
        for query in 0..<attention.queries {
            #expect(found[query * stride + attention.valueDim] == -7.5, "\(name)")
            for (value, exact) in zip(found[(query * stride)...], attention.exact(cache, query: query)) {
                // Scores reach about 10 from sums of magnitudes about 60, in f32: their errors are a few 1e-6. Latent
                // values reach 4.
                #expect(abs(Double(value) - exact) <= (attention.latent ? 8e-5 : 2e-5), "\(name)")
            }
        }
    }

    @Test(arguments: KernelTable.available, KeyValueType.allCases)
    func everyTypeEqualsTheReferenceAndTheDefinition(table: KernelTable, type: KeyValueType) {
        for (headDim, valueDim) in [(64, 64), (80, 80), (128, 128), (6, 6), (96, 64), (33, 100)] {
            for count in Self.counts {
                for first in Set([0, count / 3, count - 1]) {
                    let queries = 1 + count % Int(LAMINA_ATTENTION_QUERIES)
                    check(
                        table,
                        AttentionCase(
                            type: type, headDim: headDim, valueDim: valueDim, first: first, count: count,
                            queries: queries, seed: UInt64(count)))
                }
            }
        }
    }

    /// Values that are the beginnings of their keys.
    @Test(arguments: KernelTable.available, KeyValueType.allCases)
    func latentValues(table: KernelTable, type: KeyValueType) {
        for (headDim, valueDim) in [(72, 64), (64, 64), (40, 33), (6, 3)] {
            for count in Self.counts {
                for first in Set([0, count / 3, count - 1]) {
                    let queries = 1 + count % Int(LAMINA_ATTENTION_QUERIES)
                    check(
                        table,
                        AttentionCase(
                            type: type, headDim: headDim, valueDim: valueDim, latent: true, first: first, count: count,
                            queries: queries, scale: 0.05, seed: UInt64(count)))
                }
            }
        }
    }

    /// Heads that share keys and values give what each gives alone.
    @Test(arguments: KernelTable.available, KeyValueType.allCases)
    func queriesTogetherEqualEachAlone(table: KernelTable, type: KeyValueType) {
        for (headDim, valueDim, latent) in [(64, 64, false), (80, 48, false), (128, 128, false), (72, 64, true)] {
            for count in [1, 15, 16, 17, 33, 129, 1200] {
                for queries in 2...Int(LAMINA_ATTENTION_QUERIES) {
                    let together = AttentionCase(
                        type: type, headDim: headDim, valueDim: valueDim, latent: latent, first: count / 3,
                        count: count, queries: queries)
                    let cache = together.cache()
                    let found = together.attend(table.kernels, cache)
                    for query in 0..<queries {
                        var alone = together
                        alone.queries = 1
                        var part = cache
                        part.query = Array(cache.query[(query * (headDim + 3))...].prefix(headDim))
                        let expected = alone.attend(table.kernels, part)
                        #expect(bits(found[(query * (valueDim + 1))...].prefix(valueDim)) == bits(expected.dropLast()))
                    }
                }
            }
        }
    }

    /// No bit depends on how many blocks the ring has, as long as the window fits.
    @Test(arguments: KernelTable.available, KeyValueType.allCases)
    func theSizeOfTheRingDoesNotMatter(table: KernelTable, type: KeyValueType) {
        for latent in [false, true] {
            for (first, count) in [(0, 100), (37, 100), (1000, 1064), (1001, 1080), (4000, 4001), (95, 1500)] {
                var attention = AttentionCase(
                    type: type, headDim: 64, valueDim: 64, latent: latent, first: first, count: count, queries: 3)
                let expected = attention.attend(table.kernels, attention.cache())
                for extra in [0, 1, 2, 5] {
                    attention.ring = attention.fewestBlocks + extra
                    #expect(bits(attention.attend(table.kernels, attention.cache())) == bits(expected))
                }
            }
        }
    }

    @Test(arguments: KernelTable.available, KeyValueType.allCases)
    func softcapAndSlopes(table: KernelTable, type: KeyValueType) {
        for latent in [false, true] {
            for count in [1, 16, 31, 200] {
                for (softcap, slopes): (Float, [Float]?) in [(2, nil), (0, [0.5, 0.25, 0]), (3, [0.01, 0.5, 1])] {
                    check(
                        table,
                        AttentionCase(
                            type: type, headDim: 64, valueDim: 48, latent: latent, first: count / 4, count: count,
                            queries: 3, softcap: softcap, slopes: slopes, scale: 0.05))
                }
            }
        }
    }

    /// More keys and values than a cache is taken to hold: they are read in another order, the sums are not.
    @Test(arguments: KernelTable.available, KeyValueType.allCases)
    func longContexts(table: KernelTable, type: KeyValueType) {
        for (headDim, valueDim, queries) in [(128, 128, 1), (128, 144, 4), (96, 200, 3)] {
            check(
                table,
                AttentionCase(
                    type: type, headDim: headDim, valueDim: valueDim, first: 35, count: 3003, queries: queries,
                    ring: 193,
                    scale: 0.05))
        }
        check(
            table,
            AttentionCase(
                type: type, headDim: 160, valueDim: 128, latent: true, first: 35, count: 3003, queries: 4, scale: 0.05))
    }

    /// A query far behind the first position of a long cache: distances are exact.
    @Test(arguments: KernelTable.available)
    func slopesFarAway(table: KernelTable) {
        check(
            table,
            AttentionCase(
                headDim: 64, valueDim: 64, first: 1_000_003, count: 1_000_103, ring: 9, slopes: [0.125], scale: 0.01))
    }

    /// Scores far apart: all but one weight underflow.
    @Test(arguments: KernelTable.available, KeyValueType.allCases)
    func aDominantPositionTakesAll(table: KernelTable, type: KeyValueType) {
        let attention = AttentionCase(type: type, headDim: 64, valueDim: 64, count: 40)
        var cache = attention.cache()
        cache.query = [Float](repeating: 1, count: 64)
        for position in 0..<40 {
            let key = [Float](repeating: position == 33 ? 100 : -100, count: 64)
            cache.keys.storeKey(table.kernels, block: position / 16, lane: position % 16, key)
        }
        let output = attention.attend(table.kernels, cache)
        for d in 0..<64 {
            #expect(output[d] == cache.values.value(block: 2, lane: 1, dimension: d))
        }
    }
}
