import LayerStore
import TensorCore

/// Where a wanted expert's bytes are, or will be.
enum ExpertPlace: Sendable, Equatable {
    /// In memory since an earlier pass.
    case cached
    /// Read by this pass, and kept for later ones.
    case admitted
    /// Read by this pass, and given back.
    case streamed
}

/// How many places experts that stay in memory have, layer by layer.
struct ExpertSlots: Sendable, Equatable {
    /// Of every layer.
    var perLayer = 0
    /// Layers, the first ones, that have one more: what is left after that does not do for all.
    var layersWithMore = 0

    var isEmpty: Bool { perLayer == 0 && layersWithMore == 0 }

    /// Of a layer with so many experts, the `layer`-th that has some.
    func count(layer: Int, experts: Int) -> Int { min(experts, perLayer + (layer < layersWithMore ? 1 : 0)) }

    /// Bytes of all places for layers of so many experts.
    func byteCount(experts counts: [Int], slotBytes: Int) -> Int {
        counts.indices.reduce(0) { $0 + count(layer: $1, experts: counts[$1]) } * slotBytes
    }
}

/// Memory for experts that stay between passes: slots as large as the largest expert as stored, each layer its own.
///
/// Layers have the same number of slots, or one more, and none takes another's: passes come to the layers in turn, so in a cache
/// shared by all, what has not been used for longest, and gives way, is what comes next.
struct ExpertCache: Sendable {
    private let experts: ExpertRequests
    private let memory: UntouchedMemory
    private let slotBytes: Int
    /// The first slot of each layer.
    private var firstSlots: [Int] = []
    private var layers: [ExpertReplacement] = []

    /// Throws `.limit`.
    init(
        _ experts: ExpertRequests, slots: ExpertSlots, halfLife: Double = ExpertReplacement.defaultHalfLife
    ) throws(LaminaError) {
        self.experts = experts
        slotBytes = experts.largestByteCount
        var slotCount = 0
        for (layer, count) in experts.counts.enumerated() {
            firstSlots.append(slotCount)
            let slots = slots.count(layer: layer, experts: count)
            slotCount += slots
            layers.append(ExpertReplacement(experts: count, slots: slots, halfLife: halfLife))
        }
        memory = try UntouchedMemory(count: slotCount * slotBytes)
    }

    var byteCount: Int { memory.count }

    /// Whether this is an expert's request, and there is a slot for every expert of its layer.
    func holds(_ request: ReadRequest) -> Bool {
        guard let expert = request.expert,
            let layer = experts.layers.firstIndex(where: { $0.experts.contains(expert) })
        else { return false }
        return layers[layer].holdsAll
    }

    /// One pass wants these experts of a layer, whose numbers in the plan rise. Says what becomes of each: where its
    /// requests are to be read to, one behind the other, and which expert was there; nothing for one that is in memory
    /// or streamed.
    mutating func route(
        layer: Int, _ wanted: [Int],
        note: (_ expert: Int, _ place: ExpertPlace, _ start: UnsafeMutableRawPointer?, _ evicted: Int?) -> Void
    ) {
        let first = experts.layers[layer].experts.lowerBound
        layers[layer].route(wanted.lazy.map { $0 - first })
        for (expert, outcome) in zip(wanted, layers[layer].outcomes) {
            switch outcome {
            case .cached: note(expert, .cached, nil, nil)
            case .streamed: note(expert, .streamed, nil, nil)
            case .admitted(let slot, let evicted):
                let start = memory.start + (firstSlots[layer] + slot) * slotBytes
                note(expert, .admitted, start, evicted.map { $0 + first })
            }
        }
    }
}
