import Foundation
import StoreWriter
import TensorCore
import TestSupport
import Testing

/// Where faults are injected: the calls that move data, from one of them on, as on a full disk.
private func failing(from number: Int, code: Int32) -> FaultyFileSystem {
    FaultyFileSystem(
        fault: FaultyFileSystem.Fault(number: number, error: code, isPersistent: true),
        calls: [.read, .write, .truncate])
}

/// One plane of a made-up tensor.
private struct Plane {
    var name: String
    var bytes: Int
    var chunkBytes: Int
    var filter: HDF5File.Filter

    var chunkCount: Int { dividedUp(bytes, by: chunkBytes) }

    /// What chunk `index` decodes to: a constant in coded chunks, so that a frame for it is easily made by hand.
    func decoded(_ index: Int) -> [UInt8] {
        if isCoded(index) { return [UInt8](repeating: UInt8(truncatingIfNeeded: 7 &* index &+ 3), count: chunkBytes) }
        return (0..<chunkBytes).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ ($0 >> 8) &+ index &* 17) }
    }

    /// Every third chunk of a filtered plane is stored as it is.
    func isCoded(_ index: Int) -> Bool { filter != .none && index % 3 != 2 }

    func stored(_ index: Int) -> [UInt8] {
        guard isCoded(index) else { return decoded(index) }
        let byte = decoded(index)[0]
        return filter == .zstd ? zstdFrame(of: byte, count: chunkBytes) : tierChunk(of: byte, count: chunkBytes)
    }
}

/// A zstd frame of one run-length block, with its content size in the header.
private func zstdFrame(of byte: UInt8, count: Int) -> [UInt8] {
    let size = UInt32(count)
    let block = 1 | 1 << 1 | size << 3
    return [0x28, 0xB5, 0x2F, 0xFD, 0xA0]
        + (0..<4).map { UInt8(truncatingIfNeeded: size >> (8 * $0)) }
        + (0..<3).map { UInt8(truncatingIfNeeded: block >> (8 * $0)) } + [byte]
}

/// An exp-tier chunk of one segment whose words are all the same, so that every symbol is 0.
private func tierChunk(of byte: UInt8, count: Int) -> [UInt8] {
    func integers(_ values: Int...) -> [UInt8] {
        values.flatMap { value in (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) } }
    }
    func zeros(_ count: Int) -> [UInt8] { [UInt8](repeating: 0, count: count) }
    let words = count / 2
    let word = UInt16(byte) << 8 | UInt16(byte)
    let rotated = word << 1 | word >> 15
    let symbols = roundedUp(dividedUp(words, by: 64) * 16, to: 64)
    let rest = [UInt8](repeating: UInt8(truncatingIfNeeded: rotated), count: words)
    let segment =
        integers(words, 0, 0, 0) + [UInt8(rotated >> 8)] + zeros(47 + symbols) + rest
        + zeros(roundedUp(words, to: 64) - words)
    return integers(1, words, 64, segment.count) + zeros(48) + segment
}

private let tensors: [(name: String, planes: [Plane])] = [
    (
        "model.layers.q_proj.weight",
        [
            Plane(name: "exponent", bytes: 9 * 5000 - 123, chunkBytes: 5000, filter: .zstd),
            Plane(name: "mantissa", bytes: 9 * 8192, chunkBytes: 8192, filter: .none),
        ]
    ),
    ("model.layers.k_proj.weight", [Plane(name: "words", bytes: 3 * 5002, chunkBytes: 5002, filter: .expTier)]),
    ("odd / name %2F\t", [Plane(name: "raw", bytes: 10, chunkBytes: 4096, filter: .none)]),
    (".", [Plane(name: "..", bytes: 1, chunkBytes: 1, filter: .none)]),
    ("größe", [Plane(name: "raw", bytes: 0, chunkBytes: 16, filter: .none)]),
]

/// What was written where.
private struct Written {
    var size: UInt64
    /// In the order of writing.
    var chunks: [(offset: UInt64, bytes: [UInt8])] = []
}

