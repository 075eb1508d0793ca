import TensorCore

/// One entry of a zip archive's directory.
struct ZipRecord {
    let name: String
    let checksum: UInt32
    let headerOffset: UInt64
    private let nameBytes: [UInt8]
    private let flags: UInt16
    private let size: UInt64

    private static let fixedBytes = 46
    private static let localBytes = 30
    /// Compression levels, a descriptor behind the data, names in UTF-8: all that changes nothing here.
    private static let harmlessFlags: UInt16 = 0x080E
    private static let descriptorFlag: UInt16 = 0x0008
    /// Encrypted, strongly encrypted, header values masked.
    private static let encryptionFlags: UInt16 = 0x2041

    /// The record at `position` of `directory`, which moves behind it. Throws `.malformed`.
    init(_ directory: [UInt8], at position: inout Int, directoryStart: UInt64, _ path: String) throws(LaminaError) {
        let start = position
        let nameStart = start + ZipRecord.fixedBytes
        guard directory.count >= nameStart, directory[start...].starts(with: [0x50, 0x4B, 1, 2]) else {
            throw LaminaError(.malformed, path, "the archive's directory ends before its last entry")
        }
        let lengths = [28, 30, 32].map { Int(directory.littleEndian(UInt16.self, at: start + $0)) }
        guard directory.count - nameStart >= lengths.reduce(0, +) else {
            throw LaminaError(.malformed, path, "the archive's directory ends in the middle of an entry")
        }
        position = nameStart + lengths.reduce(0, +)
        let extraStart = nameStart + lengths[0]
        do throws(LaminaError) {
            try self.init(
                Array(directory[start..<nameStart]), name: Array(directory[nameStart..<extraStart]),
                extra: Array(directory[extraStart..<(extraStart + lengths[1])]))
        } catch {
            var located = error.about(path)
            located.bytes = (directoryStart + UInt64(start))..<(directoryStart + UInt64(position))
            throw located
        }
    }

    /// From the parts of a record.
    private init(_ record: [UInt8], name nameBytes: [UInt8], extra: [UInt8]) throws(LaminaError) {
        self.nameBytes = nameBytes
        guard let name = ZipRecord.acceptable(nameBytes) else {
            throw LaminaError(
                .malformed, "", "the archive has an entry with an unacceptable name", expected: "a relative path",
                found: escapedForDisplay(String(decoding: nameBytes, as: UTF8.self), limit: 80))
        }
        self.name = name
        let shown = escapedForDisplay(name, limit: 200)
        flags = record.littleEndian(UInt16.self, at: 8)
        guard flags & ZipRecord.encryptionFlags == 0 else {
            throw LaminaError(.malformed, "", "the archive's entry \(shown) is encrypted")
        }
        let method = record.littleEndian(UInt16.self, at: 10)
        guard flags & ~ZipRecord.harmlessFlags == 0, method == 0 else {
            throw LaminaError(
                .malformed, "", "the archive's entry \(shown) is not stored as it is",
                expected: "method 0, as torch.save writes",
                found: method == 8 ? "method 8, deflate" : "method \(method), flags \(String(flags, radix: 16))",
                hint: "load the file with torch and save it again")
        }
        checksum = record.littleEndian(UInt32.self, at: 16)
        guard let numbers = ZipRecord.sizes(record, extra: extra) else {
            throw LaminaError(
                .malformed, "",
                "the archive's entry \(shown) lacks the zip64 numbers that it promises, or is on another disk")
        }
        guard numbers.stored == numbers.size else {
            throw LaminaError(
                .malformed, "", "the archive's entry \(shown) is stored in a different size",
                expected: "\(numbers.size) bytes", found: "\(numbers.stored)")
        }
        size = numbers.size
        headerOffset = numbers.offset
    }

    /// A relative path without dots, in UTF-8 and without control characters; `nil` for everything else.
    private static func acceptable(_ bytes: [UInt8]) -> String? {
        guard let name = String(validating: bytes, as: UTF8.self), !bytes.isEmpty,
            bytes.count <= ZipArchive.maximumNameBytes, bytes.allSatisfy({ $0 >= 0x20 && $0 != 0x7F && $0 != 0x5C })
        else { return nil }
        var parts = bytes.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        // A folder's name ends with a slash.
        if parts.count > 1, parts.last?.isEmpty == true { parts.removeLast() }
        let isClean = parts.allSatisfy { !$0.isEmpty && !$0.elementsEqual(".".utf8) && !$0.elementsEqual("..".utf8) }
        return isClean ? name : nil
    }

