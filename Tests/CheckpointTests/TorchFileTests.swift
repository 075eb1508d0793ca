import Foundation
import TensorCore
import TestSupport
import Testing

@testable import Checkpoint

/// What torch.save writes, both forms: tensors are found where they are, and what is none of a flat state dict of
/// contiguous tensors is refused by name.
@Suite struct TorchFileTests {
    typealias Tensor = TorchCheckpoint.Tensor

    private func open(_ bytes: [UInt8]) throws -> Result<WeightFile, LaminaError> {
        try Fixtures.withScratchFolder { folder in
            let path = folder + "/pytorch_model.bin"
            try Data(bytes).write(to: URL(fileURLWithPath: path))
            return Result { () throws(LaminaError) in
                try WeightFile(name: "pytorch_model.bin", path: path, in: RealFileSystem())
            }
        }
    }

    private func error(_ bytes: [UInt8]) throws -> LaminaError? {
        if case .failure(let error) = try open(bytes) { return error }
        return nil
    }

    /// Both forms of a file with one storage `0` of `bytes`.
    private func files(_ node: PickleNode, count: Int, _ bytes: [UInt8]) -> [[UInt8]] {
        [
            TorchCheckpoint.archive(node.pickled(), [("0", bytes)]),
            TorchCheckpoint.stream(node.pickled(), [("0", count, bytes)]),
        ]
    }

    private func contents(_ file: WeightFile, _ bytes: [UInt8]) -> [String: [UInt8]] {
        let pairs = file.tensors.map {
            ($0.name, Array(bytes[Int($0.bytes.lowerBound)..<Int($0.bytes.upperBound)]))
        }
        return Dictionary(pairs) { first, _ in first }
    }

    private static let data: [UInt8] = (0..<24).map { UInt8($0) }

    @Test func findsViewsOfSharedStorages() throws {
        let node = TorchCheckpoint.stateDict([
            Tensor("a", "Half", key: "0", count: 12, shape: [3, 4]),
            Tensor("tied", "Half", key: "0", count: 12, shape: [3, 4]),
            Tensor("b", "Half", key: "0", count: 12, offset: 5, shape: [2]),
            Tensor("scalar", "Half", key: "0", count: 12, offset: 11, shape: []),
            Tensor("none", "Half", key: "0", count: 12, offset: 12, shape: [0, 3]),
            Tensor("one", "Half", key: "0", count: 12, shape: [1, 3, 1], stride: [77, 1, -5]),
        ])
        for (bytes, format) in zip(files(node, count: 12, Self.data), [WeightFormat.torchArchive, .torchStream]) {
            let file = try open(bytes).get()
            #expect(file.format == format)
            #expect(file.dataOffset == 0)
            #expect(file.notes.isEmpty)
            let found = contents(file, bytes)
            #expect(found["a"] == Self.data)
            #expect(found["tied"] == Self.data)
            #expect(found["b"] == [10, 11, 12, 13])
            #expect(found["scalar"] == [22, 23])
            #expect(found["none"] == [])
            #expect(found["one"] == [0, 1, 2, 3, 4, 5])
            #expect(file.tensors.allSatisfy { $0.dtype == .float16 })
            // Tensors' bytes and the others are the file, once.
            #expect(file.otherBytes.count == bytes.count - 24)
            #expect(file.tensorBytes == 24)
            #expect(file.summedTensorBytes == 24 + 24 + 4 + 2 + 0 + 6)
            let start = try #require(file.tensors.first { $0.name == "a" }).bytes
            let around = bytes[..<Int(start.lowerBound)] + bytes[Int(start.upperBound)...]
            #expect(file.otherBytes.elementsEqual(around))
        }
    }

    @Test func keepsWhatNoTensorUses() throws {
        let node = TorchCheckpoint.stateDict([
            Tensor("a", "Byte", key: "0", count: 24, offset: 3, shape: [2]),
            Tensor("b", "Byte", key: "0", count: 24, offset: 10, shape: [4]),
        ])
        for bytes in files(node, count: 24, Self.data) {
            let file = try open(bytes).get()
            #expect(file.otherBytes.count == bytes.count - 6)
            #expect(contents(file, bytes) == ["a": [3, 4], "b": [10, 11, 12, 13]])
        }
    }

