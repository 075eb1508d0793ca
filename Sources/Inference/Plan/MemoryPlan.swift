import CSystem
import LayerStore
import TensorCore

/// How the memory budget is divided: what must be there first, then width of prefill, read-ahead, resident chunks.
struct MemoryPlan: Sendable, Equatable {
    /// Positions of the prompt per pass.
    var columns: Int
    /// Slots in the prefetcher's ring.
    var slots: Int
    /// Bytes for resident chunks.
    var residentBytes: Int
    /// Residents are kept decoded: everything fits that way, and later passes then only multiply.
    var keepsDecoded: Bool

    /// Read-ahead beyond this does not make a disk faster.
    static let largestRing = 64 << 20
    /// And shares what memory is left with residents, which make it read less.
    static let ringShare = 4
    /// Slots that keep readers and workers busy at the same time.
    static let usefulSlots = 8
    /// Passes from which keeping everything decoded pays for filling more memory.
    static let passesForDecoded = 4
    /// Wider prefill passes gain nothing more per byte read.
    static let mostColumns = 4096
    /// Thread stacks, the allocator's slack, the system's tables, and pages of the program itself that are read later.
    static let overhead = 16 << 20

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
        /// Passes after the prompt.
        var laterPasses: Int
        var slotBytes: Int
        /// Bytes of all reads of a pass, as stored and decoded.
        var passBytes: Int
        var decodedPassBytes: Int
        var reads: Int
    }

    /// Divides `budget` bytes. Throws `.limit` with the smallest budget that works.
    init(_ demand: Demand, budget: Int) throws(LaminaError) {
        let base = demand.used + demand.fixed + MemoryPlan.overhead
        let minimum = base + demand.perColumn + 2 * demand.slotBytes
        guard budget >= minimum else {
            throw LaminaError(
                .limit, "--memory", "the budget is too small for this model and context",
                expected: "at least \(MemoryPlan.rounded(minimum)) MiB", found: "\(budget >> 20) MiB",
                hint: "raise --memory, or lower --ctx or --threads")
        }
        var left = budget - minimum
        // Half of what is left for a wider prefill, which saves whole passes; the rest for the ring and residents.
        let extra = min(min(demand.wantedColumns, MemoryPlan.mostColumns) - 1, left / 2 / max(1, demand.perColumn))
        columns = 1 + max(0, extra)
        left -= (columns - 1) * demand.perColumn
        slots = MemoryPlan.slots(demand, left: left)
        left -= (slots - 2) * demand.slotBytes
        let passes = dividedUp(demand.wantedColumns, by: columns) + demand.laterPasses
        keepsDecoded = passes >= MemoryPlan.passesForDecoded && left >= demand.decodedPassBytes
        residentBytes = keepsDecoded ? demand.decodedPassBytes : passes > 1 ? min(left, demand.passBytes) : 0
    }

    /// Slots of the ring: two are in the minimum already.
    private static func slots(_ demand: Demand, left: Int) -> Int {
        let useful = max(left / ringShare, min(left, (usefulSlots - 2) * demand.slotBytes))
        let wanted = min(max(2, largestRing / demand.slotBytes), max(2, demand.reads))
        return 2 + max(0, min(wanted - 2, useful / demand.slotBytes))
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
