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

/// Memory for experts that stay between passes: slots as large as the largest expert as stored, each layer its own.
///
/// Every layer has the same number of slots, and none takes another's: passes come to the layers in turn, so in a cache
/// shared by all, what has not been used for longest, and gives way, is what comes next.
struct ExpertCache: Sendable {
    private let experts: ExpertRequests
    private let memory: UntouchedMemory
    private let slotBytes: Int
    /// The first slot of each layer.
    private var firstSlots: [Int] = []
    private var layers: [ExpertReplacement] = []

    /// Room for `slotsPerLayer` experts of each layer, or all it has if they are fewer. Throws `.limit`.
    init(
        _ experts: ExpertRequests, slotsPerLayer: Int, halfLife: Double = ExpertReplacement.defaultHalfLife
    ) throws(LaminaError) {
        self.experts = experts
        slotBytes = experts.largestByteCount
        var slotCount = 0
        for count in experts.counts {
            firstSlots.append(slotCount)
            slotCount += min(slotsPerLayer, count)
            layers.append(ExpertReplacement(experts: count, slots: slotsPerLayer, halfLife: halfLife))
        }
        memory = try UntouchedMemory(count: slotCount * slotBytes)
    }

    /// Bytes such a cache takes.
    static func byteCount(slotsPerLayer: Int, counts: [Int], slotBytes: Int) -> Int {
        counts.reduce(0) { $0 + min(slotsPerLayer, $1) } * slotBytes
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