/// Writes `tensors`, planes of the same chunk one after another, and proves each chunk's place.
private func writeExample(to path: String, in fileSystem: any FileSystem) throws -> Written {
    let file = try OpenFile(path, .createNew, in: fileSystem)
    let hdf5 = try HDF5File(file: file, userBlockSize: 8192)
    try hdf5.setAttributes([.init("format", .integer(-1))], of: .root)
    var datasets: [[HDF5File.Dataset]] = []
    for tensor in tensors {
        let group = try hdf5.makeGroup(
            tensor.name,
            attributes: [
                .init("name", .text(tensor.name)), .init("shape", .naturals([3, UInt64.max])),
                .init("empty text", .text("")), .init("scalar shape", .naturals([])),
            ])
        var planes: [HDF5File.Dataset] = []
        for plane in tensor.planes {
            planes.append(
                try hdf5.makeDataset(
                    plane.name, in: group, bytes: plane.bytes, chunkBytes: plane.chunkBytes, filter: plane.filter,
                    attributes: [.init("codec", .text("exp-huf"))]))
        }
        datasets.append(planes)
    }
    var result = Written(size: 0)
    for (tensor, datasets) in zip(tensors, datasets) {
        for index in 0..<(tensor.planes.map(\.chunkCount).max() ?? 0) {
            for (plane, dataset) in zip(tensor.planes, datasets) where index < plane.chunkCount {
                let bytes = plane.stored(index)
                let offset = try bytes.withUnsafeBytes {
                    try hdf5.writeChunk(
                        index, of: dataset, $0, skippingFilter: plane.filter != .none && !plane.isCoded(index))
                }
                let found = try hdf5.chunkOffset(
                    index, of: dataset, storedSize: bytes.count, hash: bytes.withUnsafeBytes { xxh3($0) })
                #expect(found == offset)
                result.chunks.append((offset, bytes))
            }
        }
    }
    result.size = try hdf5.finish()
    return result
}

private let hasPython = Tool.python != nil
private let needsPython: Comment = "LAMINA_PYTHON names no Python: scripts/test sets it up"
private let h5dump = "/usr/bin/h5dump"

@Suite final class HDF5FileTests {
    private let folder: String

    init() throws {
        folder = NSTemporaryDirectory() + "lamina-hdf5-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
    }

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    private func file(_ name: String) -> String { folder + "/" + name }

    @Test func chunksLieWhereItSaysAlignedAndSideBySide() throws {
        let path = file("a.h5")
        let written = try writeExample(to: path, in: RealFileSystem())
        let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
        #expect(UInt64(bytes.count) == written.size)
        #expect(bytes.count % 4096 == 0)
        #expect(bytes[0..<8192].allSatisfy { $0 == 0 }, "the user block is the caller's")
        #expect(Array(bytes[8192..<8200]) == [0x89, 0x48, 0x44, 0x46, 0x0D, 0x0A, 0x1A, 0x0A])
        #expect(written.chunks.count == 23)
        var end = written.chunks[0].offset
        for chunk in written.chunks {
            // No metadata in between: the next chunk begins on the next page.
            #expect(chunk.offset == UInt64(roundedUp(Int(end), to: 4096)))
            end = chunk.offset + UInt64(chunk.bytes.count)
            #expect(Array(bytes[Int(chunk.offset)..<Int(end)]) == chunk.bytes)
        }
        #expect(UInt64(roundedUp(Int(end), to: 4096)) == written.size)
    }

    @Test func sameCallsGiveSameBytes() throws {
        _ = try writeExample(to: file("a.h5"), in: RealFileSystem())
        let first = try Data(contentsOf: URL(fileURLWithPath: file("a.h5")))
        for index in 0..<5 {
            let path = file("\(index).h5")
            _ = try writeExample(to: path, in: RealFileSystem())
            #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == first)
        }
        // A heap full of other values must not show through.
        #expect(!first.contains(sequenceOf: Data("/lamina-hdf5-".utf8)))
    }

