import CKernels
import LayerStore
import TensorCore
import TestSupport
import Testing

@testable import Inference

@Suite struct ForecastTests {
    private static let clear = WeightForm(dtype: .bfloat16, coding: .clear)
    private static let tiers = WeightForm(dtype: .bfloat16, coding: .tiers)

    /// 1 GB at 100 MB/s; a weight takes 1 ns with one column, 4 ns with 16.
    private static let disk = DiskRate(bytesPerSecond: 1e8, mode: .ring, depth: 8)
    private static let compute = ComputeRates(
        threads: 2,
        products: [
            tiers: [
                ComputeRates.Product(columns: 1, secondsPerWeight: 1e-9),
                ComputeRates.Product(columns: 16, secondsPerWeight: 4e-9),
            ]
        ], checkedBytesPerSecond: 1e10, secondsPerScore: 1e-8, secondsPerBarrier: 1e-6)

    private static var cost: PassCost {
        var cost = PassCost()
        cost.body = PassCost.Part(bytes: 900_000_000, streamedBytes: 500_000_000, weights: [tiers: 600_000_000])
        cost.head = PassCost.Part(bytes: 100_000_000, streamedBytes: 0, weights: [tiers: 60_000_000])
        cost.columns = 10
        cost.scoresPerPosition = 100
        cost.barriers = 50
        return cost
    }

    private func forecast(
        _ sequences: [SequenceDemand], cost: PassCost = Self.cost, disk: DiskRate? = Self.disk,
        compute: ComputeRates? = Self.compute
    ) -> Forecast {
        Forecast(cost, sequences, disk: disk, compute: compute)
    }

    private func isClose(_ value: Double?, _ expected: Double) -> Bool {
        value.map { abs($0 - expected) <= 1e-9 * max(1, abs(expected)) } ?? false
    }

    @Test func aStepIsTheSlowerOfDiskAndProcessors() {
        let forecast = forecast([SequenceDemand(promptTokens: 100, newTokens: 20)])
        let step = forecast.step
        #expect(forecast.bytesPerStep == 500_000_000)
        #expect(isClose(step.disk, 5))
        // Products, checks, attention to 110 positions, barriers.
        let (products, checks, attention, barriers) = (0.66, 0.05, 110e-6, 50e-6)
        #expect(isClose(step.compute, products + checks + attention + barriers))
        #expect(step.seconds == step.disk)
        #expect(isClose(forecast.tokensPerSecond, 0.2))
    }

    @Test func aPromptReadsEverythingOnceAndTheHeadAtItsEnd() {
        // 25 tokens in passes of 10, 10 and 5.
        let forecast = forecast([SequenceDemand(promptTokens: 25, newTokens: 5)])
        let passes = forecast.promptPasses
        #expect(passes.map(\.columns) == [10, 10, 5])
        #expect(passes.map(\.headColumns) == [0, 0, 1])
        #expect(passes.map(\.attended) == [55, 155, 115])
        #expect(passes.map(forecast.bytes) == [900_000_000, 500_000_000, 600_000_000])
        #expect(isClose(forecast.prefill.disk, 20))
        #expect(forecast.totalBytes == 2_000_000_000 + 4 * 500_000_000)
    }

    @Test func sequencesShareAStep() {
        let one = forecast([SequenceDemand(promptTokens: 4, newTokens: 2)])
        let four = forecast([SequenceDemand](repeating: SequenceDemand(promptTokens: 4, newTokens: 2), count: 4))
        #expect(four.step.disk == one.step.disk)
        #expect(four.tokensPerSecond == one.tokensPerSecond.map { 4 * $0 })
        // More than fit a pass take two.
        let many = forecast([SequenceDemand](repeating: SequenceDemand(promptTokens: 1, newTokens: 2), count: 11))
        #expect(many.stepPasses.map(\.columns) == [10, 1])
        #expect(many.promptPasses.map(\.headColumns) == [10, 1])
        #expect(many.promptPasses.map(\.isFirstOfHead) == [true, false])
        #expect(isClose(many.step.disk, 10))
    }

