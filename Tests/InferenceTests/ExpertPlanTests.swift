import CKernels
import LayerStore
import TensorCore
import TestSupport
import Testing

@testable import Inference

extension StreamPlan {
    /// The same plan with the chunks of each layer's gate and up projection shared out among `count` experts, as evenly
    /// as they go, of which each column wants `perToken`.
    func withExperts(_ count: Int, perToken: Int) -> StreamPlan {
        var plan = self
        plan.expertsPerToken = perToken
        for layer in 0..<2 {
            let chunks = plan.chunks.indices.filter { chunk in
                ["gate", "up"].contains {
                    matrices[self.chunks[chunk].matrix].name == "model.layers.\(layer).mlp.\($0)_proj.weight"
                }
            }
            for expert in 0..<count {
                let part = chunks[(expert * chunks.count / count)..<((expert + 1) * chunks.count / count)]
                plan.experts.append(
                    PlannedExpert(
                        layer: layer, expert: expert, chunks: part[part.startIndex]..<(part[part.endIndex - 1] + 1)))
            }
        }
        return plan
    }

    /// A plan with experts for the store at `path`, and its model.
    static func withExperts(_ path: String, count: Int = 6, perToken: Int = 2) throws -> (StoredModel, StreamPlan) {
        let model = try StoredModel(Store(path: path, in: RealFileSystem()))
        return (model, try StreamPlanBuilder.plan(for: model).withExperts(count, perToken: perToken))
    }
}

extension SessionPlan {
    /// A session over `stream` with `extra` bytes more than the least.
    init(
        _ model: StoredModel, _ stream: StreamPlan, extra: Int, tokens: Int = 2, newTokens: Int = 8, threads: Int = 2
    ) throws {
        func plan(_ memoryBytes: Int) throws -> SessionPlan {
            try SessionPlan(
                model, .generate(promptTokens: tokens, newTokens: newTokens),
                SessionOptions(threads: threads, memoryBytes: memoryBytes),
                kernels: lamina_kernels_for(LAMINA_ISA_PORTABLE), stream: stream, used: 0)
        }
        self = try plan(plan(1 << 30).minimumBytes + extra)
    }

    /// A session over `stream` with the least memory that gives every layer places for so many experts; all its passes
    /// include the head.
    init(_ model: StoredModel, _ stream: StreamPlan, expertSlots: Int) throws {
        for extra in stride(from: 0, to: 1 << 20, by: 2048) {
            self = try SessionPlan(model, stream, extra: extra, tokens: 1)
            if memory.expertSlots == ExpertSlots(perLayer: expertSlots) { return }
        }
        throw LaminaError(.unexpected, "", "no budget gives \(expertSlots) places")
    }
}

