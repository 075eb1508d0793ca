import Foundation
import TestSupport
import Testing

/// Every golden checkpoint through convert, verify and run, against transformers' values.
@Suite struct GoldenModelTests {
    struct Golden: Decodable {
        struct Prompt: Decodable {
            var ids: [Int]
            var lastLogits: [Double]
            var nextTokenLogprobs: [Double]?
            var greedy: [Int]?
        }
        struct Batch: Decodable {
            var prompts: [[Int]]
            var lastLogits: [[Double]]
            var greedy: [[Int]]?
        }
        struct Layer: Decodable {
            var mean: Double
            var std: Double
            var first8Position0: [Double]
            var first8LastPosition: [Double]
        }
        struct Probe: Decodable {
            var ids: [Int]
            var layers: [Layer]
        }
        var prompts: [Prompt]
        var batch: Batch?
        var layersProbe: Probe?
    }

    /// Chunk sizes: the default, where every tensor is one chunk, and small ones that cut every matrix.
    @Test(arguments: Fixtures.models(""), ["1M", "4K"])
    func agreesWithTransformers(_ name: String, _ chunkBytes: String) throws {
        let golden = try fixtureDecoder().decode(
            Golden.self, from: Data(try Fixtures.bytes("models/\(name)/golden.json")))
        try Fixtures.withScratchFolder { folder in
            let store = try makeStore(Fixtures.path("models/" + name), in: folder, ["--chunk-bytes", chunkBytes])
            let verified = try Tool.run("verify", [store, "--decode", "--quiet"])
            #expect(verified.status == 0, "\(verified.standardOutput)")
            for prompt in golden.prompts { try check(prompt, store) }
            if let batch = golden.batch {
                for (index, ids) in batch.prompts.enumerated() {
                    let row = Golden.Prompt(
                        ids: ids, lastLogits: batch.lastLogits[index], nextTokenLogprobs: nil,
                        greedy: batch.greedy?[index])
                    try check(row, store)
                }
            }
            if let probe = golden.layersProbe { try check(probe, store) }
        }
    }

    private func check(_ prompt: Golden.Prompt, _ store: String) throws {
        let found = try logits(store, prompt.ids)
        let values = try #require(found["logits"] as? [Double])
        #expect(excess(values, prompt.lastLogits) <= 0, "logits of \(prompt.ids.count) tokens")
        if let expected = prompt.nextTokenLogprobs, !expected.isEmpty {
            #expect(excess(try #require(found["logprobs"] as? [Double]), expected) <= 0)
        }
        if let expected = prompt.greedy {
            #expect(try greedy(store, prompt.ids, count: expected.count) == expected)
        }
    }

    private func check(_ probe: Golden.Probe, _ store: String) throws {
        let layers = try #require(try logits(store, probe.ids, ["--probes"])["layers"] as? [[String: Any]])
        #expect(layers.count == probe.layers.count)
        for (found, expected) in zip(layers, probe.layers) {
            func differ(_ key: String, _ value: [Double]) throws -> Double {
                let list = try found[key] as? [Double] ?? [try #require(found[key] as? Double)]
                return zip(list, value).map { abs($0 - $1) - 1e-3 * max(1, abs($1)) }.max() ?? .infinity
            }
            #expect(try differ("mean", [expected.mean]) <= 0)
            #expect(try differ("std", [expected.std]) <= 0)
            #expect(try differ("first8_position0", expected.first8Position0) <= 0)
            #expect(try differ("first8_last_position", expected.first8LastPosition) <= 0)
        }
    }
}
