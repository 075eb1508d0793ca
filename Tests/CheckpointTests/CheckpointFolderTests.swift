import Checkpoint
import Foundation
import Glibc
import TensorCore
import TestSupport
import Testing

/// Index, config and links: cases 13 to 17 and 22 of the case table.
@Suite struct CheckpointFolderTests {
    private let one = SyntheticCheckpoint.safetensors([.init(name: "a", dtype: .uint8, shape: [1], bytes: [1])])
    private let two = SyntheticCheckpoint.safetensors([.init(name: "b", dtype: .uint8, shape: [1], bytes: [2])])

    private func open(_ files: [String: [UInt8]]) throws -> Result<CheckpointFolder, LaminaError> {
        try Fixtures.withScratchFolder { folder in
            for (name, bytes) in files { try Data(bytes).write(to: URL(fileURLWithPath: folder + "/" + name)) }
            return Result { () throws(LaminaError) in try CheckpointFolder(path: folder, in: RealFileSystem()) }
        }
    }

    private func error(_ files: [String: [UInt8]]) throws -> LaminaError? {
        if case .failure(let error) = try open(files) { return error }
        return nil
    }

    private func index(_ map: String, total: Int = 2) -> [UInt8] {
        Array("{\"metadata\":{\"total_size\":\(total)},\"weight_map\":\(map)}".utf8)
    }

    @Test func opensSingleAndSharded() throws {
        let single = try open(["config.json": Array("{}".utf8), "model.safetensors": one]).get()
        #expect(single.files.map(\.name) == ["model.safetensors"])
        let map = "{\"a\":\"m-1.safetensors\",\"b\":\"m-2.safetensors\"}"
        let files = [
            "config.json": Array("{}".utf8), "m-1.safetensors": one, "m-2.safetensors": two,
            "model.safetensors.index.json": index(map),
        ]
        let sharded = try open(files).get()
        #expect(sharded.files.map(\.name) == ["m-1.safetensors", "m-2.safetensors"])
        #expect(sharded.warnings.isEmpty)
        let wrongTotal = try open(files.merging(["model.safetensors.index.json": index(map, total: 3)]) { $1 }).get()
        #expect(wrongTotal.warnings.count == 1)
    }

    @Test(arguments: [
        "../../other/model.safetensors", "/etc/passwd", "a/b.safetensors", "C:\\x.safetensors", "%2e%2e", "", ".", "..",
        ".safetensors", "a\\u0000.safetensors",
    ])
    func case13WeightMapNamesFiles(_ name: String) throws {
        let escaped = name.split(separator: "\\", omittingEmptySubsequences: false).joined(separator: "\\\\")
        let found = try error([
            "config.json": Array("{}".utf8), "model.safetensors.index.json": index("{\"a\":\"\(escaped)\"}"),
        ])
        #expect(found?.kind == .malformed)
        #expect(found?.problem.contains("no plain file name") == true)
    }

    @Test func case14and15Links() throws {
        try Fixtures.withScratchFolder { root in
            let manager = FileManager.default
            let snapshot = root + "/models--org--name/snapshots/abc"
            let blobs = root + "/models--org--name/blobs"
            try manager.createDirectory(atPath: snapshot, withIntermediateDirectories: true)
            try manager.createDirectory(atPath: blobs, withIntermediateDirectories: true)
            try Data("{}".utf8).write(to: URL(fileURLWithPath: snapshot + "/config.json"))
            try Data(one).write(to: URL(fileURLWithPath: blobs + "/blob"))
            try Data(one).write(to: URL(fileURLWithPath: root + "/outside"))
            let link = snapshot + "/model.safetensors"
            func open(linkTo target: String) -> LaminaError? {
                unlink(link)
                symlink(target, link)
                do throws(LaminaError) {
                    _ = try CheckpointFolder(path: snapshot, in: RealFileSystem())
                    return nil
                } catch { return error }
            }
            #expect(open(linkTo: "../../blobs/blob") == nil)
            #expect(open(linkTo: root + "/outside")?.kind == .malformed)
            #expect(open(linkTo: "/dev/zero")?.kind == .malformed)
            #expect(open(linkTo: "model.safetensors")?.kind == .malformed)
            #expect(open(linkTo: "nowhere")?.kind == .missing)
            #expect(open(linkTo: ".")?.kind == .malformed)
            unlink(link)
            mkfifo(link, 0o600)
            let pipe = #expect(throws: LaminaError.self) { try CheckpointFolder(path: snapshot, in: RealFileSystem()) }
            #expect(pipe?.kind == .malformed)
        }
    }

