import Foundation
import TestSupport
import Testing

/// Other programs read what Lamina writes: the Python reader of formats/ against the safetensors package, HDF5's own
/// tools with and without the plugin, and the manifest's JSON Schema.
@Suite struct ReaderTests {
    private static let needsPython: Comment = "LAMINA_PYTHON names no Python: scripts/test sets it up"
    private static let h5dump = "/usr/bin/h5dump"
    private static let hasTools = FileManager.default.isExecutableFile(atPath: h5dump)
    private static let needsTools: Comment = "hdf5-tools is not installed"
    private static let formats = Fixtures.project.appendingPathComponent("formats").path

    /// Where HDF5 libraries look for filters: beside the executables, or in a folder that has none.
    private func plugins(_ folder: String = Tool.folder.path) -> [String: String] { ["HDF5_PLUGIN_PATH": folder] }

    private func python(_ arguments: [String], environment: [String: String] = [:]) throws -> ProcessResult {
        try Tool.run(executable: try #require(Tool.python), arguments, environment: environment)
    }

    @Test(.enabled(if: Tool.python != nil, needsPython), arguments: Fixtures.models("llama"))
    func pythonRebuildsEveryTensor(_ name: String) throws {
        try Fixtures.withScratchFolder { folder in
            let source = Fixtures.path("models/" + name)
            let reader = Self.formats + "/lamina_store.py"
            for options in [[], ["--chunk-bytes", "4K"], ["--codec", "raw"], ["--codec", "exp-huf"]] {
                let store = try makeStore(source, in: folder, options)
                for (view, environment) in [([], plugins()), ([], plugins(folder)), (["--flat"], plugins(folder))] {
                    let result = try python([reader, store, "--compare", source] + view, environment: environment)
                    #expect(result.status == 0, "\(options) \(view): \(result.standardOutput)\(result.standardError)")
                    #expect(result.standardOutput.contains("21") || result.standardOutput.contains("tensors"))
                }
            }
        }
    }

    /// The plugin and the Python reader, which share no code, agree on every chunk; and h5py writes through the plugin
    /// what it reads again.
    @Test(.enabled(if: Tool.python != nil, needsPython), arguments: [[], ["--chunk-bytes", "4K"]])
    func h5pyReadsWordsThroughThePlugin(_ options: [String]) throws {
        let program = """
            import sys, h5py
            sys.dont_write_bytecode = True
            sys.path.insert(0, sys.argv[1])
            import lamina_store
            assert h5py.h5z.filter_avail(44554)
            coded = 0
            with h5py.File(sys.argv[2]) as shard, h5py.File(sys.argv[3], "w") as other:
                for name, group in shard.items():
                    if "words" not in group: continue
                    words, size = group["words"], group["words"].chunks[0]
                    for offset in range(0, words.size, size):
                        mask, stored = words.id.read_direct_chunk((offset,))
                        if mask: continue
                        coded += 1
                        assert (words[offset:offset + size] == lamina_store.slot_words(stored)).all()
                    copy = other.create_dataset(name, data=words[...], chunks=words.chunks, compression=44554)
                    copy.flush()
                    assert copy.id.get_storage_size() < copy.size and (copy[...] == words[...]).all()
            print(coded)
            """
        try Fixtures.withScratchFolder { folder in
            let store = try makeStore(Fixtures.path("models/llama-v5-config"), in: folder, options)
            for shard in ["0000", "head"] {
                let result = try python(
                    ["-c", program, Self.formats, "\(store)/layers/\(shard).h5", "\(folder)/\(shard).h5"],
                    environment: plugins())
                #expect((Int(result.standardOutput.dropLast()) ?? 0) > 0, "\(result.standardError)")
            }
        }
    }

    @Test(.enabled(if: Tool.python != nil, needsPython))
    func manifestsFollowTheSchema() throws {
        try Fixtures.withScratchFolder { folder in
            let store = try makeStore(Fixtures.path("models/llama32-tied"), in: folder)
            let schema = Self.formats + "/manifest.schema.json"
            let program = """
                import json, jsonschema, sys
                schema = json.load(open(sys.argv[1]))
                jsonschema.Draft202012Validator.check_schema(schema)
                manifest = json.load(open(sys.argv[2]))
                jsonschema.validate(manifest, schema)
                del manifest["shards"][0]["sha256"]
                try: jsonschema.validate(manifest, schema)
                except jsonschema.ValidationError: print("ok")
                """
            let result = try python(["-c", program, schema, store + "/manifest.json"])
            #expect(result.standardOutput == "ok\n", "\(result.standardError)")
        }
    }

    @Test(.enabled(if: hasTools, needsTools)) func h5dumpListsShards() throws {
        try Fixtures.withScratchFolder { folder in
            let store = try makeStore(Fixtures.path("models/llama2-gqa"), in: folder, ["--chunk-bytes", "4K"])
            for shard in ["embedding", "0000", "0001", "head"] {
                let result = try Tool.run(executable: Self.h5dump, ["-H", "\(store)/layers/\(shard).h5"])
                #expect(result.status == 0)
                #expect(result.standardOutput.contains("GROUP \"model.") || shard == "head")
            }
        }
    }

    /// Debian's libhdf5 and the plugin give the words that a store without codecs holds as they are; without the plugin
    /// there is an error.
    @Test(.enabled(if: hasTools, needsTools)) func h5dumpReadsWordsThroughThePlugin() throws {
        try Fixtures.withScratchFolder { folder in
            let output = folder + "/output"
            func dump(_ store: String, _ dataset: String, plugins: String) throws -> Data? {
                try? FileManager.default.removeItem(atPath: output)
                let result = try Tool.run(
                    executable: Self.h5dump, ["-d", dataset, "-b", "LE", "-o", output, "\(store)/layers/0001.h5"],
                    environment: self.plugins(plugins))
                return result.status == 0 ? FileManager.default.contents(atPath: output) : nil
            }
            let source = Fixtures.path("models/llama-v5-config")
            let coded = try makeStore(source, in: folder)
            let raw = try makeStore(source, in: folder, ["--codec", "raw"])
            for tensor in ["mlp.down_proj", "mlp.up_proj", "self_attn.q_proj"].map({ "/model.layers.*.\($0).weight" }) {
                let expected = try #require(try dump(raw, tensor + "/data", plugins: folder))
                #expect(expected.count >= 4096)
                #expect(try dump(coded, tensor + "/words", plugins: Tool.folder.path) == expected)
                #expect(try dump(coded, tensor + "/words", plugins: folder) == nil)
            }
        }
    }

    /// A process that loads the plugin has an HDF5 library already, and must not get another.
    @Test(arguments: ["Exp", "Ecq"]) func thePluginBringsNoHDF5(_ name: String) throws {
        let plugin = Tool.folder.appendingPathComponent("libLamina\(name)TierFilter.so")
        let content = try Data(contentsOf: plugin)
        #expect(content.range(of: Data("H5PLget_plugin_info".utf8)) != nil)
        #expect(content.range(of: Data("libhdf5".utf8)) == nil)
    }
}
