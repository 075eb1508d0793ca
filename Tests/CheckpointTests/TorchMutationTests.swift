import Foundation
import TensorCore
import TestSupport
import Testing

@testable import Checkpoint

/// Damaged files of torch, all of them: an error, or tensors that are where the file says; never a trap. And the golden
/// ones, whole.
@Suite struct TorchMutationTests {
    private static let tensors = [
        TorchCheckpoint.Tensor("a.weight", "BFloat16", key: "0", count: 12, shape: [3, 4]),
        TorchCheckpoint.Tensor("b.weight", "BFloat16", key: "0", count: 12, offset: 4, shape: [2, 2]),
        TorchCheckpoint.Tensor("c.bias", "Float", key: "1", count: 2, shape: [2]),
    ]
    private static let storages = [
        (key: "0", count: 12, bytes: [UInt8](repeating: 0x3F, count: 24)),
        (key: "1", count: 2, bytes: [UInt8](repeating: 0x40, count: 8)),
    ]

    private static var pickle: [UInt8] {
        PickleNode.orderedDictionary(tensors.map { (.text($0.name), $0.node()) }).pickled(memoize: false)
    }

    private static var archives: [[UInt8]] {
        let entries = TorchCheckpoint.entries(pickle, storages.map { ($0.key, $0.bytes) })
        var plain = ZipWriter(entries)
        for index in plain.entries.indices { plain.entries[index].flags = 0 }
        plain.hasWideEnd = false
        return [ZipWriter(entries).bytes, plain.bytes]
    }

    private func open(_ bytes: [UInt8], in folder: String) throws -> WeightFile? {
        let path = folder + "/pytorch_model.bin"
        try Data(bytes).write(to: URL(fileURLWithPath: path))
        do throws(LaminaError) {
            return try WeightFile(name: "pytorch_model.bin", path: path, in: RealFileSystem())
        } catch {
            #expect(error.kind == .malformed, "\(error)")
            return nil
        }
    }

    /// The file's bytes out of its tensors' and the others, by the rule of formats/layer-store.md.
    private func rebuilt(_ file: WeightFile, _ bytes: [UInt8]) -> [UInt8] {
        var result = [UInt8?](repeating: nil, count: bytes.count)
        for tensor in file.tensors {
            #expect(tensor.bytes.count == tensor.shape.elementCount * tensor.dtype.size)
            let range = Int(file.dataOffset + tensor.bytes.lowerBound)..<Int(file.dataOffset + tensor.bytes.upperBound)
            for index in range { result[index] = bytes[index] }
        }
        var rest = file.otherBytes[...]
        return result.map { $0 ?? rest.popFirst() ?? 0 }
    }

    private func flipped(_ bytes: [UInt8]) -> some Sequence<[UInt8]> {
        bytes.indices.lazy.flatMap { index in
            ([0x01, 0x10, 0x80, 0xFF] as [UInt8]).map { mask in
                var changed = bytes
                changed[index] ^= mask
                return changed
            }
        }
    }

    @Test(arguments: [0, 1]) func damagedArchives(_ kind: Int) throws {
        try Fixtures.withScratchFolder { folder in
            let bytes = Self.archives[kind]
            let good = try #require(try open(bytes, in: folder))
            for count in 0..<bytes.count { #expect(try open(Array(bytes[..<count]), in: folder) == nil) }
            var accepted = 0
            for changed in flipped(bytes) {
                guard let file = try open(changed, in: folder) else { continue }
                accepted += 1
                // The pickle has a checksum, and places are stated more than once.
                #expect(file.tensors == good.tensors)
                #expect(rebuilt(file, changed) == changed)
            }
            #expect(accepted > 4 * 32)
        }
    }

    @Test func damagedStreams() throws {
        try Fixtures.withScratchFolder { folder in
            let bytes = TorchCheckpoint.stream(Self.pickle, Self.storages)
            #expect(try open(bytes, in: folder)?.tensors.count == 3)
            for count in 0..<bytes.count { #expect(try open(Array(bytes[..<count]), in: folder) == nil) }
            for changed in flipped(bytes) {
                guard let file = try open(changed, in: folder) else { continue }
                #expect(file.tensors.allSatisfy { $0.bytes.upperBound <= UInt64(changed.count) })
                #expect(rebuilt(file, changed) == changed)
            }
        }
    }

    @Test func damagedIndexes() throws {
        try Fixtures.withScratchFolder { folder in
            func write(_ bytes: [UInt8], _ name: String) throws {
                try Data(bytes).write(to: URL(fileURLWithPath: folder + "/" + name))
            }
            func load() throws -> CheckpointFolder? {
                do throws(LaminaError) {
                    return try CheckpointFolder(path: folder, in: RealFileSystem())
                } catch {
                    #expect([.malformed, .missing].contains(error.kind), "\(error)")
                    return nil
                }
            }
            for (index, name) in ["pytorch_model-1.bin", "pytorch_model-2.bin"].enumerated() {
                let tensor = TorchCheckpoint.Tensor("t\(index)", "Float", key: "1", count: 2, shape: [2])
                let pickle = TorchCheckpoint.stateDict([tensor]).pickled()
                try write(TorchCheckpoint.archive(pickle, [("1", Self.storages[1].bytes)]), name)
            }
            try write(Array("{}".utf8), "config.json")
            let map = "\"weight_map\":{\"t0\":\"pytorch_model-1.bin\",\"t1\":\"pytorch_model-2.bin\"}"
            let index = Array("{\"metadata\":{\"total_size\":16},\(map)}".utf8)
            try write(index, "pytorch_model.bin.index.json")
            let good = try #require(try load())
            #expect(good.files.map(\.name) == ["pytorch_model-1.bin", "pytorch_model-2.bin"])
            #expect(good.warnings.isEmpty)
            for count in 0..<index.count {
                try write(Array(index[..<count]), "pytorch_model.bin.index.json")
                #expect(try load() == nil)
            }
            for changed in flipped(index) {
                try write(changed, "pytorch_model.bin.index.json")
                guard let found = try load() else { continue }
                #expect(found.files.map(\.tensors) == good.files.map(\.tensors))
            }
        }
    }

    @Test(arguments: [("llama-bin-single", 23), ("llama-bin-sharded", 30), ("llama-bin-legacy", 12)])
    func goldenFiles(_ name: String, _ count: Int) throws {
        let folder = try CheckpointFolder(path: Fixtures.path("models/" + name), in: RealFileSystem())
        #expect(folder.files.reduce(0) { $0 + $1.tensors.count } == count)
        #expect(folder.warnings.isEmpty)
        for file in folder.files {
            let bytes = try Fixtures.bytes("models/\(name)/\(file.name)")
            #expect(rebuilt(file, bytes) == bytes)
            // A cut anywhere is noticed.
            try Fixtures.withScratchFolder { scratch in
                for count in stride(from: 0, to: bytes.count, by: 997) {
                    let file = try open(Array(bytes[..<count]), in: scratch)
                    #expect(file == nil)
                }
            }
        }
    }
}