    @Test(arguments: [
        ("model.layers.0.q_proj.weight", "model.layers.0.q_proj.weight"), ("a/b", "a%2Fb"), ("%2F", "%252F"),
        (".", "%2E"), ("..", ".."), ("a.", "a."), ("", "%"), ("%", "%25"), ("\u{0}\n\u{1F}\u{7F}", "%00%0A%1F%7F"),
        ("größe", "größe"),
    ])
    func linkNames(name: String, expected: String) {
        #expect(HDF5File.linkName(for: name) == expected)
    }

    @Test(.enabled(if: hasPython, needsPython)) func h5pyReadsItBack() throws {
        let python = try #require(Tool.python)
        let path = file("a.h5")
        _ = try writeExample(to: path, in: RealFileSystem())
        for tensor in tensors {
            for plane in tensor.planes {
                let name = "\(HDF5File.linkName(for: tensor.name))/\(HDF5File.linkName(for: plane.name))"
                let content = (0..<plane.chunkCount).flatMap { plane.decoded($0) }.prefix(plane.bytes)
                try Data(content).write(to: URL(fileURLWithPath: file("expected")))
                let script = """
                    import sys, h5py, hdf5plugin
                    path, link, name, expected, chunk = sys.argv[1:]
                    with h5py.File(path, "r") as file:
                        assert file.userblock_size == 8192 and file.attrs["format"] == -1
                        group, data = file[link.rsplit("/", 1)[0]], file[link]
                        assert group.attrs["name"].decode() == name, group.attrs["name"]
                        assert group.attrs["shape"].tolist() == [3, 2**64 - 1]
                        assert group.attrs["empty text"] == b"" and group.attrs["scalar shape"].shape is None
                        assert data.attrs["codec"] == b"exp-huf" and data.chunks == (int(chunk),)
                        assert data[...].tobytes() == open(expected, "rb").read()
                        print("equal", len(file))
                    """
                let result = try Tool.run(
                    executable: python,
                    ["-c", script, path, name, tensor.name, file("expected"), "\(plane.chunkBytes)"],
                    environment: ["HDF5_PLUGIN_PATH": Tool.folder.path])
                #expect(result.standardOutput == "equal \(tensors.count)\n", "\(name): \(result.standardError)")
            }
        }
    }

    @Test(.enabled(if: FileManager.default.isExecutableFile(atPath: h5dump), "hdf5-tools is not installed"))
    func h5dumpReadsIt() throws {
        let path = file("a.h5")
        _ = try writeExample(to: path, in: RealFileSystem())
        let result = try Tool.run(executable: h5dump, ["-p", "-H", path])
        #expect(result.status == 0)
        let parts = [
            "GROUP \"odd %2F name %252F%09\"", "GROUP \"%2E\"", "FILTER_ID 32015", "CHUNKED ( 5000 )",
            "FILTER_ID 44554", "COMMENT Lamina exp-tier",
        ]
        for part in parts {
            #expect(result.standardOutput.contains(part), "\(part)")
        }
    }

    @Test func manyChunksInAnyOrder() throws {
        let path = file("a.h5")
        let hdf5 = try HDF5File(file: OpenFile(path, .createNew, in: RealFileSystem()), userBlockSize: 4096)
        let count = 9001
        // A prime that does not divide the count: every chunk once, far from sequential.
        let order = (0..<count).map { $0 * 4001 % count }
        let group = try hdf5.makeGroup("t")
        let dataset = try hdf5.makeDataset("raw", in: group, bytes: count * 8, chunkBytes: 8, filter: .none)
        func bytes(_ index: Int) -> [UInt8] { withUnsafeBytes(of: UInt64(index).littleEndian) { [UInt8]($0) } }
        var offsets: [Int: UInt64] = [:]
        for index in order {
            offsets[index] = try bytes(index).withUnsafeBytes { try hdf5.writeChunk(index, of: dataset, $0) }
        }
        for index in stride(from: 0, to: count, by: 97) {
            let hash = bytes(index).withUnsafeBytes { xxh3($0) }
            #expect(try hdf5.chunkOffset(index, of: dataset, storedSize: 8, hash: hash) == offsets[index])
        }
        #expect(Set(offsets.values).count == count)
        _ = try hdf5.finish()
        guard let python = Tool.python else { return }
        let script = """
            import sys, h5py, numpy
            with h5py.File(sys.argv[1], "r") as file:
                values = file["t/raw"][...].view("<u8")
                assert (values == numpy.arange(9001)).all()
            """
        let result = try Tool.run(executable: python, ["-c", script, path])
        #expect(result.status == 0, "\(result.standardError)")
    }

