import TensorCore

/// The directory in front of a coded chunk's segments, which lie one behind the other and decode independently
/// (formats/shard.md, "exp-tier"; formats/ecq-tier.md).
struct SegmentDirectory {
    private let bytes: UnsafeRawBufferPointer
    let segmentCount: Int

    /// `nil` if the directory is not that of `segmentCount` adjacent segments, for a slot of `slotUnits`, that fill
    /// `bytes`.
    init?(_ bytes: UnsafeRawBufferPointer, segmentCount: Int, slotUnits: Int) {
        let directory = SegmentDirectory.byteCount(segmentCount: segmentCount)
        guard bytes.count >= directory, SegmentDirectory.word(bytes, 0) == segmentCount,
            SegmentDirectory.word(bytes, 4) == slotUnits
        else { return nil }
        var next = directory
        for segment in 0..<segmentCount {
            let offset = SegmentDirectory.word(bytes, 8 + 8 * segment)
            let size = SegmentDirectory.word(bytes, 12 + 8 * segment)
            guard offset == next, size > 0, size % 64 == 0, size <= bytes.count - offset else { return nil }
            next = offset + size
        }
        guard next == bytes.count else { return nil }
        self.bytes = bytes
        self.segmentCount = segmentCount
    }

    /// The bytes of one segment.
    func segment(_ index: Int) -> UnsafeRawBufferPointer {
        let offset = SegmentDirectory.word(bytes, 8 + 8 * index)
        return UnsafeRawBufferPointer(
            rebasing: bytes[offset..<(offset + SegmentDirectory.word(bytes, 12 + 8 * index))])
    }

    private static func word(_ bytes: UnsafeRawBufferPointer, _ offset: Int) -> Int {
        Int(UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self)))
    }

    /// Bytes before the first segment.
    static func byteCount(segmentCount: Int) -> Int { roundedUp(8 + 8 * segmentCount, to: 64) }

    /// Writes a chunk to `room`: `encode` makes each segment at the place it is given and returns its size, a multiple of
    /// 64. Returns the chunk's size.
    static func write(
        segmentCount: Int, slotUnits: Int, to room: UnsafeMutableRawPointer,
        _ encode: (_ segment: Int, _ place: UnsafeMutableRawPointer) -> Int
    ) -> Int {
        var next = byteCount(segmentCount: segmentCount)
        room.initializeMemory(as: UInt8.self, repeating: 0, count: next)
        room.storeBytes(of: UInt32(segmentCount).littleEndian, as: UInt32.self)
        room.storeBytes(of: UInt32(slotUnits).littleEndian, toByteOffset: 4, as: UInt32.self)
        for segment in 0..<segmentCount {
            let size = encode(segment, room + next)
            room.storeBytes(of: UInt32(next).littleEndian, toByteOffset: 8 + 8 * segment, as: UInt32.self)
            room.storeBytes(of: UInt32(size).littleEndian, toByteOffset: 12 + 8 * segment, as: UInt32.self)
            next += size
        }
        return next
    }
}
