import TensorCore

/// The form of torch.save before version 1.6: five pickles (a magic number, a version, facts about the machine, the
/// state dict, the storages' keys), then each storage in the order of the keys, its element count before it.
enum TorchStream {
    /// 0x1950A86A20F9469CFC6C, little-endian.
    private static let magic: [UInt8] = [0x6C, 0xFC, 0x9C, 0x46, 0xF9, 0x20, 0x6A, 0xA8, 0x50, 0x19]
    private static let version = 1001

    /// Throws `.malformed`, `.io`.
    static func content(of file: OpenFile, fileSize: UInt64) throws(LaminaError) -> TorchFile.Content {
        var reader = PickleReader(ByteWindow(file, 0..<min(fileSize, UInt64(PickleReader.maximumBytes))))
        guard case .longInteger(let number) = try reader.next(), reader.window.bytes[number.range].elementsEqual(magic)
        else {
            throw LaminaError(
                .malformed, file.path, "the file was not written by torch.save", expected: "its magic number",
                bytes: 0..<UInt64(reader.position))
        }
        let stated = try reader.next()
        guard stated == .integer(version) else {
            throw LaminaError(
                .malformed, file.path, "the stream has another version", expected: "\(version)",
                found: stated.integer.map { "\($0)" } ?? stated.kind)
        }
        try checkMachine(try reader.next(), reader)
        let root = try reader.next()
        let stateDict = try StateDict(root, reader)
        let keys = try storageKeys(try reader.next(), reader, atMost: stateDict.storages.count)
        let places = try places(of: stateDict.storages, keys: keys, from: UInt64(reader.position), file, fileSize)
        return TorchFile.Content(format: .torchStream, stateDict: stateDict, places: places)
    }

    /// The machine's sizes do not matter, its byte order does.
    private static func checkMachine(_ value: PickleValue, _ reader: PickleReader) throws(LaminaError) {
        guard case .dictionary(let index) = value else {
            throw LaminaError(
                .malformed, reader.window.path, "the stream does not tell the machine it was written on",
                found: value.kind)
        }
        for (key, value) in reader.heap.dictionaries[Int(index)] {
            guard case .text(let name) = key, reader.isEqual(name, "little_endian") else { continue }
            guard value == .bool(true) else {
                throw LaminaError(
                    .malformed, reader.window.path, "the weights were written in another byte order",
                    expected: "little-endian",
                    hint: "load the file with torch on a little-endian machine and save it again")
            }
        }
    }

    private static func storageKeys(
        _ value: PickleValue, _ reader: PickleReader, atMost count: Int
    ) throws(LaminaError) -> [[UInt8]] {
        guard case .list(let index) = value else {
            throw LaminaError(
                .malformed, reader.window.path, "the stream does not list its storages", found: value.kind)
        }
        let list = reader.heap.lists[Int(index)]
        guard list.count <= count else {
            throw LaminaError(
                .malformed, reader.window.path, "the stream lists storages that no tensor uses",
                expected: "at most \(count)", found: "\(list.count)")
        }
        var keys: [[UInt8]] = []
        for element in list {
            guard case .text(let key) = element, key.count <= PickleReader.maximumNameBytes else {
                throw LaminaError(
                    .malformed, reader.window.path, "the stream's list of storages holds something else",
                    expected: "keys", found: element.kind)
            }
            keys.append(Array(reader.window.bytes[key.range]))
        }
        return keys
    }

    /// Walks over the storages; `keys` and the state dict name the same ones, and nothing follows them.
    private static func places(
        of storages: [StateDict.Storage], keys: [[UInt8]], from start: UInt64, _ file: OpenFile, _ fileSize: UInt64
    ) throws(LaminaError) -> [ByteRange] {
        let indexes = Dictionary(uniqueKeysWithValues: storages.indices.map { (storages[$0].key, $0) })
        var places = [ByteRange?](repeating: nil, count: storages.count)
        var position = start
        for key in keys {
            let shown = escapedForDisplay(String(decoding: key, as: UTF8.self), limit: 80)
            guard let index = indexes[key], places[index] == nil else {
                throw LaminaError(
                    .malformed, file.path, "the stream lists the storage \(shown), which no tensor uses, or twice")
            }
            guard fileSize - position >= 8 else { throw incomplete(shown, file) }
            let count = try file.bytes(position..<(position + 8)).littleEndian(UInt64.self, at: 0)
            guard count == UInt64(storages[index].count) else {
                throw LaminaError(
                    .malformed, file.path, "the storage \(shown) has the wrong size",
                    expected: "\(storages[index].count) elements", found: "\(count)", bytes: position..<(position + 8))
            }
            position += 8
            guard fileSize - position >= storages[index].byteCount else { throw incomplete(shown, file) }
            places[index] = position..<(position + storages[index].byteCount)
            position += storages[index].byteCount
        }
        guard position == fileSize else {
            throw LaminaError(
                .malformed, file.path, "something follows the last storage", expected: "\(position) bytes",
                found: "\(fileSize)", bytes: position..<fileSize)
        }
        let found = places.compactMap { $0 }
        guard found.count == places.count else {
            throw LaminaError(.malformed, file.path, "the stream lacks a storage that a tensor uses")
        }
        return found
    }

    private static func incomplete(_ storage: String, _ file: OpenFile) -> LaminaError {
        LaminaError(
            .malformed, file.path, "the file ends before the end of the storage \(storage)",
            hint: "the download is incomplete; get the file again")
    }
}
