import Foundation
import LayerStore
import TensorCore
import TestSupport
import Testing

/// `lamina-convert restore` and `export` through the built program.
@Suite struct RestoreCommandTests {
    private func contents(_ folder: String) throws -> [String: Data] {
        var found: [String: Data] = [:]
        for name in try FileManager.default.contentsOfDirectory(atPath: folder) where name != "golden.json" {
            found[name] = try Data(contentsOf: URL(fileURLWithPath: folder + "/" + name))
        }
        return found
    }

    private func restore(_ arguments: [String]) throws -> ProcessResult {
        try Tool.run("convert", ["restore"] + arguments)
    }

    /// Digests of all tensors by name, as the store has them from its source.
    private func digests(_ store: String) throws -> [String: SHA256Digest] {
        let manifest = try Store(path: store, in: RealFileSystem()).manifest
        return Dictionary(uniqueKeysWithValues: manifest.shards.flatMap(\.tensors).map { ($0.name, $0.digest) })
    }

    @Test(arguments: Fixtures.models(""))
    func goldenCheckpointsComeBack(_ name: String) throws {
        let source = Fixtures.path("models/" + name)
        try Fixtures.withScratchFolder { folder in
            let store = try makeStore(source, in: folder, ["--chunk-bytes", "4K"])
            let result = try restore([store, folder + "/restored"])
            #expect(result.status == 0, "\(result.standardError)")
            #expect(try contents(folder + "/restored") == contents(source))
            let sums = try Tool.run(
                executable: "/bin/sh", ["-c", "cd \"$0\" && exec sha256sum --check --strict -", folder + "/restored"],
                input: result.standardOutput)
            #expect(sums.status == 0, "\(sums.standardOutput) \(sums.standardError)")
            try exportComesBack(store, folder)
        }
    }

    /// What is exported can be converted again, to the same tensors.
    private func exportComesBack(_ store: String, _ folder: String) throws {
        let exported = folder + "/exported"
        let result = try Tool.run("convert", ["export", store, exported, "--shard-size", "100kB", "--quiet"])
        #expect(result.status == 0, "\(result.standardError)")
        let names = try contents(exported).keys
        #expect(names.allSatisfy { !$0.hasSuffix(".bin") && $0 != "pytorch_model.bin.index.json" })
        #expect(try digests(makeStore(exported, in: folder)) == digests(store))
        try publicReaderAgrees(exported, try digests(store))
    }

    /// The safetensors package reads every tensor, and its bytes have the digest of the source.
    private func publicReaderAgrees(_ folder: String, _ expected: [String: SHA256Digest]) throws {
        guard let python = Tool.python else { return }
        let program = """
            import hashlib, pathlib, sys
            from safetensors import deserialize
            for path in sorted(pathlib.Path(sys.argv[1]).glob("*.safetensors")):
                for name, tensor in deserialize(path.read_bytes()):
                    print(hashlib.sha256(bytes(tensor["data"])).hexdigest(), name)
            """
        let result = try Tool.run(executable: python, ["-c", program, folder])
        #expect(result.status == 0, "\(result.standardError)")
        let lines = expected.map { "\($0.value) \($0.key)" }.sorted()
        #expect(result.standardOutput.split(separator: "\n").map(String.init).sorted() == lines)
    }

    @Test(.enabled(if: Tool.smolLM2 != nil, "LAMINA_SMOLLM2 names no checkpoint: scripts/test makes one"))
    func smolLM2ComesBack() throws {
        let source = try #require(Tool.smolLM2)
        try Fixtures.withScratchFolder { folder in
            let store = try makeStore(source, in: folder)
            let summary = try json("convert", ["restore", store, folder + "/restored", "--json", "--quiet"])
            let peak = try #require(summary["peak_memory_bytes"] as? Int)
            #expect(peak <= 512 << 20)
            let originals = try contents(source)
            let restored = try contents(folder + "/restored")
            for (name, bytes) in restored { #expect(bytes == originals[name], "\(name)") }
            #expect(restored["model.safetensors"] != nil && restored["tokenizer.json"] != nil)
            for file in try #require(summary["files"] as? [[String: Any]]) {
                let name = try #require(file["name"] as? String)
                #expect(file["sha256"] as? String == SHA256.digest(of: Array(restored[name] ?? Data())).description)
            }
        }
    }

    private func withLlama(
        _ change: (inout SyntheticCheckpoint.LlamaSizes) -> Void = { _ in },
        _ body: (_ source: String, _ store: String, _ folder: String) throws -> Void
    ) throws {
        try Fixtures.withScratchFolder { folder in
            var sizes = SyntheticCheckpoint.LlamaSizes()
            change(&sizes)
            try SyntheticCheckpoint.writeLlama(sizes, to: folder + "/source")
            try body(folder + "/source", try makeStore(folder + "/source", in: folder), folder)
        }
    }

