/// The ids of short pieces of text that were encoded before; of two that fall on the same place the later one stays.
///
/// Its size never changes, so that no text makes it grow, and a hit touches one cache line.
final class WordCache: @unchecked Sendable {
    // Sendable is promised by the owner: a cache is used by one encoding at a time.

    /// Longest piece kept, in bytes.
    static let longestPiece = 31
    /// Most ids kept for a piece.
    static let mostIDs = 8
    private static let slotCount = 1 << 16
    private static let noID = UInt32.max

    private typealias Key = SIMD4<UInt64>
    private typealias IDs = SIMD8<UInt32>

    /// The piece, zeros, and its length in the last byte, whose highest bit marks segments.
    private let keys: UnsafeMutablePointer<Key>
    private let ids: UnsafeMutablePointer<IDs>

    init() {
        keys = .allocate(capacity: WordCache.slotCount)
        ids = .allocate(capacity: WordCache.slotCount)
        // No piece is empty, so a key of zeros is a free place.
        keys.initialize(repeating: .zero, count: WordCache.slotCount)
        ids.initialize(repeating: IDs(repeating: WordCache.noID), count: WordCache.slotCount)
    }

    deinit {
        keys.deallocate()
        ids.deallocate()
    }

    /// Where a piece belongs.
    struct Place {
        fileprivate var key: SIMD4<UInt64>
        fileprivate var slot: Int
    }

    /// The place of a piece, which must not be empty; `nil` if it is too long. Segments of pieces have places of their
    /// own, because a model may treat whole pieces in another way.
    @inline(__always)
    func place(of piece: UnsafeBufferPointer<UInt8>, isSegment: Bool = false) -> Place? {
        guard piece.count <= WordCache.longestPiece, let start = piece.baseAddress else { return nil }
        var key = Key.zero
        withUnsafeMutableBytes(of: &key) { bytes in
            bytes.baseAddress?.copyMemory(from: start, byteCount: piece.count)
            bytes[31] = UInt8(truncatingIfNeeded: piece.count) | (isSegment ? 0x80 : 0)
        }
        let hash = ByteHash.folded(key[0] ^ key[2] &* 0x9E37_79B9_7F4A_7C15) ^ ByteHash.folded(key[1] ^ key[3] << 1)
        return Place(key: key, slot: Int(truncatingIfNeeded: hash) & (WordCache.slotCount - 1))
    }

    /// Appends the ids kept at `place`; `false` if there are none.
    @inline(__always)
    func append(at place: Place, to output: inout [Int]) -> Bool {
        guard keys[place.slot] == place.key else { return false }
        let found = ids[place.slot]
        for index in 0..<WordCache.mostIDs {
            guard found[index] != WordCache.noID else { break }
            output.append(Int(found[index]))
        }
        return true
    }

    /// Keeps `found` at `place` if they are few enough.
    func insert(_ found: ArraySlice<Int>, at place: Place) {
        guard found.count <= WordCache.mostIDs else { return }
        var packed = IDs(repeating: WordCache.noID)
        for (index, id) in found.enumerated() { packed[index] = UInt32(truncatingIfNeeded: id) }
        keys[place.slot] = place.key
        ids[place.slot] = packed
    }
}