    @Test(arguments: [
        ("Double", DType.float64), ("Float", .float32), ("Half", .float16), ("BFloat16", .bfloat16), ("Long", .int64),
        ("Int", .int32), ("Short", .int16), ("Char", .int8), ("Byte", .uint8), ("Bool", .bool),
    ])
    func knowsStorageClasses(_ name: String, _ dtype: DType) throws {
        let count = 24 / dtype.size
        let node = TorchCheckpoint.stateDict([Tensor("a", name, key: "0", count: count, shape: [count])])
        for bytes in files(node, count: count, Self.data) {
            let tensor = try #require(try open(bytes).get().tensors.first)
            #expect(tensor.dtype == dtype)
            #expect(tensor.shape == Shape([count]))
            #expect(tensor.bytes.count == 24)
        }
    }

    /// Types without a class of storages are views of bytes.
    @Test(arguments: [
        ("float8_e4m3fn", DType.float8E4M3), ("float8_e5m2", .float8E5M2), ("uint16", .uint16), ("uint32", .uint32),
        ("uint64", .uint64),
    ])
    func knowsUntypedStorages(_ name: String, _ dtype: DType) throws {
        let storage = PickleNode.persistent(
            .tuple([
                .text("storage"), .global("torch.storage", "UntypedStorage"), .text("0"), .text("cuda:1"), .integer(24),
            ]))
        func file(offset: Int, count: Int) -> [UInt8] {
            let tensor = PickleNode.call(
                "torch._utils", "_rebuild_tensor_v3",
                [
                    storage, .integer(offset), .tuple([.integer(count)]), .tuple([.integer(1)]), .bool(false),
                    .call("collections", "OrderedDict", []), .global("torch", name),
                ])
            return TorchCheckpoint.archive(PickleNode.dictionary([(.text("a"), tensor)]).pickled(), [("0", Self.data)])
        }
        let count = 24 / dtype.size - 1
        let bytes = file(offset: 1, count: count)
        let opened = try open(bytes).get()
        #expect(opened.tensors[0].dtype == dtype)
        #expect(contents(opened, bytes)["a"] == Array(Self.data[dtype.size...]))
        #expect(try error(file(offset: 2, count: count))?.problem.contains("not inside its storage") == true)
    }

    @Test func readsParametersAndOldTensors() throws {
        let tensor = Tensor("a", "Byte", key: "0", count: 24, shape: [24])
        let old = PickleNode.call(
            "torch._utils", "_rebuild_tensor",
            [
                tensor.storage(), .integer(0), .call("torch", "Size", [.tuple([.integer(24)])]),
                .tuple([.integer(1)]),
            ])
        let hooks = PickleNode.call("collections", "OrderedDict", [])
        let node = PickleNode.orderedDictionary([
            (.text("p"), .call("torch._utils", "_rebuild_parameter", [tensor.node(), .bool(true), hooks])),
            (
                .text("q"),
                .call("torch._utils", "_rebuild_parameter_with_state", [old, .bool(true), hooks, .dictionary([])])
            ),
        ])
        for bytes in files(node, count: 24, Self.data) {
            #expect(contents(try open(bytes).get(), bytes) == ["p": Self.data, "q": Self.data])
        }
    }

    /// Views, which only streams have: the tensor's offset counts from the view's.
    @Test func readsViewsOfStreams() throws {
        let view = PickleNode.tuple([.text("view"), .integer(8), .integer(10)])
        func stream(_ offset: Int, _ count: Int) -> [UInt8] {
            let tensor = Tensor("a", "Byte", key: "0", count: 24, offset: offset, shape: [count])
            return TorchCheckpoint.stream(
                TorchCheckpoint.stateDict([tensor], view: view).pickled(), [("0", 24, Self.data)])
        }
        let bytes = stream(2, 8)
        #expect(contents(try open(bytes).get(), bytes) == ["a": Array(10..<18)])
        #expect(try error(stream(3, 8))?.problem.contains("not inside its storage") == true)
    }

    @Test func ignoresNumbersAndText() throws {
        let tensor = Tensor("a", "Byte", key: "0", count: 24, shape: [24])
        let node = PickleNode.dictionary([
            (.text("epoch"), .integer(3)), (.text("a"), tensor.node()), (.text("by"), .text("x")), (.text("n"), .none),
            (.text("lr"), .real(0)),
        ])
        for bytes in files(node, count: 24, Self.data) {
            let file = try open(bytes).get()
            #expect(file.tensors.map(\.name) == ["a"])
            #expect(file.notes.count == 1)
            #expect(file.notes.first?.contains("epoch (an int), by (a str), n (None), lr (a float)") == true)
        }
    }

