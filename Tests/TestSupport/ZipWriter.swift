/// Writes zip archives entry by entry, right ones and wrong ones.
public struct ZipWriter: Sendable {
    /// What the records say of an entry; changed by tests that want them wrong.
    public struct Entry: Sendable {
        public var name: [UInt8]
        public var data: [UInt8]
        public var flags: UInt16 = 0
        public var method: UInt16 = 0
        public var checksum: UInt32
        /// Stated in the directory.
        public var size: UInt64
        public var storedSize: UInt64
        public var localName: [UInt8]
        /// Bytes of the local header's extra field, as torch aligns data with.
        public var padding = 0
        /// Sizes and offset in a zip64 field of the directory.
        public var isWide = false
        /// Stated offset of the local header instead of the true one.
        public var offset: UInt64?

        public init(_ name: String, _ data: [UInt8]) {
            self.name = Array(name.utf8)
            self.data = data
            checksum = ZipWriter.checksum(data)
            size = UInt64(data.count)
            storedSize = size
            localName = self.name
        }

        fileprivate var hasDescriptor: Bool { flags & 8 != 0 }
    }

    public var entries: [Entry]
    /// Whether a zip64 end record and its locator are written, as torch always does.
    public var hasWideEnd = true
    public var entryCount: UInt64
    public var disk: UInt16 = 0
    public var comment: [UInt8] = []
    /// Between the entries and the directory.
    public var gap: [UInt8] = []

    public init(_ entries: [Entry]) {
        self.entries = entries
        entryCount = UInt64(entries.count)
    }

    public var bytes: [UInt8] {
        var bytes: [UInt8] = []
        var offsets: [UInt64] = []
        for entry in entries {
            offsets.append(UInt64(bytes.count))
            bytes += local(entry)
        }
        bytes += gap
        let start = UInt64(bytes.count)
        for (entry, offset) in zip(entries, offsets) { bytes += record(entry, offset: entry.offset ?? offset) }
        let end = UInt64(bytes.count)
        if hasWideEnd {
            bytes += Array("PK".utf8) + [6, 6] + littleEndian(UInt64(44)) + littleEndian(UInt32(0x2D_0000))
            bytes += littleEndian(UInt64(disk)) + littleEndian(entryCount) + littleEndian(entryCount)
            bytes += littleEndian(end - start) + littleEndian(start)
            bytes += Array("PK".utf8) + [6, 7] + littleEndian(UInt32(0)) + littleEndian(end) + littleEndian(UInt32(1))
        }
        bytes += Array("PK".utf8) + [5, 6] + littleEndian(disk) + littleEndian(UInt16(0))
        let count = UInt16(truncatingIfNeeded: min(entryCount, 0xFFFF))
        bytes += littleEndian(count) + littleEndian(count)
        bytes += littleEndian(UInt32(truncatingIfNeeded: end - start)) + littleEndian(UInt32(truncatingIfNeeded: start))
        return bytes + littleEndian(UInt16(comment.count)) + comment
    }

    private func local(_ entry: Entry) -> [UInt8] {
        var bytes: [UInt8] = Array("PK".utf8) + [3, 4, 20, 0] + littleEndian(entry.flags) + littleEndian(entry.method)
        bytes += [0, 0, 0, 0]
        let size = UInt32(truncatingIfNeeded: entry.data.count)
        bytes += entry.hasDescriptor ? [UInt8](repeating: 0, count: 12) : littleEndian(entry.checksum)
        if !entry.hasDescriptor { bytes += littleEndian(size) + littleEndian(size) }
        bytes += littleEndian(UInt16(entry.localName.count)) + littleEndian(UInt16(entry.padding))
        bytes += entry.localName + [UInt8](repeating: 0x5A, count: entry.padding) + entry.data
        guard entry.hasDescriptor else { return bytes }
        return bytes + Array("PK".utf8) + [7, 8] + littleEndian(entry.checksum) + littleEndian(size)
            + littleEndian(size)
    }

    private func record(_ entry: Entry, offset: UInt64) -> [UInt8] {
        let numbers = [entry.storedSize, entry.size, offset]
        let narrow = numbers.map { entry.isWide ? UInt32.max : UInt32(truncatingIfNeeded: $0) }
        // In the wide field the size comes before the stored one.
        let wide = [numbers[1], numbers[0], numbers[2]].flatMap { littleEndian($0) }
        let extra = entry.isWide ? littleEndian(UInt16(1)) + littleEndian(UInt16(wide.count)) + wide : []
        var bytes: [UInt8] = Array("PK".utf8) + [1, 2, 0, 0, 20, 0] + littleEndian(entry.flags)
        bytes += littleEndian(entry.method) + [0, 0, 0, 0] + littleEndian(entry.checksum)
        bytes += littleEndian(narrow[0]) + littleEndian(narrow[1])
        bytes += littleEndian(UInt16(entry.name.count)) + littleEndian(UInt16(extra.count)) + [0, 0]
        bytes += littleEndian(disk) + [0, 0, 0, 0, 0, 0] + littleEndian(narrow[2])
        return bytes + entry.name + extra
    }

    /// CRC-32, a bit at a time.
    public static func checksum(_ bytes: [UInt8]) -> UInt32 {
        var value = UInt32.max
        for byte in bytes {
            value ^= UInt32(byte)
            for _ in 0..<8 { value = value & 1 == 1 ? value >> 1 ^ 0xEDB8_8320 : value >> 1 }
        }
        return ~value
    }
}
