import TensorCore

/// The end of a zip archive: where its directory is, and how many entries that has.
struct ZipEnd {
    let directory: ByteRange
    let entryCount: Int

    private static let recordBytes: UInt64 = 22
    private static let locatorBytes: UInt64 = 20
    private static let record64Bytes: UInt64 = 56

    /// Reads the last records of `file`, with their zip64 forms if there are any. Throws `.malformed`, `.io`.
    init(_ file: OpenFile, fileSize: UInt64) throws(LaminaError) {
        func failure(_ problem: String, expected: String? = nil, found: String? = nil) -> LaminaError {
            LaminaError(.malformed, file.path, problem, expected: expected, found: found)
        }
        let recordStart = fileSize >= ZipEnd.recordBytes ? fileSize - ZipEnd.recordBytes : 0
        let record = try file.bytes(recordStart..<fileSize)
        guard record.count == Int(ZipEnd.recordBytes), record.starts(with: [0x50, 0x4B, 5, 6]),
            record.littleEndian(UInt16.self, at: 20) == 0
        else {
            throw LaminaError(
                .malformed, file.path, "the zip archive has no end", expected: "an end record as the last 22 bytes",
                hint: "the download may be incomplete; get the file again")
        }
        guard record.littleEndian(UInt32.self, at: 4) == 0,
            record.littleEndian(UInt16.self, at: 8) == record.littleEndian(UInt16.self, at: 10)
        else { throw failure("the zip archive is one of several disks") }
        var count = UInt64(record.littleEndian(UInt16.self, at: 10))
        var size = UInt64(record.littleEndian(UInt32.self, at: 12))
        var offset = UInt64(record.littleEndian(UInt32.self, at: 16))
        var end = recordStart
        if let wide = try ZipEnd.wideRecord(file, before: recordStart) {
            let agrees =
                (count == wide.count || count == 0xFFFF) && (size == wide.size || size == 0xFFFF_FFFF)
                && (offset == wide.offset || offset == 0xFFFF_FFFF)
            guard agrees else { throw failure("the two end records of the zip archive contradict each other") }
            (count, size, offset, end) = wide
        }
        guard Checked.add(offset, size) == end else {
            throw failure(
                "the zip archive's directory does not end where its end records begin", expected: "\(end)",
                found: "\(size) bytes from \(offset) on")
        }
        guard size <= ZipArchive.maximumDirectoryBytes, count <= ZipArchive.maximumEntries else {
            throw failure(
                "the zip archive's directory is too large", expected: "at most \(ZipArchive.maximumEntries) entries",
                found: "\(count) in \(size) bytes")
        }
        directory = offset..<end
        entryCount = Int(count)
    }

    /// The zip64 end record, if its locator stands before the end record; `end` is where it begins.
    private static func wideRecord(
        _ file: OpenFile, before end: UInt64
    ) throws(LaminaError) -> (count: UInt64, size: UInt64, offset: UInt64, end: UInt64)? {
        guard end >= locatorBytes + record64Bytes else { return nil }
        let locator = try file.bytes((end - locatorBytes)..<end)
        guard locator.starts(with: [0x50, 0x4B, 6, 7]) else { return nil }
        let start = end - locatorBytes - record64Bytes
        let record = try file.bytes(start..<(start + record64Bytes))
        guard locator.littleEndian(UInt32.self, at: 4) == 0, locator.littleEndian(UInt32.self, at: 16) == 1,
            locator.littleEndian(UInt64.self, at: 8) == start, record.starts(with: [0x50, 0x4B, 6, 6]),
            record.littleEndian(UInt64.self, at: 4) == record64Bytes - 12,
            record.littleEndian(UInt64.self, at: 16) == 0,
            record.littleEndian(UInt64.self, at: 24) == record.littleEndian(UInt64.self, at: 32)
        else {
            throw LaminaError(
                .malformed, file.path, "the zip64 end record is not what it should be",
                expected: "one record of one disk right before its locator", bytes: start..<end)
        }
        return (
            record.littleEndian(UInt64.self, at: 32), record.littleEndian(UInt64.self, at: 40),
            record.littleEndian(UInt64.self, at: 48), start
        )
    }
}
