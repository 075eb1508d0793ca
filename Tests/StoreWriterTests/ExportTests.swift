import Checkpoint
import Foundation
import Glibc
import LayerStore
import StoreWriter
import TensorCore
import TestSupport
import Testing

/// Stores written anew as safetensors.
@Suite struct ExportTests {
    /// The tensors of exported files, by name.
    private func tensors(_ folder: String) throws -> [String: (tensor: SourceTensor, bytes: [UInt8], file: String)] {
        var found: [String: (SourceTensor, [UInt8], String)] = [:]
        for name in try SmallConversion.contents(folder).keys where name.hasSuffix(".safetensors") {
            let file = try WeightFile(name: name, path: folder + "/" + name, in: RealFileSystem())
            #expect(file.dataOffset % 8 == 0)
            for tensor in file.tensors {
                #expect((file.dataOffset + tensor.bytes.lowerBound) % UInt64(tensor.dtype.size) == 0, "\(tensor.name)")
                var bytes = [UInt8](repeating: 0, count: tensor.bytes.count)
                try bytes.withMutableBytes { (buffer) throws(LaminaError) in
                    try file.read(into: buffer, atDataOffset: tensor.bytes.lowerBound)
                }
                #expect(found.updateValue((tensor, bytes, name), forKey: tensor.name) == nil)
            }
        }
        return found
    }

    @Test(arguments: [1, 100_000, 5_000_000_000])
    func holdsEveryTensor(_ fileBytes: Int) throws {
        try Fixtures.withScratchFolder { folder in
            let fixture = try RestoreFixture(in: folder)
            let finished = try fixture.export(to: folder + "/out", fileBytes: fileBytes)
            let found = try tensors(folder + "/out")
            let manifest = try Store(path: fixture.store, in: RealFileSystem()).manifest
            #expect(found.count == manifest.tensorCount)
            for tensor in manifest.shards.flatMap(\.tensors) {
                let exported = try #require(found[tensor.name])
                #expect(exported.tensor.dtype == tensor.dtype && exported.tensor.shape == tensor.shape)
                #expect(SHA256.digest(of: exported.bytes) == tensor.digest)
            }
            let isSingle = fileBytes == 5_000_000_000
            let names = try SmallConversion.contents(folder + "/out").keys
            #expect(names.contains("model.safetensors") == isSingle)
            #expect(names.contains("model.safetensors.index.json") == !isSingle)
            #expect(names.contains("config.json"))
            guard !isSingle else { return }
            #expect(finished.last?.name == "model.safetensors.index.json")
            let index = try JSONValue.parse(
                Array(try Data(contentsOf: URL(fileURLWithPath: folder + "/out/model.safetensors.index.json")))
            ).object
            let map = try #require(index?["weight_map"]?.object)
            #expect(map.members.count == found.count)
            for (name, file) in map.members { #expect(file.string == found[name]?.file) }
            let total = manifest.shards.flatMap(\.tensors).reduce(UInt64(0)) { $0 + $1.byteCount }
            #expect(index?["metadata"]?.object?["total_size"]?.unsignedInteger == total)
        }
    }

    @Test func bytesDoNotDependOnThreads() throws {
        try Fixtures.withScratchFolder { folder in
            let fixture = try RestoreFixture(in: folder)
            try fixture.export(to: folder + "/one", threads: 1)
            try fixture.export(to: folder + "/four", threads: 4)
            #expect(try SmallConversion.contents(folder + "/one") == SmallConversion.contents(folder + "/four"))
            #expect(try fixture.export(to: folder + "/one").allSatisfy(\.wasThere))
        }
    }

    @Test func unusedTensorsCanBeLeftOut() throws {
        try Fixtures.withScratchFolder { folder in
            let fixture = try RestoreFixture(in: folder)
            try fixture.export(to: folder + "/out", usedOnly: true)
            let manifest = try Store(path: fixture.store, in: RealFileSystem()).manifest
            let used = manifest.shards.flatMap(\.tensors).filter { $0.unusedBecause == nil }.map(\.name)
            #expect(Set(try tensors(folder + "/out").keys) == Set(used))
        }
    }

    @Test func foldersWithOtherFilesAreRefused() throws {
        try Fixtures.withScratchFolder { folder in
            let fixture = try RestoreFixture(in: folder)
            mkdir(folder + "/out", 0o700)
            try Data([1]).write(to: URL(fileURLWithPath: folder + "/out/precious"))
            let error = #expect(throws: LaminaError.self) { try fixture.export(to: folder + "/out") }
            #expect(error?.kind == .cannotCreate && error?.found == "precious")
            #expect(try SmallConversion.contents(folder + "/out").keys.sorted() == ["precious"])
        }
    }

    @Test func namesThatSafetensorsCannotHoldAreRefused() throws {
        try Fixtures.withScratchFolder { folder in
            let fixture = try RestoreFixture(in: folder)
            try fixture.changeManifest { $0.shards[0].tensors[0].name = "__metadata__" }
            let error = #expect(throws: LaminaError.self) { try fixture.export(to: folder + "/out") }
            #expect(error?.kind == .malformed)
        }
    }
}
