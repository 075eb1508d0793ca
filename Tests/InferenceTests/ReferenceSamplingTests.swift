import Inference
import TensorCore
import TestSupport
import Testing

/// The steps of sampling against transformers' own, on random logits and settings.
@Suite struct ReferenceSamplingTests {
    private static func settings(_ object: JSONObject) throws -> SamplerSettings {
        func number(_ key: String) throws -> Double { try #require(object[key]?.double) }
        var settings = SamplerSettings(
            temperature: try number("temperature"), topK: try #require(object["top_k"]?.integer),
            topP: try number("top_p"), minP: try number("min_p"), typicalP: try number("typical_p"),
            repeatPenalty: try number("repetition_penalty"), repeatLastN: -1)
        settings.logitBias = try #require(object["bias"]?.array).map { entry in
            LogitBias(
                id: try #require(entry.array?[0].integer), bias: Float(try #require(entry.array?[1].double)))
        }
        return settings
    }

    @Test func keepsWhatTransformersKeeps() throws {
        let document = try JSONValue.parse(try Fixtures.bytes("sampling/sampling.json")).object
        let cases = try #require(document?["cases"]?.array).compactMap(\.object)
        #expect(cases.count == 200)
        for (number, item) in cases.enumerated() {
            let logits = try #require(item["logits"]?.array).compactMap { $0.double.map { Float($0) } }
            let history = try #require(item["history"]?.array).compactMap(\.integer)
            var sampler = try Sampler(settings: try Self.settings(try #require(item["settings"]?.object)))
            let result = logits.withUnsafeBufferPointer { logits in
                Result { () throws(LaminaError) in try sampler.distribution(logits: logits, history: history) }
            }
            let kept = try result.get().sorted { $0.id < $1.id }
            let expected = try #require(item["kept"]?.array).compactMap(\.array)
            #expect(kept.map(\.id) == expected.map { $0[0].integer }, "case \(number)")
            for (one, other) in zip(kept, expected) {
                // The penalty is applied in single precision here.
                #expect(abs(one.probability - (other[1].double ?? -1)) < 1e-5, "case \(number)")
            }
        }
    }
}