    @Test func passByPassTheSlowerOneDecides() {
        var cost = Self.cost
        cost.body.streamedBytes = 0
        // The first pass waits for the disk, the others for the processors.
        let prefill = forecast([SequenceDemand(promptTokens: 20, newTokens: 1)], cost: cost).prefill
        let passes = forecast([SequenceDemand(promptTokens: 20, newTokens: 1)], cost: cost).promptPasses
        #expect(passes.count == 2)
        let disk = prefill.disk ?? 0
        let compute = prefill.compute ?? 0
        #expect((prefill.seconds ?? 0) > max(disk, compute) && (prefill.seconds ?? .infinity) < disk + compute)
    }

    @Test func whatIsNotMeasuredIsNotKnown() {
        let demand = [SequenceDemand(promptTokens: 4, newTokens: 4)]
        let noDisk = forecast(demand, disk: nil)
        #expect(noDisk.step.disk == nil && noDisk.step.compute != nil && noDisk.step.seconds == nil)
        #expect(noDisk.tokensPerSecond == nil)
        let noCompute = forecast(demand, compute: nil)
        #expect(noCompute.step.compute == nil && noCompute.step.seconds == nil)
        var resident = Self.cost
        resident.body.streamedBytes = 0
        let step = forecast(demand, cost: resident, disk: nil).step
        #expect(step.disk == 0 && step.seconds == step.compute)
        var other = Self.cost
        other.body.weights[Self.clear] = 1
        #expect(forecast(demand, cost: other).step.compute == nil)
    }

    @Test func ratesLieBetweenMeasuredOnes() {
        let rates = Self.compute
        #expect(rates.secondsPerWeight(Self.tiers, columns: 1) == 1e-9)
        #expect(isClose(rates.secondsPerWeight(Self.tiers, columns: 6).map { $0 * 1e9 }, 2))
        #expect(rates.secondsPerWeight(Self.tiers, columns: 16) == 4e-9)
        #expect(isClose(rates.secondsPerWeight(Self.tiers, columns: 64).map { $0 * 1e9 }, 16))
        #expect(rates.secondsPerWeight(Self.clear, columns: 1) == nil)
        #expect(isClose(rates.products[Self.tiers]?.last?.flopsPerSecond, 8e9))
    }

    @Test func lookupsReadDistinctChunks() {
        var cost = PassCost()
        (cost.lookupChunks, cost.lookupBytes) = (4, 100)
        #expect(cost.lookupBytes(tokens: 0) == 0)
        #expect(isClose(cost.lookupBytes(tokens: 1), 100))
        #expect(isClose(cost.lookupBytes(tokens: 2), 175))
        #expect(isClose(cost.lookupBytes(tokens: 1000), 400))
    }

    // MARK: Plans

    private func session(_ path: String, _ options: SessionOptions, tokens: Int = 6) throws -> SessionPlan {
        try SessionPlan(
            try StoredModel(Store(path: path, in: RealFileSystem())),
            workload: .generate(promptTokens: tokens, newTokens: 8), options: options,
            kernels: lamina_kernels_for(LAMINA_ISA_PORTABLE)
        ) { 0 }
    }