    @Test func refusesOtherDicts() throws {
        let tensor = Tensor("a", "Byte", key: "0", count: 24, shape: [24])
        let flat = TorchCheckpoint.stateDict([tensor])
        let cases: [(PickleNode, String, String?)] = [
            (
                .dictionary([(.text("state_dict"), flat), (.text("epoch"), .integer(1))]), "\"state_dict\" is no",
                "a dict"
            ),
            (.dictionary([(.text("model"), flat)]), "\"model\" is no tensor", "a dict"),
            (.dictionary([(.text("a"), tensor.node()), (.text("l"), .list([.none]))]), "\"l\" is no tensor", "a list"),
            (.dictionary([(.text("a"), tensor.storage())]), "\"a\" is no tensor", "a storage"),
            (.dictionary([(.integer(0), tensor.node())]), "no state dict", "an int"),
            (.list([tensor.node()]), "holds no state dict", "a list"), (tensor.node(), "no state dict", "a tensor"),
            (.dictionary([(.text("a"), tensor.node()), (.text("a"), tensor.node())]), "in the state dict twice", nil),
            (.dictionary([(.text("a\n"), tensor.node())]), "name is not acceptable", nil),
            (.dictionary([(.text(""), tensor.node())]), "name is not acceptable", nil),
        ]
        for (node, text, found) in cases {
            for bytes in files(node, count: 24, Self.data) {
                let error = try error(bytes)
                #expect(error?.kind == .malformed)
                #expect(error?.problem.contains(text) == true, "\(String(describing: error))")
                if let found { #expect(error?.found?.contains(found) == true) }
                #expect(error?.subject.hasSuffix("pytorch_model.bin") == true)
            }
        }
        let nested = try error(files(.dictionary([(.text("model"), flat)]), count: 24, Self.data)[0])
        #expect(nested?.hint?.contains("checkpoint[\"model\"]") == true)
    }

    @Test func refusesTensorsThatAreNotThere() throws {
        let cases: [(Tensor, String)] = [
            (Tensor("t", "Half", key: "0", count: 12, shape: [3, 4], stride: [1, 3]), "not contiguous"),
            (Tensor("t", "Half", key: "0", count: 12, shape: [3], stride: [0]), "not contiguous"),
            (Tensor("t", "Half", key: "0", count: 12, shape: [3, 2], stride: [4, 1]), "not contiguous"),
            (Tensor("t", "Half", key: "0", count: 12, offset: 1, shape: [12]), "not inside its storage"),
            (Tensor("t", "Half", key: "0", count: 12, offset: .max, shape: [1]), "not inside its storage"),
            (Tensor("t", "Half", key: "0", count: 12, offset: .max / 2, shape: [1]), "not inside its storage"),
            (Tensor("t", "Half", key: "0", count: 12, shape: [13]), "not inside its storage"),
            (Tensor("t", "Half", key: "0", count: 12, shape: [-1], stride: [1]), "dimension -1"),
            (Tensor("t", "Half", key: "0", count: 12, shape: [1 << 46, 1 << 46], stride: [1, 1]), "too large"),
            (Tensor("t", "Half", key: "0", count: 12, shape: [1 << 40, 0, 1 << 40], stride: [1, 1, 1]), "too large"),
            (Tensor("t", "Half", key: "0", count: 12, shape: [1, 1, 1, 1, 1, 1, 1, 1, 1]), "rank 9"),
        ]
        for (tensor, text) in cases {
            for bytes in files(TorchCheckpoint.stateDict([tensor]), count: 12, Self.data) {
                let error = try error(bytes)
                #expect(error?.tensor == "t")
                #expect(error?.problem.contains(text) == true, "\(String(describing: error))")
            }
        }
        let transposed = try error(
            files(TorchCheckpoint.stateDict([cases[0].0]), count: 12, Self.data)[0])
        #expect(transposed?.expected == "strides [4, 1] for shape [3, 4]")
        #expect(transposed?.found == "[1, 3]")
    }

    @Test func refusesStoragesThatAreNotThere() throws {
        let two = TorchCheckpoint.stateDict([
            Tensor("a", "Half", key: "0", count: 12, shape: [12]), Tensor("b", "Half", key: "1", count: 2, shape: [2]),
        ])
        let twice = TorchCheckpoint.stateDict([
            Tensor("a", "Half", key: "0", count: 12, shape: [12]), Tensor("b", "Float", key: "0", count: 6, shape: [6]),
        ])
        #expect(
            try error(TorchCheckpoint.archive(two.pickled(), [("0", Self.data)]))?.problem.contains("data/1") == true)
        let short = try error(TorchCheckpoint.archive(two.pickled(), [("0", Self.data), ("1", [1, 2, 3])]))
        #expect(short?.problem == "the storage data/1 has the wrong size")
        #expect(short?.expected == "4 bytes")
        #expect(
            try error(TorchCheckpoint.archive(twice.pickled(), [("0", Self.data)]))?.problem.contains("twice") == true)
        func stream(_ storages: [(key: String, count: Int, bytes: [UInt8])]) throws -> String? {
            try error(TorchCheckpoint.stream(two.pickled(), storages))?.problem
        }
        let a = (key: "0", count: 12, bytes: Self.data)
        let b = (key: "1", count: 2, bytes: [UInt8](repeating: 1, count: 4))
        #expect(try stream([b, a]) == nil)
        #expect(try stream([a])?.contains("lacks a storage") == true)
        #expect(try stream([a, a])?.contains("no tensor uses, or twice") == true)
        #expect(try stream([a, b, a])?.contains("that no tensor uses") == true)
        #expect(try stream([a, (key: "2", count: 2, bytes: b.bytes)])?.contains("no tensor uses") == true)
        #expect(try stream([a, (key: "1", count: 3, bytes: b.bytes)])?.contains("wrong size") == true)
        #expect(try stream([a, (key: "1", count: 2, bytes: [1, 2, 3])])?.contains("ends before the end") == true)
        #expect(try stream([a, (key: "1", count: 2, bytes: b.bytes + [0])])?.contains("follows the last") == true)
    }

    @Test func refusesOtherContainers() throws {
        let pickle = TorchCheckpoint.stateDict([Tensor("a", "Byte", key: "0", count: 24, shape: [24])]).pickled()
        let entries = TorchCheckpoint.entries(pickle, [("0", Self.data)])
        func archive(_ change: (inout [ZipWriter.Entry]) -> Void) throws -> LaminaError? {
            var changed = entries
            change(&changed)
            return try error(ZipWriter(changed).bytes)
        }
        #expect(try archive { _ in } == nil)
        #expect(
            try archive {
                $0[0].name = Array("m/other".utf8)
                $0[0].localName = $0[0].name
            }?.problem.contains("data.pkl") == true)
        #expect(
            try archive { $0.append(ZipWriter.Entry("m/constants.pkl", [])) }?.problem.contains("TorchScript") == true)
        #expect(
            try archive { $0.append(ZipWriter.Entry("x/a", [])) }?.problem.contains("outside of its folder") == true)
        #expect(try archive { $0[0].data += [0] }?.kind == .malformed)
        #expect(
            try archive { $0[0] = ZipWriter.Entry("m/data.pkl", pickle + [0]) }?.problem.contains("follows the pickle")
                == true)
        let big = try error(ZipWriter(TorchCheckpoint.entries(pickle, [("0", Self.data)], byteOrder: "big")).bytes)
        #expect(big?.found == "big")
        let stream = [(key: "0", count: 24, bytes: Self.data)]
        #expect(
            try error(TorchCheckpoint.stream(pickle, stream, isLittleEndian: false))?.problem.contains("byte order")
                == true)
        #expect(try error(TorchCheckpoint.stream(pickle, stream, version: 1002))?.found == "1002")
        #expect(try error(pickle)?.problem == "the file was not written by torch.save")
        #expect(try error([])?.found == "an empty file")
        #expect(try error(Array("version https://git-lfs.github.com/spec/v1\n".utf8))?.found?.contains("LFS") == true)
        #expect(try error([UInt8](repeating: 0, count: 257) + Array("ustar".utf8))?.found?.contains("tar") == true)
        #expect(try error(Array("<html>".utf8))?.problem == "the file was not written by torch.save")
        #expect(
            try error(PickleNode.call("os", "system", [.text("true")]).pickled())?.problem.contains("os.system") == true
        )
    }

    /// A storage that no tensor needs must not be carried along without bound.
    @Test func otherBytesAreBounded() throws {
        let count = Int(TorchFile.maximumOtherBytes)
        let node = TorchCheckpoint.stateDict([Tensor("a", "Byte", key: "0", count: count, shape: [1])])
        let found = try error(
            TorchCheckpoint.stream(node.pickled(), [("0", count, [UInt8](repeating: 0, count: count))]))
        #expect(found?.problem == "too much of the file belongs to no tensor")
    }
}
