import TensorCore

/// Merges adjacent symbols, the pair of the lowest rank first and of equal ranks the leftmost, until no pair has a
/// merge.
struct MergeEngine: Sendable {
    /// Up to this length searching all pairs for the lowest rank beats a heap.
    private static let longestScanned = 48

    private var merges: PairTable

    init(minimumCapacity: Int) { merges = PairTable(minimumCapacity: minimumCapacity) }

    /// The merges of a tokenizer.json. Throws `.malformed` if one names a token that is not in the vocabulary.
    init(_ list: MergeList, _ vocabulary: Vocabulary) throws(LaminaError) {
        merges = PairTable(minimumCapacity: list.count)
        for rank in 0..<list.count {
            let merge = list.merge(at: rank)
            let left = try MergeEngine.id(merge.left, in: vocabulary, list, rank)
            let right = try MergeEngine.id(merge.right, in: vocabulary, list, rank)
            let joined = try MergeEngine.id(merge.joined, in: vocabulary, list, rank)
            // A pair listed twice keeps its last rank, as in the reference implementation.
            add(left, right, rank: UInt32(truncatingIfNeeded: rank), joined: joined)
        }
    }

    private static func id(
        _ token: Range<Int>, in vocabulary: Vocabulary, _ list: MergeList, _ rank: Int
    ) throws(LaminaError) -> UInt32 {
        let id = list.withToken(token) { vocabulary.id(of: $0) }
        guard let id else {
            let token = list.withToken(token) { String(decoding: $0, as: UTF8.self) }
            throw LaminaError(
                .malformed, "", "model.merges[\(rank)] needs \(quoted(token)), which is not in model.vocab")
        }
        return UInt32(truncatingIfNeeded: id)
    }

    /// Lets `left` and `right` become `joined`.
    mutating func add(_ left: UInt32, _ right: UInt32, rank: UInt32, joined: UInt32) {
        merges.insert(left, right, PairTable.Value(rank: rank, id: joined))
    }

    /// Rank and result of a pair.
    @inline(__always)
    func merge(_ left: UInt32, _ right: UInt32) -> PairTable.Value {
        merges[left, right] ?? PairTable.Value(rank: .max, id: 0)
    }

    /// Buffers that are used again for every piece of a text.
    struct Scratch: Sendable {
        var symbols: [UInt32] = []
        /// What each symbol and the next one merge to, as far as the caller knows already.
        var pairs: [PairTable.Value] = []
    }

    /// Merges `scratch.symbols` in place; `scratch.pairs` is filled first if it is empty.
    func merge(_ scratch: inout Scratch) {
        let count = scratch.symbols.count
        guard count > 1 else { return scratch.pairs.removeAll(keepingCapacity: true) }
        if scratch.pairs.isEmpty {
            for index in 1..<count { scratch.pairs.append(merge(scratch.symbols[index - 1], scratch.symbols[index])) }
        }
        let left =
            count <= MergeEngine.longestScanned
            ? mergeByScanning(&scratch.symbols, &scratch.pairs) : mergeByHeap(&scratch.symbols, scratch.pairs)
        scratch.symbols.removeLast(count - left)
        scratch.pairs.removeAll(keepingCapacity: true)
    }

    /// Searches all pairs each time: quadratic, for short pieces. Returns how many symbols are left.
    private func mergeByScanning(_ symbols: inout [UInt32], _ pairs: inout [PairTable.Value]) -> Int {
        var count = symbols.count
        symbols.withUnsafeMutableBufferPointer { symbols in
            pairs.withUnsafeMutableBufferPointer { pairs in
                while count > 1 {
                    var best = 0
                    var bestRank = pairs[0].rank
                    for index in 1..<max(count - 1, 1) where pairs[index].rank < bestRank {
                        best = index
                        bestRank = pairs[index].rank
                    }
                    guard bestRank != .max else { return }
                    symbols[best] = pairs[best].id
                    for index in (best + 1)..<(count - 1) {
                        symbols[index] = symbols[index + 1]
                        pairs[index - 1] = pairs[index]
                    }
                    count -= 1
                    if best > 0 { pairs[best - 1] = merge(symbols[best - 1], symbols[best]) }
                    if best < count - 1 { pairs[best] = merge(symbols[best], symbols[best + 1]) }
                }
            }
        }
        return count
    }