    @Test func aPlanIsWhatASessionThenDoes() throws {
        try TinyStore.with(dtype: .float32) { path in
            let least = try session(path, SessionOptions(threads: 2)).minimumBytes
            var shares: [Double] = []
            for extra in [0, 60_000, 200_000, 600_000, 4_000_000] {
                var plan = try session(path, SessionOptions(threads: 2, memoryBytes: least + extra))
                let cost = PassCost(plan)
                #expect(cost.bytes == plan.passBytes && cost.streamedBytes == plan.streamedPassBytes)
                let weights = cost.body.weights.merging(cost.head.weights, uniquingKeysWith: +)
                #expect(weights == [WeightForm(dtype: .float32, coding: .clear): plan.weightCount])
                let forecast = try plan.thoroughForecast()
                #expect((forecast.disk?.bytesPerSecond ?? 0) > 0)
                #expect((forecast.step.seconds ?? 0) > 0 && (forecast.prefill.seconds ?? 0) > 0)
                let session = try InferenceSession(plan)
                #expect(try session.prefill([1, 2, 3, 4, 5, 6]))
                let before = session.statistics.bytesRead
                for token in 7..<12 { #expect(try session.advance(token)) }
                let statistics = session.statistics
                #expect(statistics.passBytes == plan.passBytes && statistics.residentBytes == plan.residentWeightBytes)
                #expect(statistics.hitRate == plan.residentShare && statistics.streamedBytes == plan.streamedPassBytes)
                #expect(statistics.ringBytes == plan.ringBytes && statistics.plannedBytes == plan.plannedBytes)
                if plan.streamedPassBytes == 0 { #expect(statistics.bytesRead - before < 5 * 8192) }
                shares.append(plan.residentShare)
            }
            #expect(shares == shares.sorted() && shares.last == 1)
        }
    }

    @Test(arguments: [false, true]) func measuringChangesNothingThatIsGenerated(isTied: Bool) throws {
        try TinyStore.with(chunkBytes: 20_000, isTied: isTied) { path in
            func logits(_ measure: (inout SessionPlan) throws -> Void) throws -> [Float] {
                var plan = try session(path, SessionOptions(threads: 2))
                try measure(&plan)
                let session = try InferenceSession(plan)
                #expect(try session.prefill([5, 6, 7]))
                return try session.withLogits { Array($0) }
            }
            let reference = try logits { _ in }
            #expect(try logits { _ = try $0.forecastForRun(measuresCompute: true) } == reference)
            #expect(try logits { _ = try $0.thoroughForecast() } == reference)
        }
    }

    @Test func aSweepGoesOnUntilEverythingIsResident() throws {
        try TinyStore.with { path in
            let plan = try session(path, SessionOptions(threads: 1))
            let steps = plan.sweep(from: 1 << 20, disk: Self.disk, compute: nil)
            #expect(steps.map(\.memoryBytes) == (0..<steps.count).map { 1 << (20 + $0) })
            #expect(steps.first?.gain == nil && steps.last?.gain?.residentShare == 1)
            for step in steps { #expect((step.gain == nil) == (step.memoryBytes < plan.minimumBytes)) }
            // With one pass nothing is kept, and there is nothing to wait for.
            let single = try plan.replanned(workload: .generate(promptTokens: 3, newTokens: 1))
            #expect(single.sweep(disk: Self.disk, compute: nil).count < 8)
        }
    }

    @Test func aPlanCanBeMadeAgainForOtherWorkloadsAndBudgets() throws {
        try TinyStore.with { path in
            let plan = try session(path, SessionOptions(threads: 1, memoryBytes: 1 << 30))
            let two = try plan.replanned(
                workload: .generate(
                    [SequenceDemand](repeating: SequenceDemand(promptTokens: 6, newTokens: 8), count: 2)))
            #expect(two.keyValueBytes == 2 * plan.keyValueBytes && two.minimumBytes > plan.minimumBytes)
            #expect(two.budgetBytes == plan.budgetBytes)
            let error = #expect(throws: LaminaError.self) { try plan.replanned(memoryBytes: 1 << 20) }
            #expect(error?.kind == .limit)
            #expect(throws: LaminaError.self) {
                try plan.replanned(workload: .generate(promptTokens: 60, newTokens: 8))
            }
        }
    }
}

extension SessionPlan {
    /// Weights of a pass, padding included.
    fileprivate var weightCount: Int {
        stream.chunks.reduce(0) { sum, chunk in
            let tensor = stream.matrices[chunk.matrix].tensor
            return sum + tensor.geometry.chunk(chunk.chunk).elementCount
        }
    }
}
