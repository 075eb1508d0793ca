/// The experts of one layer, as far as the cost of passes is concerned. Which of them a pass wants is taken to be drawn
/// evenly: each column any `perToken` of them.
struct RoutedLayer: Sendable, Equatable {
    /// Experts, and those of them that each column is sent to.
    var count: Int
    var perToken: Int
    /// Stored bytes of all of them.
    var bytes: Int
    /// The share of them that stays in memory.
    var cachedShare: Double
    /// Weights of all of them, padding included, by how they are multiplied.
    var weights: [WeightForm: Int] = [:]

    /// The share of experts that a pass of `columns` is expected to want.
    func wantedShare(columns: Int) -> Double {
        count == 0 ? 0 : 1 - power(1 - Double(perToken) / Double(count), columns)
    }

    /// Columns that a wanted expert is expected to have.
    func columnsPerExpert(columns: Int) -> Int {
        let wanted = wantedShare(columns: columns) * Double(count)
        return wanted > 0 ? max(1, Int((Double(columns * perToken) / wanted).rounded())) : 0
    }
}

/// `base` to the power of `exponent`, by squaring.
func power(_ base: Double, _ exponent: Int) -> Double {
    var (result, power, rest) = (1.0, base, exponent)
    while rest > 0 {
        if rest & 1 == 1 { result *= power }
        power *= power
        rest >>= 1
    }
    return result
}

/// The experts of a session, for reports.
public struct ExpertPlan: Sendable, Equatable {
    /// Layers with a router, the most experts that one has, and those that each token is sent to.
    public var layers: Int
    public var count: Int
    public var perToken: Int
    /// Stored bytes of all experts, and of those that one token is sent to.
    public var bytes: Int
    public var bytesPerToken: Int
    /// Bytes of places that experts stay in, as stored, and the share of experts that stay in memory, decoded or not.
    public var cacheBytes: Int
    public var cachedShare: Double
}

extension SessionPlan {
    /// Layers with experts, without their weights.
    var routedLayers: [RoutedLayer] {
        requests.experts.layers.enumerated().map { index, layer in
            let count = layer.experts.count
            let slots = memory.expertSlots.count(layer: index, experts: count)
            return RoutedLayer(
                count: count, perToken: stream.expertsPerToken, bytes: layer.byteCount,
                cachedShare: memory.keepsDecoded ? 1 : Double(slots) / Double(max(1, count)))
        }
    }

    /// Bytes of experts that a pass of one column is expected to want, and to read once memory for experts is full.
    var routedBytes: (wanted: Int, read: Int) {
        routedLayers.reduce((0, 0)) { sum, layer in
            let wanted = Double(layer.bytes) * layer.wantedShare(columns: 1)
            return (sum.0 + Int(wanted), sum.1 + Int(wanted * (1 - layer.cachedShare)))
        }
    }

    /// `nil` for dense models.
    public var experts: ExpertPlan? {
        let layers = routedLayers
        guard let count = layers.map(\.count).max() else { return nil }
        let bytes = requests.experts.byteCount
        let cached = layers.reduce(0) { $0 + Double($1.bytes) * $1.cachedShare }
        return ExpertPlan(
            layers: layers.count, count: count, perToken: stream.expertsPerToken, bytes: bytes,
            bytesPerToken: routedBytes.wanted, cacheBytes: memory.expertBytes,
            cachedShare: cached / Double(max(1, bytes)))
    }
}
