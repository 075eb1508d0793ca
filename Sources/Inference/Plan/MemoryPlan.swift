import CSystem
import LayerStore
import TensorCore

/// How the memory budget is divided: what must be there first, then width of prefill, read-ahead, resident weights,
/// experts.
struct MemoryPlan: Sendable, Equatable {
    /// Columns per pass.
    var columns: Int
    /// Bytes that chunks are joined up to for one request, at most.
    var requestBytes: Int
    /// Bytes for the ring's slots.
    var ringBytes: Int
    /// Bytes for resident weights, those of experts apart.
    var residentBytes: Int
    /// Places where routed experts stay, and their bytes.
    var expertSlots: ExpertSlots
    var expertBytes: Int
    /// Residents are kept decoded: everything fits that way, and later passes then only multiply.
    var keepsDecoded: Bool
    /// Bytes for chunks of an embedding that is not the head's matrix, kept as they are looked up.
    var embeddingBytes: Int
    /// Chunks of the embedding read at a time.
    var lookupSlots: Int
    /// Passes over the weights.
    var passes: Int
    /// Bytes in use in all.
    var totalBytes: Int
    /// The smallest budget that works.
    var minimumBytes: Int

    /// Read-ahead beyond this does not make a disk faster.
    private static let largestRing = 16 * RequestPlan.wantedBytes
    /// But where nothing is read twice memory has no better use: a wide pass is slowed down by multiplying up to the
    /// head, which one column of each sequence goes through, and by the disk from there on.
    private static let largestRingOfOnePass = 64 * RequestPlan.wantedBytes
    /// And shares what memory is left with residents, which make it read less.
    private static let ringShare = 4
    /// The prompt's embeddings are looked up once; what is read faster by that is little.
    private static let lookupShare = 16
    /// Requests in flight that keep a disk busy; fewer are larger than they need be.
    private static let usefulSlots = 8
    /// Passes from which keeping everything decoded pays for filling more memory.
    private static let passesForDecoded = 4
    /// Wider prefill passes gain nothing more per byte read.
    static let mostColumns = 4096
    /// Thread stacks, the allocator's slack, the system's buffers, and the files of the program and its libraries, whose
    /// pages in the cache a cgroup counts whether they are mapped or not.
    private static let overhead = 36 << 20
    /// The system's page tables take 8 bytes for every 4,096, and count as this process's memory.
    private static let pageTableShare = 512

    /// What a decoder needs.
    struct Demand: Sendable {
        /// Bytes in use before anything below is allocated.
        var used: Int
        /// Weight-independent buffers: KV cache, norms, logits, decoders, attention scores.
        var fixed: Int
        /// Activations and angles for one column.
        var perColumn: Int
        /// Columns that a pass can use.
        var wantedColumns: Int
        /// Passes over the weights after the first.
        var laterPasses: Int
        /// Bytes of the largest chunk as stored.
        var chunkBytes: Int
        /// Bytes of the requests of every pass as stored, experts apart, and of all chunks decoded.
        var passBytes: Int
        var decodedPassBytes: Int
        /// Experts of each layer that has some, and bytes of the largest as stored.
        var expertCounts: [Int] = []
        var largestExpertBytes = 0
        /// Whether multiplying decoded chunks is faster than decoding resident ones each time.
        var isDecodedFaster: Bool
        /// Bytes of the largest chunk of the embedding, of which there is room for one in `fixed`.
        var lookupBytes: Int
        /// Bytes of the embedding where it is not part of the pass.
        var embeddingBytes: Int

        /// Bytes of so many places for experts.
        func expertBytes(_ slots: ExpertSlots) -> Int {
            slots.byteCount(experts: expertCounts, slotBytes: largestExpertBytes)
        }
        /// Bytes of all weights as they are kept as stored.
        var storedBytes: Int { passBytes + expertBytes(ExpertSlots(perLayer: .max)) }
    }