    /// Merges a long piece with a heap of candidate merges over a linked list of symbols, in O(n log n). Returns how
    /// many symbols are left.
    private func mergeByHeap(_ symbols: inout [UInt32], _ pairs: [PairTable.Value]) -> Int {
        var list = SymbolList(symbols)
        var heap = MergeHeap()
        for index in 0..<(symbols.count - 1) { heap.append(rank: pairs[index].rank, position: index) }
        heap.build()
        while let candidate = heap.pop() {
            let position = candidate.position
            // The symbols may have changed since the candidate was noted; a merge of the same rank at the same place
            // is as good as the one noted.
            guard let next = list.next(after: position) else { continue }
            let merged = merge(list.symbols[position], list.symbols[next])
            guard merged.rank == candidate.rank else { continue }
            list.join(position, next, as: merged.id)
            if let previous = list.previous(before: position) {
                heap.push(rank: merge(list.symbols[previous], merged.id).rank, position: previous)
            }
            if let following = list.next(after: position) {
                heap.push(rank: merge(merged.id, list.symbols[following]).rank, position: position)
            }
        }
        return list.collect(into: &symbols)
    }
}

/// Symbols in a doubly linked list, by position in the piece they came from.
private struct SymbolList {
    private(set) var symbols: [UInt32]
    private var nextOf: [Int32]
    private var previousOf: [Int32]
    /// Taken into the symbol before.
    private static let joined: Int32 = -2
    private static let none: Int32 = -1

    init(_ symbols: [UInt32]) {
        self.symbols = symbols
        let last = symbols.count - 1
        nextOf = symbols.indices.map { $0 == last ? SymbolList.none : Int32(truncatingIfNeeded: $0 + 1) }
        previousOf = symbols.indices.map { Int32(truncatingIfNeeded: $0 - 1) }
    }

    func next(after position: Int) -> Int? {
        let next = nextOf[position]
        return next < 0 ? nil : Int(next)
    }

    func previous(before position: Int) -> Int? {
        let previous = previousOf[position]
        return previous < 0 ? nil : Int(previous)
    }

    mutating func join(_ position: Int, _ next: Int, as symbol: UInt32) {
        symbols[position] = symbol
        let following = nextOf[next]
        nextOf[position] = following
        if following >= 0 { previousOf[Int(following)] = Int32(truncatingIfNeeded: position) }
        nextOf[next] = SymbolList.joined
    }

    /// Writes what is left to the front of `output`; returns how many that is.
    func collect(into output: inout [UInt32]) -> Int {
        var count = 0
        for (position, symbol) in symbols.enumerated() where nextOf[position] != SymbolList.joined {
            output[count] = symbol
            count += 1
        }
        return count
    }
}

/// A binary heap of candidate merges: lowest rank first, then lowest position.
private struct MergeHeap {
    /// Rank in the high half, position in the low half, so that plain comparison orders them.
    private var keys: [UInt64] = []

    mutating func append(rank: UInt32, position: Int) {
        if rank != .max { keys.append(UInt64(rank) << 32 | UInt64(UInt32(truncatingIfNeeded: position))) }
    }

    mutating func build() {
        for index in stride(from: keys.count / 2 - 1, through: 0, by: -1) { sink(index) }
    }

    mutating func push(rank: UInt32, position: Int) {
        guard rank != .max else { return }
        append(rank: rank, position: position)
        var index = keys.count - 1
        while index > 0, keys[index] < keys[(index - 1) / 2] {
            keys.swapAt(index, (index - 1) / 2)
            index = (index - 1) / 2
        }
    }

    mutating func pop() -> (rank: UInt32, position: Int)? {
        guard let first = keys.first, let last = keys.popLast() else { return nil }
        if !keys.isEmpty {
            keys[0] = last
            sink(0)
        }
        return (UInt32(truncatingIfNeeded: first >> 32), Int(first & 0xFFFF_FFFF))
    }

    private mutating func sink(_ start: Int) {
        var index = start
        while true {
            var least = index
            for child in [2 * index + 1, 2 * index + 2] where child < keys.count && keys[child] < keys[least] {
                least = child
            }
            guard least != index else { return }
            keys.swapAt(index, least)
            index = least
        }
    }
}
