import TensorCore

/// The zip form of torch.save: everything in one folder, the state dict in `data.pkl`, each storage in `data/KEY`.
enum TorchArchive {
    private static let maximumByteOrderBytes = 16

    /// Throws `.malformed`, `.io`.
    static func content(of file: OpenFile, fileSize: UInt64) throws(LaminaError) -> TorchFile.Content {
        let archive = try ZipArchive(file, fileSize: fileSize)
        let entries = try entriesInFolder(archive, path: file.path)
        if let order = entries[Array("byteorder".utf8)] {
            let bytes = try archive.read(order, limit: maximumByteOrderBytes, from: file)
            guard bytes.elementsEqual("little".utf8) else {
                throw LaminaError(
                    .malformed, file.path, "the weights were written in another byte order", expected: "little",
                    found: escapedForDisplay(String(decoding: bytes, as: UTF8.self)),
                    hint: "load the file with torch on a little-endian machine and save it again")
            }
        }
        guard let pickle = entries[Array("data.pkl".utf8)] else {
            throw LaminaError(.malformed, file.path, "the zip archive has no data.pkl: torch.save did not write it")
        }
        let bytes = try archive.read(pickle, limit: PickleReader.maximumBytes, from: file)
        var reader = PickleReader(ByteWindow(bytes, from: pickle.data.lowerBound, path: file.path))
        let root = try reader.next()
        guard reader.position == bytes.count else {
            throw LaminaError(
                .malformed, file.path, "something follows the pickle in data.pkl",
                bytes: (pickle.data.lowerBound + UInt64(reader.position))..<pickle.data.upperBound)
        }
        let stateDict = try StateDict(root, reader)
        var places: [ByteRange] = []
        for storage in stateDict.storages {
            places.append(try place(of: storage, entries[Array("data/".utf8) + storage.key], path: file.path))
        }
        return TorchFile.Content(format: .torchArchive, stateDict: stateDict, places: places)
    }

    /// Entries by their names inside the archive's one folder. By bytes: `String` would take names for equal that are not.
    private static func entriesInFolder(
        _ archive: ZipArchive, path: String
    ) throws(LaminaError) -> [[UInt8]: ZipArchive.Entry] {
        var entries: [[UInt8]: ZipArchive.Entry] = [:]
        let first = archive.entries.first.map { Array($0.name.utf8) } ?? []
        let folder = first.prefix { $0 != UInt8(ascii: "/") } + [UInt8(ascii: "/")]
        for entry in archive.entries {
            guard entry.name.utf8.starts(with: folder) else {
                throw LaminaError(
                    .malformed, path,
                    "the zip archive has something outside of its folder: torch.save did not write it",
                    expected: "names below \(escapedForDisplay(String(decoding: folder, as: UTF8.self), limit: 80))",
                    found: escapedForDisplay(entry.name, limit: 80))
            }
            entries[Array(entry.name.utf8.dropFirst(folder.count))] = entry
        }
        guard entries[Array("constants.pkl".utf8)] == nil else {
            throw LaminaError(
                .malformed, path, "the file is a TorchScript program, not a state dict", found: "constants.pkl",
                hint: "save model.state_dict() with torch.save")
        }
        return entries
    }

    private static func place(
        of storage: StateDict.Storage, _ entry: ZipArchive.Entry?, path: String
    ) throws(LaminaError) -> ByteRange {
        let name = "data/" + escapedForDisplay(String(decoding: storage.key, as: UTF8.self), limit: 80)
        guard let entry else {
            throw LaminaError(
                .malformed, path, "the zip archive lacks the storage \(name)", hint: "the file is damaged")
        }
        guard entry.data.upperBound - entry.data.lowerBound == storage.byteCount else {
            throw LaminaError(
                .malformed, path, "the storage \(name) has the wrong size", expected: "\(storage.byteCount) bytes",
                found: "\(entry.data.count)", bytes: entry.data)
        }
        return entry.data
    }
}