    @Test(arguments: [ENOSPC, EIO])
    func everyFailedCallIsAnError(code: Int32) throws {
        var number = 1
        while true {
            let fileSystem = failing(from: number, code: code)
            let path = file("\(number).h5")
            do {
                _ = try writeExample(to: path, in: fileSystem)
                #expect(fileSystem.callCount == number - 1, "a failure went unnoticed")
                break
            } catch let error as LaminaError {
                #expect(error.kind == .io)
                #expect(error.subject == path)
                #expect(error.problem.contains(SystemError(code: code).text))
            }
            number += 1
        }
        // 23 chunks written and read back, the metadata, the size.
        #expect(number - 1 == 48)
    }

    @Test func failuresLeaveNothingOpen() async {
        // In a process of its own, where nobody else uses the library.
        await #expect(processExitsWith: .success) {
            try Fixtures.withScratchFolder { folder in
                do {
                    let file = try OpenFile(folder + "/open.h5", .createNew, in: RealFileSystem())
                    let hdf5 = try HDF5File(file: file, userBlockSize: 4096)
                    #expect(HDF5File.openObjects == 2, "the file and its root group")
                    withExtendedLifetime(hdf5) {}
                }
                for round in 0..<200 {
                    let fileSystem = failing(from: round % 51 + 1, code: ENOSPC)
                    _ = try? writeExample(to: "\(folder)/\(round).h5", in: fileSystem)
                    #expect(HDF5File.openObjects == 0)
                }
            }
        }
    }

    @Test func anErrorIsFinal() throws {
        let path = file("a.h5")
        let fileSystem = failing(from: 2, code: ENOSPC)
        let hdf5 = try HDF5File(file: OpenFile(path, .createNew, in: fileSystem), userBlockSize: 4096)
        let group = try hdf5.makeGroup("t")
        let dataset = try hdf5.makeDataset("raw", in: group, bytes: 8192, chunkBytes: 4096, filter: .none)
        let bytes = [UInt8](repeating: 1, count: 4096)
        try bytes.withUnsafeBytes { _ = try hdf5.writeChunk(0, of: dataset, $0) }
        let first = try #require(
            throws: LaminaError.self,
            performing: { try bytes.withUnsafeBytes { _ = try hdf5.writeChunk(1, of: dataset, $0) } })
        #expect(first.kind == .io)
        #expect(throws: first) { _ = try hdf5.makeGroup("u") }
        #expect(throws: first) { _ = try hdf5.finish() }
        #expect(fileSystem.callCount == 2, "nothing is written after a failure")
    }

    @Test func aFileThatIsNotFinishedIsNoHDF5File() throws {
        let path = file("a.h5")
        do {
            let hdf5 = try HDF5File(file: OpenFile(path, .createNew, in: RealFileSystem()), userBlockSize: 4096)
            let dataset = try hdf5.makeDataset("raw", in: .root, bytes: 16, chunkBytes: 16, filter: .none)
            try [UInt8](repeating: 1, count: 16).withUnsafeBytes { _ = try hdf5.writeChunk(0, of: dataset, $0) }
        }
        let bytes = try Data(contentsOf: URL(fileURLWithPath: path))
        #expect(!bytes.contains(sequenceOf: Data([0x89, 0x48, 0x44, 0x46])))
    }

    /// What libhdf5, or the layer above it, must refuse.
    @Test func impossibleRequestsAreRefused() throws {
        var count = 0
        func refused(_ body: (HDF5File, HDF5File.Dataset) throws -> Void) throws {
            count += 1
            let path = file("\(count).h5")
            let hdf5 = try HDF5File(file: OpenFile(path, .createNew, in: RealFileSystem()), userBlockSize: 4096)
            let dataset = try hdf5.makeDataset("coded", in: .root, bytes: 40, chunkBytes: 16, filter: .zstd)
            let error = #expect(throws: LaminaError.self) { try body(hdf5, dataset) }
            #expect(error?.kind == .unexpected)
            #expect(error?.subject == path)
            #expect(error?.problem.isEmpty == false)
        }
        func write(_ hdf5: HDF5File, _ dataset: HDF5File.Dataset, _ index: Int, _ size: Int, raw: Bool) throws {
            try [UInt8](repeating: 1, count: size).withUnsafeBytes {
                _ = try hdf5.writeChunk(index, of: dataset, $0, skippingFilter: raw)
            }
        }
        try refused { hdf5, data in try write(hdf5, data, 3, 16, raw: true) }
        try refused { hdf5, data in try write(hdf5, data, -1, 16, raw: true) }
        try refused { hdf5, data in try write(hdf5, data, 0, 15, raw: true) }
        try refused { hdf5, data in try write(hdf5, data, 0, 0, raw: false) }
        try refused { hdf5, data in
            try write(hdf5, data, 0, 16, raw: true)
            try write(hdf5, data, 0, 16, raw: true)
        }
        try refused { hdf5, data in
            try write(hdf5, data, 0, 16, raw: true)
            _ = try hdf5.finish()
        }
        try refused { hdf5, _ in _ = try hdf5.makeGroup("coded") }
        try refused { hdf5, _ in _ = try hdf5.makeDataset("x", in: .root, bytes: -1, chunkBytes: 1, filter: .none) }
        for (bytes, chunkBytes) in [(12, 8), (16, 12)] {
            try refused { hdf5, _ in
                _ = try hdf5.makeDataset(
                    "x", in: .root, of: .float64, bytes: bytes, chunkBytes: chunkBytes, filter: .none)
            }
        }
        try refused { hdf5, _ in _ = try hdf5.makeDataset("x", in: .root, bytes: 1, chunkBytes: 0, filter: .none) }
        try refused { hdf5, _ in
            try hdf5.setAttributes([.init("long", .text(String(repeating: "x", count: 70_000)))], of: .root)
        }
        for size in [0, 1, 512, 4095, 12288, -4096] {
            let path = file("block \(size).h5")
            #expect(throws: LaminaError.self) {
                _ = try HDF5File(file: OpenFile(path, .createNew, in: RealFileSystem()), userBlockSize: size)
            }
        }
    }

    @Test func aWrongHashIsDamage() throws {
        let path = file("a.h5")
        let hdf5 = try HDF5File(file: OpenFile(path, .createNew, in: RealFileSystem()), userBlockSize: 4096)
        let dataset = try hdf5.makeDataset("raw", in: .root, bytes: 16, chunkBytes: 16, filter: .none)
        try [UInt8](repeating: 1, count: 16).withUnsafeBytes { _ = try hdf5.writeChunk(0, of: dataset, $0) }
        let error = #expect(throws: LaminaError.self) {
            _ = try hdf5.chunkOffset(0, of: dataset, storedSize: 16, hash: 1)
        }
        #expect(error?.kind == .damaged)
    }

    @Test func versionIsKnown() {
        #expect(HDF5File.libraryVersion.split(separator: ".").count == 3)
    }
}

extension Data {
    fileprivate func contains(sequenceOf other: Data) -> Bool { range(of: other) != nil }
}