    /// Divides `budget` bytes. Throws `.limit` with the smallest budget that works.
    init(_ demand: Demand, budget: Int) throws(LaminaError) {
        let base = demand.used + demand.fixed + MemoryPlan.overhead
        minimumBytes = base + demand.perColumn + 2 * demand.chunkBytes
        guard budget >= minimumBytes else {
            throw LaminaError(
                .limit, "--memory", "the budget is too small for this model and context",
                expected: "at least \(MemoryPlan.rounded(minimumBytes)) MiB", found: "\(budget >> 20) MiB",
                hint: "raise --memory, or lower --ctx or --threads; in a batch, fewer or shorter prompts")
        }
        var left = budget - minimumBytes
        left -= left / MemoryPlan.pageTableShare
        let spare = budget - minimumBytes - left
        // Half of what is left for wider passes, which save whole passes; the rest for the ring and residents.
        let extra = min(min(demand.wantedColumns, MemoryPlan.mostColumns) - 1, left / 2 / max(1, demand.perColumn))
        columns = 1 + max(0, extra)
        left -= (columns - 1) * demand.perColumn
        let lookups = min(
            min(columns, ChunkFetcher.mostSlots) - 1, left / MemoryPlan.lookupShare / max(1, demand.lookupBytes))
        lookupSlots = 1 + max(0, lookups)
        left -= (lookupSlots - 1) * demand.lookupBytes
        passes = demand.laterPasses + dividedUp(demand.wantedColumns, by: columns)
        let ring = MemoryPlan.ring(
            demand, left: left, largest: passes > 1 ? MemoryPlan.largestRing : MemoryPlan.largestRingOfOnePass)
        let leftWithRing = left - (ring.bytes - 2 * demand.chunkBytes)
        keepsDecoded =
            demand.isDecodedFaster && passes >= MemoryPlan.passesForDecoded
            && leftWithRing >= demand.decodedPassBytes
        let isAllResident = keepsDecoded || (passes > 1 && left >= demand.storedBytes)
        // What is resident as stored is read straight to its place: then the ring has nothing to do.
        let needsRing = keepsDecoded || !isAllResident
        ringBytes = needsRing ? ring.bytes : 2 * demand.chunkBytes
        requestBytes = needsRing ? ring.requestBytes : RequestPlan.wantedBytes
        if needsRing { left = leftWithRing }
        residentBytes = keepsDecoded ? demand.decodedPassBytes : passes > 1 ? min(left, demand.passBytes) : 0
        left -= residentBytes
        // What every pass needs first, then what some need.
        (expertSlots, expertBytes) =
            keepsDecoded || passes == 1 ? (ExpertSlots(), 0) : MemoryPlan.experts(demand, left: left)
        left -= expertBytes
        embeddingBytes = isAllResident ? min(left, demand.embeddingBytes) : 0
        totalBytes = budget - spare - left + embeddingBytes
    }

    /// Bytes of the ring, of which two chunks are in the minimum already, and of a request.
    private static func ring(_ demand: Demand, left: Int, largest: Int) -> (bytes: Int, requestBytes: Int) {
        let smallest = 2 * demand.chunkBytes
        let useful = max(left / ringShare, min(left, (usefulSlots - 2) * demand.chunkBytes))
        let bytes = min(smallest + useful, max(smallest, largest), max(smallest, demand.storedBytes))
        return (bytes, max(demand.chunkBytes, min(RequestPlan.wantedBytes, bytes / usefulSlots)))
    }

    /// As many places for experts as there is room for, and their bytes.
    private static func experts(_ demand: Demand, left: Int) -> (slots: ExpertSlots, bytes: Int) {
        var slots = ExpertSlots(perLayer: demand.expertCounts.max() ?? 0)
        while demand.expertBytes(slots) > left { slots.perLayer -= 1 }
        func more(_ layers: Int) -> ExpertSlots { ExpertSlots(perLayer: slots.perLayer, layersWithMore: layers) }
        var layers = 0
        while layers < demand.expertCounts.count, demand.expertBytes(more(layers + 1)) <= left { layers += 1 }
        // Where all experts of all layers have places there is nothing to have more of.
        if demand.expertBytes(more(layers)) > demand.expertBytes(slots) { slots = more(layers) }
        return (slots, demand.expertBytes(slots))
    }

    private static func rounded(_ bytes: Int) -> Int { (bytes + (1 << 20) - 1) >> 20 }

    /// The budget without `--memory`: what is available now less a margin of an eighth for everybody else, plus what
    /// this process holds already; and no more than seven eighths of what a cgroup allows, which kills what takes more.
    static func defaultBudget(used: Int) -> Int {
        let available = Int(clamping: lamina_available_memory_bytes())
        let budget = available > 0 ? used + available - available / 8 : 1 << 30
        let limit = Int(clamping: lamina_cgroup_memory_limit_bytes("/sys/fs/cgroup", "/proc/self/cgroup"))
        return limit > 0 ? min(budget, limit - limit / 8) : budget
    }
}
