import Checkpoint
import Foundation
import Glibc
import TensorCore
import TestSupport
import Testing

/// Indexes that attack, side files that are no files, tensors spread over many files (cases 13, 14 and 16).
@Suite struct WeightIndexTests {
    private let one = SyntheticCheckpoint.safetensors([.init(name: "a", dtype: .uint8, shape: [1], bytes: [1])])

    /// What is said of a folder with these files besides `config.json`.
    private func error(_ files: [String: [UInt8]], _ prepare: (String) -> Void = { _ in }) throws -> LaminaError? {
        try Fixtures.withScratchFolder { folder in
            let all = files.merging(["config.json": Array("{}".utf8)]) { kept, _ in kept }
            for (name, bytes) in all { try Data(bytes).write(to: URL(fileURLWithPath: folder + "/" + name)) }
            prepare(folder)
            do throws(LaminaError) {
                _ = try CheckpointFolder(path: folder, in: RealFileSystem())
                return nil
            } catch { return error }
        }
    }

    private func error(index: String) throws -> LaminaError? {
        try error(["model.safetensors.index.json": Array(index.utf8), "m.safetensors": one])
    }

    @Test(arguments: [
        ("", "the text ends"), ("[]", "not a JSON object"), ("{}", "no \"weight_map\" object"),
        ("{\"weight_map\":[]}", "not an object"), ("{\"weight_map\":null}", "not an object"),
        ("{\"weight_map\":{}}", "names no file"), ("{\"weight_map\":{\"a\":7}}", "no plain file name"),
        ("{\"weight_map\":{\"a\":{\"b\":1}}}", "no plain file name"),
        ("{\"weight_map\":{\"a\":\"m.safetensors\",\"a\":\"m.safetensors\"}}", "lists the name twice"),
        ("{\"weight_map\":{\"a\":\"m.safetensors\",\"\\u0061\":\"m.safetensors\"}}", "lists the name twice"),
        ("{\"weight_map\":{\"a\":\"m.safetensors\"},\"weight_map\":{}}", "duplicate key"),
        ("{\"weight_map\":{\"a\":\"m.safetensors\"}} x", "text after the end"),
        ("{\"weight_map\":{\"a\\n\":\"m.safetensors\"}}", "a tensor name is not acceptable"),
        ("{\"weight_map\":{\"a\":\"m.safetensors\"},\"x\":\"\\ud800\"}", "lone surrogate"),
        ("{\"weight_map\":{\"a\":\"m.bin\"}}", "no plain file name"),
        ("{\"weight_map\":{\"a\":\"m\\u002f..\\u002fm.safetensors\"}}", "no plain file name"),
        ("{\"weight_map\":{\"a\":\"..\\\\m.safetensors\"}}", "no plain file name"),
        ("{\"weight_map\":{\"a\":\"m\\u0000.safetensors\"}}", "no plain file name"),
        ("{\"weight_map\":{\"a\":\"-m.safetensors\"}}", "no plain file name"),
        ("{\"weight_map\":{\"a\":\"m\\u202e.safetensors\"}}", "found \"m\\u{202e}.safetensors\""),
    ])
    func malformedIndexes(_ index: String, says: String) throws {
        let found = try #require(try error(index: index))
        #expect(found.kind == .malformed)
        #expect(found.subject.hasSuffix("/model.safetensors.index.json"))
        #expect(found.description.contains(says), "\(found)")
    }

    /// The total is a note to people: nothing is refused for it.
    @Test(arguments: ["2", "-1", "1.0", "1e0", "\"1\"", "null", "99999999999999999999"])
    func wrongTotalsAreNoErrors(_ total: String) throws {
        let index = "{\"metadata\":{\"total_size\":\(total)},\"weight_map\":{\"a\":\"m.safetensors\"}}"
        #expect(try error(index: index) == nil)
    }

    @Test func indexesOfTooManyTensorsAreRefused() throws {
        var index = Array("{\"weight_map\":{".utf8)
        for number in 0...SafetensorsHeader.maximumTensors { index += Array("\"\(number)\":\"m.safetensors\",".utf8) }
        let found = try error(["model.safetensors.index.json": index, "m.safetensors": one])
        #expect(found?.problem == "the weight map lists more than 1000000 tensors")
    }

