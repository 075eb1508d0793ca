import TensorCore
import TestSupport
import Testing

@testable import StoreWriter

/// How bits are divided between matrices by what they cost.
@Suite struct RateAllocationTests {
    private func cost(_ weights: Double, _ divergence: Double) -> RateAllocation.Cost {
        RateAllocation.Cost(weights: weights, divergence: divergence)
    }

    /// Steps go with the root of weights over divergence.
    @Test func stepsFollowCosts() {
        let allocation = RateAllocation(
            kinds: ["a": cost(100, 0.1), "b": cost(100, 0.4), "c": cost(50, 0.05)], depths: [], layersPerDepth: 1)
        let mean = 0.55 / 250
        for (kind, perWeight) in [("a", 0.001), ("b", 0.004), ("c", 0.001)] {
            let expected = (mean / perWeight).squareRoot()
            #expect(abs(allocation.stepFactor(kind: kind, layer: 3) - expected) <= RateAllocation.resolution / 2)
        }
        #expect(allocation.stepFactor(kind: "other", layer: nil) == 1)
    }

    @Test func layersMultiplyKinds() {
        let allocation = RateAllocation(
            kinds: ["a": cost(100, 0.1), "b": cost(100, 0.1)], depths: [cost(100, 0.3), cost(100, 0.1)],
            layersPerDepth: 4)
        for (layer, ratio) in [(0, 1.5), (3, 1.5), (4, 0.5), (7, 0.5), (8, 1)] {
            let expected = (1 / ratio).squareRoot()
            #expect(abs(allocation.stepFactor(kind: "a", layer: layer) - expected) <= RateAllocation.resolution / 2)
        }
        #expect(allocation.stepFactor(kind: "b", layer: nil) == 1)
    }

    /// What costs nothing, or everything, gets two bits less or more.
    @Test func factorsStayWithinTwoBits() {
        let allocation = RateAllocation(
            kinds: ["free": cost(1000, 0), "negative": cost(1000, -1e-9), "dear": cost(1, 1)], depths: [],
            layersPerDepth: 1)
        #expect(allocation.stepFactor(kind: "free", layer: nil) == 4)
        #expect(allocation.stepFactor(kind: "negative", layer: nil) == 4)
        #expect(allocation.stepFactor(kind: "dear", layer: nil) == 0.25)
        let nothing = RateAllocation(kinds: ["a": cost(10, 0)], depths: [cost(10, 0)], layersPerDepth: 1)
        #expect(nothing.stepFactor(kind: "a", layer: 0) == 1)
    }

    @Test func numbersInNamesAreOneKind() {
        #expect(
            RateAllocation.kind(ofStoredName: "model.layers.*.mlp.experts.17.up_proj.weight")
                == "model.layers.*.mlp.experts.*.up_proj.weight")
        #expect(RateAllocation.kind(ofStoredName: "h.0a.b2.3") == "h.0a.b2.*")
    }

    /// No factor takes a tensor beyond the rates there are, unless all are there.
    @Test func ownStepsStayWithinTheRates() {
        var parameters = QuantizationParameters()
        #expect(parameters.ownStep(0.01) == 0.01)
        parameters.stepFactor = 0.25
        #expect(abs(parameters.ownStep(0.4) - 0.1) < 1e-4)
        #expect(abs(parameters.ownStep(0.1) - 0.048) < 1e-4)
        #expect(abs(parameters.ownStep(0.03) - 0.03) < 1e-4)
        parameters.stepFactor = 4
        #expect(abs(parameters.ownStep(0.1) - 0.4) < 1e-4)
        #expect(abs(parameters.ownStep(0.5) - 0.77) < 1e-4)
        #expect(abs(parameters.ownStep(1.5) - 1.5) < 1e-4)
    }

    /// A run that goes on takes factors from the record of the interrupted one, without measuring.
    @Test func recordedFactorsAreTakenOver() throws {
        try Fixtures.withScratchFolder { folder in
            let rate = WantedRate.storeBytes(123_456)
            let solved = SolvedStep(codec: "ecq-tier", rate: rate, step: 0.25, factors: [0.25, 1, 1.5, 4])
            let partial = PartialManifest(
                plan: SHA256.digest(of: []), source: .init(files: []), shards: [], sideFiles: [],
                steps: [solved, SolvedStep(codec: "ecq-tier", rate: .bits(4.25), step: 0.2)])
            try partial.write(to: folder, UnsyncedFileSystem())
            let read = try #require(try PartialManifest.read(in: folder, RealFileSystem()))
            #expect(read.steps == partial.steps)
        }
    }
}
