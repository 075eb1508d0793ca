import TensorCore

/// The byte-pair encoding model over byte-level symbols: a piece of text starts as one symbol per byte, and the pair
/// with the lowest rank is merged, the leftmost first, until no pair has a merge.
struct BytePairEncoding: Sendable {
    /// No id: the byte has no symbol in the vocabulary.
    private static let absent = UInt32.max
    /// Up to this length searching all pairs for the lowest rank beats a heap.
    private static let longestScanned = 40

    /// The id of each byte's symbol.
    private let byteSymbols: [UInt32]
    private let merges: PairTable
    /// Whether a piece that is a token as a whole is taken without merging.
    private let ignoreMerges: Bool
    /// The model's own tokens come first in the vocabulary; added tokens, which only `AddedTokens` finds, follow.
    private let modelTokenCount: Int

    /// Throws `.malformed` if a merge names a token that is not in the vocabulary.
    init(vocabulary: Vocabulary, merges: MergeList, ignoreMerges: Bool) throws(LaminaError) {
        byteSymbols = (0...UInt8.max).map { byte in
            let symbol = String(Character(ByteLevelAlphabet.scalars[Int(byte)]))
            return vocabulary.id(of: symbol).map { UInt32(truncatingIfNeeded: $0) } ?? BytePairEncoding.absent
        }
        var table = PairTable(minimumCapacity: merges.count)
        for rank in 0..<merges.count {
            let merge = merges.merge(at: rank)
            let left = try BytePairEncoding.id(merge.left, in: vocabulary, merges, rank)
            let right = try BytePairEncoding.id(merge.right, in: vocabulary, merges, rank)
            let joined = try BytePairEncoding.id(merge.joined, in: vocabulary, merges, rank)
            // A pair listed twice keeps its last rank, as in the reference implementation.
            table.insert(left, right, PairTable.Value(rank: UInt32(truncatingIfNeeded: rank), id: joined))
        }
        self.merges = table
        self.ignoreMerges = ignoreMerges
        modelTokenCount = vocabulary.count
    }

    private static func id(
        _ token: Range<Int>, in vocabulary: Vocabulary, _ merges: MergeList, _ rank: Int
    ) throws(LaminaError) -> UInt32 {
        let id = merges.withToken(token) { vocabulary.id(of: $0) }
        guard let id else {
            let token = merges.withToken(token) { String(decoding: $0, as: UTF8.self) }
            throw LaminaError(
                .malformed, "", "model.merges[\(rank)] needs \(quoted(token)), which is not in model.vocab")
        }
        return UInt32(truncatingIfNeeded: id)
    }

    /// Whether every byte has a symbol, so that nothing is ever unknown.
    var coversAllBytes: Bool { !byteSymbols.contains(BytePairEncoding.absent) }

    /// Buffers that are used again for every piece of a text.
    struct Scratch {
        fileprivate var symbols: [UInt32] = []
        fileprivate var ranks: [UInt32] = []
    }

    /// Appends the ids of `piece` to `ids`. Bytes without a symbol are left out, as in the reference implementation.
    func encode(
        _ piece: UnsafeBufferPointer<UInt8>, vocabulary: Vocabulary, into ids: inout [Int], _ scratch: inout Scratch
    ) {
        if ignoreMerges {
            let id = ByteLevelAlphabet.encoded(piece).withUnsafeBufferPointer {
                vocabulary.id(of: $0, amongFirst: modelTokenCount)
            }
            if let id { return ids.append(id) }
        }
        scratch.symbols.removeAll(keepingCapacity: true)
        for byte in piece where byteSymbols[Int(byte)] != BytePairEncoding.absent {
            scratch.symbols.append(byteSymbols[Int(byte)])
        }
        if scratch.symbols.count <= BytePairEncoding.longestScanned {
            mergeByScanning(&scratch.symbols, &scratch.ranks)
            for symbol in scratch.symbols { ids.append(Int(symbol)) }
        } else {
            mergeByHeap(scratch.symbols, into: &ids)
        }
    }

    /// Merges in place, searching all pairs each time: quadratic, for short pieces.
    private func mergeByScanning(_ symbols: inout [UInt32], _ ranks: inout [UInt32]) {
        var count = symbols.count
        guard count > 1 else { return }
        ranks.removeAll(keepingCapacity: true)
        for index in 0..<(count - 1) { ranks.append(rank(symbols[index], symbols[index + 1])) }
        symbols.withUnsafeMutableBufferPointer { symbols in
            ranks.withUnsafeMutableBufferPointer { ranks in
                while count > 1 {
                    var best = 0
                    for index in 1..<max(count - 1, 1) where ranks[index] < ranks[best] { best = index }
                    guard ranks[best] != .max, let merged = merges[symbols[best], symbols[best + 1]] else { break }
                    symbols[best] = merged.id
                    for index in (best + 1)..<(count - 1) {
                        symbols[index] = symbols[index + 1]
                        ranks[index - 1] = ranks[index]
                    }
                    count -= 1
                    if best > 0 { ranks[best - 1] = rank(symbols[best - 1], symbols[best]) }
                    if best < count - 1 { ranks[best] = rank(symbols[best], symbols[best + 1]) }
                }
            }
        }
        symbols.removeLast(symbols.count - count)
    }

    @inline(__always)
    private func rank(_ left: UInt32, _ right: UInt32) -> UInt32 {
        merges[left, right]?.rank ?? .max
    }

    /// Merges a long piece with a heap of candidate merges over a linked list of symbols, in O(n log n).
    private func mergeByHeap(_ symbols: [UInt32], into ids: inout [Int]) {
        var list = SymbolList(symbols)
        var heap = MergeHeap()
        for index in 0..<(symbols.count - 1) {
            heap.append(rank: rank(symbols[index], symbols[index + 1]), position: index)
        }
        heap.build()
        while let candidate = heap.pop() {
            let position = candidate.position
            // The symbols may have changed since the candidate was noted; ranks are unique, so the rank tells.
            guard let next = list.next(after: position),
                let merged = merges[list.symbols[position], list.symbols[next]], merged.rank == candidate.rank
            else { continue }
            list.join(position, next, as: merged.id)
            if let previous = list.previous(before: position) {
                heap.push(rank: rank(list.symbols[previous], merged.id), position: previous)
            }
            if let following = list.next(after: position) {
                heap.push(rank: rank(merged.id, list.symbols[following]), position: position)
            }
        }
        list.append(to: &ids)
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

    func append(to ids: inout [Int]) {
        for (position, symbol) in symbols.enumerated() where nextOf[position] != SymbolList.joined {
            ids.append(Int(symbol))
        }
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