@Suite struct ExpertPlanTests {
    @Test(arguments: [0, 10_000, 100_000, 1 << 22]) func requestsDoNotJoinExperts(target: Int) throws {
        try TinyStore.with { path in
            let (_, plan) = try StreamPlan.withExperts(path)
            let joined = RequestPlan(plan, targetBytes: target)
            #expect(joined.requests.flatMap { Array($0.chunks) } == Array(plan.chunks.indices))
            for (index, request) in joined.requests.enumerated() {
                for chunk in request.chunks {
                    #expect(joined.requestOfChunk[chunk] == index)
                    #expect(plan.experts.firstIndex { $0.chunks.contains(chunk) } == request.expert)
                }
            }
            let experts = joined.experts
            #expect(experts.layers.map(\.layer) == [0, 1] && experts.counts == [6, 6])
            #expect(experts.layers.map(\.experts) == [0..<6, 6..<12])
            for (planned, requests) in zip(plan.experts, experts.requests) {
                #expect(requests.flatMap { Array(joined.requests[$0].chunks) } == Array(planned.chunks))
            }
            for layer in experts.layers {
                #expect(Array(layer.requests) == experts.requests[layer.experts].flatMap { Array($0) })
                #expect(layer.byteCount == layer.requests.reduce(0) { $0 + joined.requests[$1].byteCount })
            }
            #expect(experts.byteCount == experts.layers.reduce(0) { $0 + $1.byteCount })
            #expect(joined.denseByteCount + experts.byteCount == joined.byteCount)
            #expect(joined.residableSizes.reduce(0, +) == joined.denseByteCount)
            if target == 1 << 22 { #expect(experts.requests.allSatisfy { $0.count <= 2 }) }
        }
    }

    @Test func residentsAreNeverExperts() {
        let (offsets, byteCount) = Residents.choose([4096, 0, 8192, 0], budget: 1 << 20)
        #expect(offsets.map { $0 >= 0 } == [true, false, true, false] && byteCount == 12288)
    }

    // MARK: Memory

    private static let demand = MemoryPlan.Demand(
        used: 0, fixed: 1 << 20, perColumn: 1 << 10, wantedColumns: 1, laterPasses: 10, chunkBytes: 1 << 20,
        passBytes: 200 << 20, decodedPassBytes: 4 << 30, expertCounts: [64, 64, 16], largestExpertBytes: 3 << 20,
        isDecodedFaster: true, lookupBytes: 1 << 20, embeddingBytes: 50 << 20)

    @Test func expertsGetWhatResidentsLeave() throws {
        let least = try MemoryPlan(Self.demand, budget: 1 << 40).minimumBytes
        var slots: [Int] = []
        for extra in stride(from: 0, to: 900 << 20, by: 20 << 20) {
            let plan = try MemoryPlan(Self.demand, budget: least + extra)
            #expect(plan.totalBytes <= least + extra)
            #expect(plan.expertSlots.isEmpty || plan.residentBytes == Self.demand.passBytes)
            #expect(plan.expertBytes == Self.demand.expertBytes(plan.expertSlots))
            // No room for another one, unless there are no more.
            let left = least + extra - plan.totalBytes - extra / 512
            let all = Self.demand.expertBytes(ExpertSlots(perLayer: 64))
            let isFull = plan.expertBytes == all || left < Self.demand.largestExpertBytes
            #expect(plan.residentBytes < Self.demand.passBytes || isFull)
            if plan.expertBytes == all { #expect(plan.ringBytes == 2 << 20 && plan.embeddingBytes > 0) }
            slots.append(plan.expertBytes / Self.demand.largestExpertBytes)
        }
        #expect(slots == slots.sorted() && slots.first == 0 && slots.last == 144 && Set(slots).count > 15)
        #expect(Self.demand.expertBytes(ExpertSlots(perLayer: 20)) == (20 + 20 + 16) * 3 << 20)
        #expect(
            Self.demand.expertBytes(ExpertSlots(perLayer: 20, layersWithMore: 1)) == (21 + 20 + 16) * 3 << 20)
    }

    @Test func onePassAndDecodedWeightsNeedNoPlacesForExperts() throws {
        var single = Self.demand
        single.laterPasses = 0
        #expect(try MemoryPlan(single, budget: 3 << 30).expertBytes == 0)
        let decoded = try MemoryPlan(Self.demand, budget: 8 << 30)
        #expect(decoded.keepsDecoded && decoded.expertBytes == 0 && decoded.residentBytes == 4 << 30)
    }

    @Test func withoutExpertsNothingChanges() throws {
        var dense = Self.demand
        (dense.expertCounts, dense.largestExpertBytes) = ([], 0)
        for budget in stride(from: 60 << 20, to: 500 << 20, by: 7 << 20) {
            let plan = try MemoryPlan(dense, budget: budget)
            #expect(plan.expertSlots.isEmpty && plan.expertBytes == 0)
            // Everything stays in memory as soon as it fits; then the ring is as small as can be.
            if plan.residentBytes == dense.passBytes, plan.embeddingBytes > 0 { #expect(plan.ringBytes == 2 << 20) }
        }
    }

    @Test func aSessionDividesItsMemoryAndKeepsIt() throws {
        try TinyStore.with { path in
            let (model, stream) = try StreamPlan.withExperts(path)
            var shares: [Double] = []
            for extra in stride(from: 0, to: 2_000_000, by: 40_000) {
                let plan = try SessionPlan(model, stream, extra: extra)
                let setup = try SessionSetup(plan)
                #expect((setup.experts?.byteCount ?? 0) <= plan.memory.expertBytes)
                #expect((setup.experts == nil) == plan.memory.expertSlots.isEmpty)
                #expect((setup.residents?.byteCount ?? 0) + plan.memory.expertBytes == plan.residentBytes)
                #expect(plan.plannedBytes <= plan.budgetBytes)
                // What may go through the ring fits it.
                try setup.prefetcher().stop()
                let experts = try #require(plan.experts)
                #expect(experts.perToken == 2 && experts.count == 6 && experts.layers == 2)
                #expect(plan.denseBytes + experts.bytes == plan.weightBytes)
                #expect(abs(experts.bytesPerToken - experts.bytes / 3) <= 2)
                #expect(plan.passBytes == plan.denseBytes + experts.bytesPerToken)
                shares.append(plan.residentShare)
            }
            // Requests of other sizes, and other gaps between them: not each step gains.
            #expect(zip(shares, shares.dropFirst()).allSatisfy { $1 > $0 - 0.05 } && shares.last == 1)
            #expect(try SessionPlan(model, stream, extra: 4 << 20).streamedPassBytes == 0)
        }
    }

    // MARK: Forecast

    private static let clear = WeightForm(dtype: .bfloat16, coding: .clear)

    private func isClose(_ value: Double?, _ expected: Double) -> Bool {
        value.map { abs($0 - expected) <= 1e-9 * max(1, abs(expected)) } ?? false
    }

    @Test func distinctExpertsAreThoseOfEvenChances() {
        let layer = RoutedLayer(count: 8, perToken: 2, bytes: 800, cachedShare: 0.25)
        #expect(layer.wantedShare(columns: 0) == 0)
        #expect(isClose(layer.wantedShare(columns: 1), 0.25))
        #expect(isClose(layer.wantedShare(columns: 2), 1 - 0.75 * 0.75))
        #expect(layer.wantedShare(columns: 1000) > 0.999)
        #expect([0, 1, 2, 4, 100].map(layer.columnsPerExpert) == [0, 1, 1, 1, 25])
        var all = layer
        all.perToken = 8
        #expect(all.wantedShare(columns: 1) == 1 && all.columnsPerExpert(columns: 5) == 5)
    }

    @Test func aForecastCountsWhatIsRouted() {
        let disk = DiskRate(bytesPerSecond: 1e8, mode: .ring, depth: 8)
        let compute = ComputeRates(
            threads: 2, products: [Self.clear: [ComputeRates.Product(columns: 1, secondsPerWeight: 1e-9)]],
            checkedBytesPerSecond: .infinity, secondsPerScore: 0, secondsPerBarrier: 0)
        var cost = PassCost()
        cost.body = PassCost.Part(bytes: 1_000_000, streamedBytes: 400_000, weights: [Self.clear: 500_000])
        cost.columns = 4
        let layer = RoutedLayer(
            count: 8, perToken: 2, bytes: 8_000_000, cachedShare: 0.5, weights: [Self.clear: 4_000_000])
        cost.experts = [layer, layer]
        #expect(cost.forms == [Self.clear])
        let sequence = SequenceDemand(promptTokens: 4, newTokens: 4)
        let one = Forecast(cost, [sequence], disk: disk, compute: compute)
        // A quarter of each layer's experts, half of them from memory.
        #expect(isClose(one.bytesPerStep, 400_000 + 2 * 1_000_000))
        #expect(isClose(one.step.compute, 0.5e-3 + 2 * 1e-3))
        // The first pass finds nothing in memory.
        let distinct = 1 - 0.75 * 0.75 * 0.75 * 0.75
        #expect(isClose(one.bytes(one.promptPasses[0]), 1_000_000 + 2 * 8_000_000 * distinct))
        let four = Forecast(
            cost, [SequenceDemand](repeating: sequence, count: 4), disk: disk, compute: compute)
        #expect(isClose(four.bytesPerStep, 400_000 + 2 * 4_000_000 * distinct))
        // Four columns for what every token uses, and one for each distinct expert.
        #expect(isClose(four.step.compute, 4 * 0.5e-3 + 2 * 4e-3 * distinct))
    }

    @Test func thePlansCostIsThatOfItsRequests() throws {
        try TinyStore.with { path in
            let (model, stream) = try StreamPlan.withExperts(path)
            var plan = try SessionPlan(model, stream, expertSlots: 2)
            let dense = try SessionPlan(model, StreamPlanBuilder.plan(for: model), extra: 600_000)
            let (cost, denseCost) = (PassCost(plan), PassCost(dense))
            #expect(cost.bytes == plan.denseBytes && denseCost.bytes == dense.passBytes && dense.experts == nil)
            #expect(cost.experts.map(\.bytes) == plan.requests.experts.layers.map(\.byteCount))
            let weights = ([cost.body.weights] + cost.experts.map(\.weights)).reduce([:]) { sum, part in
                sum.merging(part, uniquingKeysWith: +)
            }
            #expect(weights == denseCost.body.weights && cost.head.weights == denseCost.head.weights)
            #expect(cost.experts.allSatisfy { $0.cachedShare == 1.0 / 3 })
            #expect(plan.experts.map { abs($0.cachedShare - 1.0 / 3) < 1e-12 } == true)
            #expect(try plan.thoroughForecast().step.seconds != nil)
        }
    }
}