    /// Case 16: one run tells everything that does not fit.
    @Test func allContradictionsAreListedAtOnce() throws {
        func file(_ names: [String]) -> [UInt8] {
            SyntheticCheckpoint.safetensors(
                names.map { .init(name: $0, dtype: .uint8, shape: [1], bytes: [1]) })
        }
        let map = """
            {"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors","gone":"model-1.safetensors",
            "moved":"model-1.safetensors"}}
            """
        let found = try #require(
            try error([
                "model.safetensors.index.json": Array(map.utf8), "model-1.safetensors": file(["a", "extra"]),
                "model-2.safetensors": file(["a", "b", "moved"]), "model-3.safetensors": file(["c"]),
                "model.safetensors": file(["a"]),
            ]))
        #expect(found.kind == .malformed)
        for text in [
            "a is in model-1.safetensors and in model-2.safetensors", "model-1.safetensors lacks gone",
            "moved is in model-2.safetensors, not in model-1.safetensors",
            "model-1.safetensors holds extra, which the index does not list",
            "model-3.safetensors is in the folder but not in the index",
            "model.safetensors is in the folder but not in the index",
        ] {
            #expect(found.problem.contains(text), "\(text)")
        }
        let missing = try #require(
            try error(["model.safetensors.index.json": Array(map.utf8), "model.safetensors": file(["a"])]))
        #expect(missing.kind == .missing)
        #expect(missing.problem.contains("model-1.safetensors, model-2.safetensors"))
    }

    /// Case 14: whatever has the name of a file that is read, nothing blocks and nothing but a file is read.
    @Test(arguments: ["config.json", "model.safetensors", "model.safetensors.index.json"])
    func whatIsNoFileIsRefusedAtOnce(_ name: String) throws {
        var files = ["model.safetensors": one]
        if name != "model.safetensors" { files[name] = [] }
        let kinds: [(String, (String) -> Void)] = [
            ("FIFO", { mkfifo($0, 0o600) }), ("folder", { mkdir($0, 0o700) }),
            ("link to a device", { symlink("/dev/zero", $0) }), ("link to a terminal", { symlink("/dev/tty", $0) }),
            ("loop", { symlink($0, $0) }), ("link outside", { symlink("/etc/hostname", $0) }),
            ("link to the folder", { symlink(".", $0) }),
            (
                "link to a FIFO",
                { path in
                    mkfifo(path + ".pipe", 0o600)
                    symlink(path + ".pipe", path)
                }
            ),
        ]
        for (kind, make) in kinds {
            let found = try error(files) { folder in
                unlink(folder + "/" + name)
                make(folder + "/" + name)
            }
            #expect(found?.kind == .malformed, "\(kind): \(found.map(\.description) ?? "accepted")")
            #expect(found?.subject.hasSuffix("/" + name) == true, "\(kind)")
        }
    }

    /// A side file is looked at like the weights.
    @Test func sideFilesAreFiles() throws {
        try Fixtures.withScratchFolder { folder in
            try Data(one).write(to: URL(fileURLWithPath: folder + "/model.safetensors"))
            try Data("{}".utf8).write(to: URL(fileURLWithPath: folder + "/config.json"))
            let checkpoint = try CheckpointFolder(path: folder, in: RealFileSystem())
            #expect(try checkpoint.sideFile("tokenizer.json", limit: 10) == nil)
            mkfifo(folder + "/tokenizer.json", 0o600)
            #expect(throws: LaminaError.self) { try checkpoint.sideFile("tokenizer.json", limit: 10) }
            unlink(folder + "/tokenizer.json")
            symlink("/etc/passwd", folder + "/tokenizer.json")
            #expect(throws: LaminaError.self) { try checkpoint.sideFile("tokenizer.json", limit: 1 << 20) }
            unlink(folder + "/tokenizer.json")
            try Data(repeating: 0x20, count: 11).write(to: URL(fileURLWithPath: folder + "/tokenizer.json"))
            let large = #expect(throws: LaminaError.self) { try checkpoint.sideFile("tokenizer.json", limit: 10) }
            #expect(large?.problem == "the file is too large")
        }
    }
}
