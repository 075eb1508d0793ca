/// Where the experts of a plan stand among its requests; empty for dense models.
struct ExpertRequests: Sendable, Equatable {
    /// A layer with a router.
    struct Layer: Sendable, Equatable {
        /// The model's number for it.
        var layer: Int
        /// Indices into `StreamPlan.experts`.
        var experts: Range<Int>
        /// Indices into `RequestPlan.requests`: those of all its experts, nothing in between.
        var requests: Range<Int>
        /// Bytes of these requests.
        var byteCount: Int
    }

    /// In the order of a pass.
    private(set) var layers: [Layer] = []
    /// Per expert, indices into `RequestPlan.requests`.
    private(set) var requests: [Range<Int>] = []
    /// Bytes of each expert's requests, a multiple of the page size.
    private(set) var byteCounts: [Int] = []

    init() {}

    /// The requests `reads` of a pass by the expert they name.
    init(_ experts: [PlannedExpert], _ reads: [ReadRequest]) {
        requests = [Range<Int>](repeating: 0..<0, count: experts.count)
        byteCounts = [Int](repeating: 0, count: experts.count)
        for (index, read) in reads.enumerated() {
            guard let expert = read.expert else { continue }
            let first = requests[expert].isEmpty ? index : requests[expert].lowerBound
            requests[expert] = first..<(index + 1)
            byteCounts[expert] += read.byteCount
        }
        for (index, expert) in experts.enumerated() {
            if layers.last?.layer != expert.layer {
                let first = requests[index].lowerBound
                layers.append(
                    Layer(layer: expert.layer, experts: index..<index, requests: first..<first, byteCount: 0))
            }
            let last = layers.count - 1
            layers[last].experts = layers[last].experts.lowerBound..<(index + 1)
            layers[last].requests = layers[last].requests.lowerBound..<requests[index].upperBound
            layers[last].byteCount += byteCounts[index]
        }
    }

    var byteCount: Int { byteCounts.reduce(0, +) }
    /// Bytes of the largest expert: what a place for any of them must hold.
    var largestByteCount: Int { byteCounts.max() ?? 0 }
    /// Per layer.
    var counts: [Int] { layers.map(\.experts.count) }
}
