/// A hash table from a pair of 32-bit numbers to two others: the merges of a byte-pair encoding (pair of ids to rank
/// and new id) and the edges of a trie (node and byte to node).
struct PairTable: Sendable {
    /// What a pair leads to.
    struct Value: Sendable {
        var rank: UInt32
        var id: UInt32
    }

    private struct Slot {
        var left: UInt32
        var right: UInt32
        var value: Value
    }

    /// No id reaches it, so it marks a free slot.
    private static let free = UInt32.max

    private var slots: [Slot]
    private var shift: UInt64
    private(set) var count = 0
    /// Differs from run to run, so that a hostile file cannot make pairs collide; results do not depend on it.
    private let seed: UInt64

    init(minimumCapacity: Int = 0) {
        var capacity = 64
        while capacity < minimumCapacity * 2 { capacity *= 2 }
        slots = PairTable.freeSlots(capacity)
        shift = UInt64(64 - capacity.trailingZeroBitCount)
        seed = UInt64.random(in: .min ... .max)
    }

    private static func freeSlots(_ capacity: Int) -> [Slot] {
        [Slot](repeating: Slot(left: free, right: free, value: Value(rank: 0, id: 0)), count: capacity)
    }

    @inline(__always)
    private func home(_ left: UInt32, _ right: UInt32) -> Int {
        var hash = (UInt64(left) << 32 | UInt64(right)) ^ seed
        hash = (hash ^ hash >> 32) &* 0x9E37_79B9_7F4A_7C15
        hash = (hash ^ hash >> 29) &* 0xBF58_476D_1CE4_E5B9
        return Int(truncatingIfNeeded: hash >> shift)
    }

    /// What the pair leads to.
    subscript(left: UInt32, right: UInt32) -> Value? {
        @inline(__always) get {
            slots.withUnsafeBufferPointer { slots in
                var index = home(left, right)
                while slots[index].left != PairTable.free {
                    if slots[index].left == left && slots[index].right == right { return slots[index].value }
                    index = (index + 1) & (slots.count - 1)
                }
                return nil
            }
        }
    }

    /// Sets what the pair leads to.
    mutating func insert(_ left: UInt32, _ right: UInt32, _ value: Value) {
        var index = home(left, right)
        while slots[index].left != PairTable.free {
            if slots[index].left == left && slots[index].right == right {
                slots[index].value = value
                return
            }
            index = (index + 1) & (slots.count - 1)
        }
        slots[index] = Slot(left: left, right: right, value: value)
        count += 1
        if count * 2 > slots.count { grow() }
    }

    private mutating func grow() {
        let old = slots
        slots = PairTable.freeSlots(old.count * 2)
        shift -= 1
        for slot in old where slot.left != PairTable.free {
            var index = home(slot.left, slot.right)
            while slots[index].left != PairTable.free { index = (index + 1) & (slots.count - 1) }
            slots[index] = slot
        }
    }
}
