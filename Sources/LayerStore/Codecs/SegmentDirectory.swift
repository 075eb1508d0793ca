import TensorCore

/// The directory in front of a coded chunk's segments, which lie one behind the other and decode independently
/// (formats/shard.md, "exp-tier"; formats/ecq-tier.md).
struct SegmentDirectory {
    private let bytes: UnsafeRawBufferPointer
    let segmentCount: Int
    /// Behind the number of segments and what is said about the slot.
    private let tableOffset: Int

    /// `nil` if the directory is not that of `segmentCount` adjacent segments that fill `bytes`, or says other `facts`
    /// about the slot.
    init?(_ bytes: UnsafeRawBufferPointer, segmentCount: Int, facts: [Int]) {
        let directory = SegmentDirectory.byteCount(segmentCount: segmentCount, facts: facts)
        guard bytes.count >= directory, SegmentDirectory.word(bytes, 0) == segmentCount,
            facts.indices.allSatisfy({ SegmentDirectory.word(bytes, 4 + 4 * $0) == facts[$0] })
        else { return nil }
        tableOffset = 4 + 4 * facts.count
        var next = directory
        for segment in 0..<segmentCount {
            let offset = SegmentDirectory.word(bytes, tableOffset + 8 * segment)
            let size = SegmentDirectory.word(bytes, tableOffset + 4 + 8 * segment)
            guard offset == next, size > 0, size % 64 == 0, size <= bytes.count - offset else { return nil }
            next = offset + size
        }
        guard next == bytes.count else { return nil }
        self.bytes = bytes
        self.segmentCount = segmentCount
    }

    /// The bytes of one segment.
    func segment(_ index: Int) -> UnsafeRawBufferPointer {
        let offset = SegmentDirectory.word(bytes, tableOffset + 8 * index)
        return UnsafeRawBufferPointer(
            rebasing: bytes[offset..<(offset + SegmentDirectory.word(bytes, tableOffset + 4 + 8 * index))])
    }

    private static func word(_ bytes: UnsafeRawBufferPointer, _ offset: Int) -> Int {
        Int(UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self)))
    }

    /// Bytes before the first segment.
    static func byteCount(segmentCount: Int, facts: [Int]) -> Int {
        roundedUp(4 + 4 * facts.count + 8 * segmentCount, to: 64)
    }

    /// Writes a chunk to `room`: `encode` makes each segment at the place it is given and returns its size, a multiple of
    /// 64. Returns the chunk's size.
    static func write(
        segmentCount: Int, facts: [Int], to room: UnsafeMutableRawPointer,
        _ encode: (_ segment: Int, _ place: UnsafeMutableRawPointer) -> Int
    ) -> Int {
        var next = byteCount(segmentCount: segmentCount, facts: facts)
        room.initializeMemory(as: UInt8.self, repeating: 0, count: next)
        var offset = 0
        func append(_ word: Int) {
            room.storeBytes(of: UInt32(word).littleEndian, toByteOffset: offset, as: UInt32.self)
            offset += 4
        }
        append(segmentCount)
        for fact in facts { append(fact) }
        for segment in 0..<segmentCount {
            let size = encode(segment, room + next)
            append(next)
            append(size)
            next += size
        }
        return next
    }
}