    @Test func case16Contradictions() throws {
        let config = ["config.json": Array("{}".utf8)]
        let missing = try error(
            config.merging(["model.safetensors.index.json": index("{\"a\":\"m-1.safetensors\"}")]) { $1 })
        #expect(missing?.kind == .missing)
        #expect(missing?.problem.contains("m-1.safetensors") == true)
        let map = index("{\"a\":\"m-1.safetensors\",\"c\":\"m-2.safetensors\"}")
        let wrong = try error(
            config.merging([
                "m-1.safetensors": one, "m-2.safetensors": two, "model.safetensors.index.json": map,
                "model.safetensors": one, "model-9.safetensors": one,
            ]) { $1 })
        #expect(wrong?.kind == .malformed)
        for text in ["m-2.safetensors lacks c", "holds b", "model-9.safetensors is in", "model.safetensors is in"] {
            #expect(wrong?.problem.contains(text) == true, "\(text)")
        }
        let twice = try error(
            config.merging([
                "m-1.safetensors": one, "m-2.safetensors": one,
                "model.safetensors.index.json": index("{\"a\":\"m-1.safetensors\",\"x\":\"m-2.safetensors\"}"),
            ]) { $1 })
        #expect(twice?.problem.contains("a is in m-1.safetensors and in m-2.safetensors") == true)
    }

    private let bin = TorchCheckpoint.archive(
        TorchCheckpoint.stateDict([TorchCheckpoint.Tensor("a", "Byte", key: "0", count: 1, shape: [1])]).pickled(),
        [("0", [1])])

    @Test func torchFilesComeSecond() throws {
        let config = ["config.json": Array("{}".utf8)]
        let alone = try open(config.merging(["pytorch_model.bin": bin]) { $1 }).get()
        #expect(alone.files.map(\.format) == [.torchArchive])
        #expect(alone.warnings.isEmpty)
        let both = try open(config.merging(["pytorch_model.bin": bin, "model.safetensors": one]) { $1 }).get()
        #expect(both.files.map(\.name) == ["model.safetensors"])
        #expect(both.warnings == ["the folder holds .safetensors and .bin weights; the former are read"])
        // Not even looked at.
        let broken = try open(config.merging(["pytorch_model.bin": [0], "model.safetensors": one]) { $1 }).get()
        #expect(broken.files.map(\.name) == ["model.safetensors"])
    }

    @Test func torchIndexesFollowTheSameRules() throws {
        let config = ["config.json": Array("{}".utf8), "pytorch_model-1.bin": bin]
        func error(_ map: String, _ more: [String: [UInt8]] = [:]) throws -> LaminaError? {
            let files = config.merging(["pytorch_model.bin.index.json": index(map)]) { $1 }
            return try self.error(files.merging(more) { $1 })
        }
        #expect(try error("{\"a\":\"pytorch_model-1.bin\"}") == nil)
        #expect(try error("{\"a\":\"../pytorch_model-1.bin\"}")?.problem.contains("no plain file name") == true)
        #expect(try error("{\"a\":\"model.safetensors\"}")?.problem.contains("no plain file name") == true)
        #expect(try error("{\"a\":\"pytorch_model-2.bin\"}")?.kind == .missing)
        #expect(try error("{\"b\":\"pytorch_model-1.bin\"}")?.problem.contains("holds a, which") == true)
        let stray = try error("{\"a\":\"pytorch_model-1.bin\"}", ["pytorch_model.bin": bin])
        #expect(stray?.problem.contains("pytorch_model.bin is in the folder but not in the index") == true)
    }

    @Test func case22OtherKinds() throws {
        #expect(try error([:])?.kind == .missing)
        #expect(try error(["pytorch_model.bin": [0]])?.problem == "the file was not written by torch.save")
        #expect(try error(["pytorch_model-00001-of-00002.bin": [0]])?.problem.contains("no index") == true)
        #expect(try error(["x.gguf": [0]])?.found == "a GGUF file")
        #expect(try error(["adapter_config.json": [0]])?.found == "a LoRA adapter")
        #expect(try error(["model.safetensors": one])?.kind == .missing)
        #expect(try error(["model.safetensors": one, "config.json": Array("[]".utf8)])?.kind == .malformed)
        let nowhere = #expect(throws: LaminaError.self) {
            try CheckpointFolder(path: "/nonexistent/x", in: RealFileSystem())
        }
        #expect(nowhere?.kind == .missing)
    }
}