    /// Sizes and offset of a directory record, from its zip64 field where the narrow ones are full. `nil` if that is
    /// too short, or the entry is not on the first disk.
    private static func sizes(
        _ record: [UInt8], extra: [UInt8]
    ) -> (size: UInt64, stored: UInt64, offset: UInt64)? {
        var wide: ArraySlice<UInt8> = []
        var position = 0
        while position + 4 <= extra.count {
            let count = Int(extra.littleEndian(UInt16.self, at: position + 2))
            guard position + 4 + count <= extra.count else { return nil }
            if extra.littleEndian(UInt16.self, at: position) == 1 {
                wide = extra[(position + 4)..<(position + 4 + count)]
            }
            position += 4 + count
        }
        func number(_ offset: Int) -> UInt64? {
            let narrow = record.littleEndian(UInt32.self, at: offset)
            guard narrow == .max else { return UInt64(narrow) }
            guard wide.count >= 8 else { return nil }
            defer { wide = wide.dropFirst(8) }
            return Array(wide).littleEndian(UInt64.self, at: 0)
        }
        guard let size = number(24), let stored = number(20), let offset = number(42) else { return nil }
        return record.littleEndian(UInt16.self, at: 34) == 0 ? (size, stored, offset) : nil
    }

    /// Where the entry's data is. Its local header, and a descriptor behind the data if one is promised, must agree
    /// with the directory, and all of it must end at `next`: so no number in them can move the data unnoticed. Throws
    /// `.malformed`, `.io`.
    func locate(in file: OpenFile, before next: UInt64) throws(LaminaError) -> ByteRange {
        let shown = escapedForDisplay(name, limit: 200)
        let headerBytes = UInt64(ZipRecord.localBytes + nameBytes.count)
        guard let headerEnd = Checked.add(headerOffset, headerBytes), headerEnd <= next else {
            throw LaminaError(
                .malformed, file.path, "the archive's entry \(shown) overlaps what follows it",
                expected: "a header before \(next)", found: "\(headerOffset)")
        }
        let header = try file.bytes(headerOffset..<headerEnd)
        guard agrees(header: header) else {
            throw LaminaError(
                .malformed, file.path, "the archive's entry \(shown) and its header disagree",
                bytes: headerOffset..<headerEnd)
        }
        let start = headerEnd + UInt64(header.littleEndian(UInt16.self, at: 28))
        guard let end = Checked.add(start, size), end <= next else {
            throw LaminaError(
                .malformed, file.path, "the archive's entry \(shown) overlaps what follows it",
                expected: "an end before \(next)", found: "\(size) bytes from \(start) on")
        }
        let rest = next - end
        guard rest <= 24, agrees(descriptor: try file.bytes(end..<next)) else {
            throw LaminaError(
                .malformed, file.path, "the archive's entry \(shown) and what lies behind it disagree",
                bytes: end..<next)
        }
        return start..<end
    }

    /// Whether a local header, its name included, says the same. With a descriptor behind the data, or zip64, it need
    /// not know the sizes.
    private func agrees(header: [UInt8]) -> Bool {
        guard header.starts(with: [0x50, 0x4B, 3, 4]), header.littleEndian(UInt16.self, at: 6) == flags,
            header.littleEndian(UInt16.self, at: 8) == 0,
            Int(header.littleEndian(UInt16.self, at: 26)) == nameBytes.count,
            header[ZipRecord.localBytes...].elementsEqual(nameBytes)
        else { return false }
        if hasDescriptor { return true }
        let narrow = [18, 22].map { header.littleEndian(UInt32.self, at: $0) }
        return header.littleEndian(UInt32.self, at: 14) == checksum
            && narrow.allSatisfy { $0 == .max || UInt64($0) == size }
    }

    /// Whether these are the checksum and the sizes, narrow or wide, behind the descriptor's signature.
    private func agrees(descriptor: [UInt8]) -> Bool {
        guard hasDescriptor else { return descriptor.isEmpty }
        guard descriptor.starts(with: [0x50, 0x4B, 7, 8]), [16, 24].contains(descriptor.count),
            descriptor.littleEndian(UInt32.self, at: 4) == checksum
        else { return false }
        return descriptor.count == 16
            ? [8, 12].allSatisfy { UInt64(descriptor.littleEndian(UInt32.self, at: $0)) == size }
            : [8, 16].allSatisfy { descriptor.littleEndian(UInt64.self, at: $0) == size }
    }

    private var hasDescriptor: Bool { flags & ZipRecord.descriptorFlag != 0 }
}