    /// Killed at any moment: only whole files under their names, and the same command completes the checkpoint.
    @Test(arguments: ["restore", "export"])
    func killedRunsAreCompleted(_ verb: String) throws {
        func widen(_ sizes: inout SyntheticCheckpoint.LlamaSizes) {
            (sizes.hidden, sizes.intermediate, sizes.headDimension, sizes.vocabulary) = (384, 1536, 128, 4000)
        }
        try withLlama(widen) { _, store, folder in
            let tool = Tool.folder.path + "/lamina-convert"
            let options = verb == "export" ? ["--shard-size", "2MB"] : []
            #expect(try Tool.run("convert", [verb, store, folder + "/whole"] + options).status == 0)
            let expected = try contents(folder + "/whole")
            let out = folder + "/out"
            var generator = SeededGenerator(seed: 3)
            var killed = 0
            for _ in 0..<25 {
                let seconds = Double.random(in: 0.002...0.12, using: &generator)
                let result = try Tool.run(
                    executable: "/usr/bin/timeout",
                    ["--signal", "KILL", "\(seconds)", tool, verb, store, out, "--quiet"] + options)
                if result.status != 0 { killed += 1 }
                if let found = try? contents(out) {
                    for (name, bytes) in found where !name.hasPrefix(".") {
                        #expect(bytes == expected[name], "\(name)")
                    }
                }
            }
            #expect(killed > 0)
            let last = try Tool.run("convert", [verb, store, out] + options)
            #expect(last.status == 0, "\(last.standardError)")
            #expect(try contents(out) == expected)
        }
    }

    @Test func aFileThatDiffersIsNeverOverwritten() throws {
        try withLlama { source, store, folder in
            // Into the checkpoint itself, as after its weights were deleted.
            try FileManager.default.removeItem(atPath: source + "/model.safetensors")
            #expect(try restore([store, source]).status == 0)
            var config = try Data(contentsOf: URL(fileURLWithPath: source + "/config.json"))
            config[3] ^= 1
            try config.write(to: URL(fileURLWithPath: source + "/config.json"))
            try FileManager.default.removeItem(atPath: source + "/model.safetensors")
            let result = try restore([store, source])
            #expect(result.status == 73 && result.standardError.contains("config.json"), "\(result.standardError)")
            #expect(try contents(source) == ["config.json": config])
            // Only the weights are asked for: nothing is in their way.
            #expect(try restore([store, source, "--file", "model.safetensors"]).status == 0)
            let unknown = try restore([store, source, "--file", "model.bin"])
            #expect(unknown.status == 64 && unknown.standardError.contains("model.safetensors"))
        }
    }

    @Test func placesAndFlags() throws {
        try withLlama { _, store, folder in
            for place in [store, store + "/layers/x", folder, folder + "/absent/x"] {
                #expect(try restore([store, place]).status == 73, "\(place)")
            }
            let out = folder + "/out"
            #expect(try restore([folder, out]).status == 66)
            for flags in [["--threads", "0"], ["--file"], ["--nothing"], ["--shard-size", "2GB"]] {
                #expect(try restore([store, out] + flags).status == 64, "\(flags)")
            }
            #expect(try Tool.run("convert", ["export", store, out, "--shard-size", "0"]).status == 64)
            #expect(!FileManager.default.fileExists(atPath: out))
            let plan = try restore([store, out, "--dry-run"])
            #expect(plan.status == 0 && plan.standardOutput.contains("model.safetensors"))
            #expect(plan.standardOutput.contains("free"))
            let listed = try json("convert", ["restore", store, out, "--dry-run", "--json"])
            #expect((listed["files"] as? [[String: Any]])?.count == 2)
            #expect(!FileManager.default.fileExists(atPath: out))
            for verb in ["restore", "export"] {
                let help = try Tool.run("convert", [verb, "--help"]).standardOutput
                #expect(help.contains("Exit codes") && help.contains("Examples"))
            }
        }
    }

    @Test func damageStopsIt() throws {
        try withLlama { _, store, folder in
            let path = store + "/layers/0001.h5"
            var shard = try Data(contentsOf: URL(fileURLWithPath: path))
            shard[shard.count / 2] ^= 0xFF
            shard[shard.count / 2 + 4096] ^= 0xFF
            try shard.write(to: URL(fileURLWithPath: path))
            for verb in ["restore", "export"] {
                let result = try Tool.run("convert", [verb, store, folder + "/" + verb, "--quiet"])
                #expect(result.status == 3, "\(result.standardError)")
                for text in ["0001.h5", "layer 1", "model.layers.1.", "bytes "] {
                    #expect(result.standardError.contains(text), "\(result.standardError)")
                }
                #expect(try contents(folder + "/" + verb).isEmpty)
            }
        }
    }
}
