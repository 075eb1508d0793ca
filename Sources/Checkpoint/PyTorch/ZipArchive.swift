import TensorCore

/// The directory of a zip archive as torch.save writes it: entries stored as they are, one after another without holes,
/// one disk, no comment behind it. Everything it says is checked against the file before it is used; names are only
/// compared, never made a path.
///
/// Format: PKWARE's APPNOTE.TXT 6.3, sections 4.3 and 4.4.
struct ZipArchive {
    /// A checkpoint's file has an entry per storage and five more.
    static let maximumEntries = 1 << 18
    static let maximumDirectoryBytes: UInt64 = 64 << 20
    static let maximumNameBytes = 512

    struct Entry {
        var name: String
        var checksum: UInt32
        /// Of the entry's data in the file.
        var data: ByteRange
    }

    /// In the order of the file.
    let entries: [Entry]

    /// Reads and checks the directory and every entry's local header. Throws `.malformed`, `.io`.
    init(_ file: OpenFile, fileSize: UInt64) throws(LaminaError) {
        let end = try ZipEnd(file, fileSize: fileSize)
        let directory = try file.bytes(end.directory)
        var records: [ZipRecord] = []
        var names: Set<[UInt8]> = []
        var position = 0
        for _ in 0..<end.entryCount {
            let record = try ZipRecord(directory, at: &position, directoryStart: end.directory.lowerBound, file.path)
            guard names.insert(Array(record.name.utf8)).inserted else {
                throw LaminaError(
                    .malformed, file.path, "the archive has the entry \(escapedForDisplay(record.name)) twice")
            }
            records.append(record)
        }
        guard position == directory.count else {
            throw LaminaError(
                .malformed, file.path, "the archive's directory does not end after its entries",
                expected: "\(position) bytes for \(end.entryCount) entries", found: "\(directory.count)",
                bytes: end.directory)
        }
        records.sort { $0.headerOffset < $1.headerOffset }
        guard records.first?.headerOffset ?? 0 == 0 else {
            throw LaminaError(
                .malformed, file.path, "the zip archive does not begin with its first entry",
                found: "\(records[0].headerOffset) bytes before it")
        }
        var entries: [Entry] = []
        for (index, record) in records.enumerated() {
            let next = index + 1 < records.count ? records[index + 1].headerOffset : end.directory.lowerBound
            let data = try record.locate(in: file, before: next)
            entries.append(Entry(name: record.name, checksum: record.checksum, data: data))
        }
        self.entries = entries
    }

    /// All bytes of an entry of at most `limit`, its checksum compared, unless it is the 0 that torch writes when it is
    /// told not to compute any (`set_crc32_options`). Throws `.malformed`, `.io`.
    func read(_ entry: Entry, limit: Int, from file: OpenFile) throws(LaminaError) -> [UInt8] {
        guard entry.data.upperBound - entry.data.lowerBound <= UInt64(limit) else {
            throw LaminaError(
                .malformed, file.path, "the archive's entry \(escapedForDisplay(entry.name)) is too large",
                expected: "at most \(limit) bytes", found: "\(entry.data.count)")
        }
        let bytes = try file.bytes(entry.data)
        let checksum = CRC32.checksum(of: bytes)
        guard checksum == entry.checksum || entry.checksum == 0 else {
            throw LaminaError(
                .malformed, file.path, "the archive's entry \(escapedForDisplay(entry.name)) has the wrong CRC-32",
                expected: String(entry.checksum, radix: 16), found: String(checksum, radix: 16),
                hint: "the file is damaged; download it again", bytes: entry.data)
        }
        return bytes
    }
}
