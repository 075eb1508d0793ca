import Foundation
import TestSupport
import Testing

/// Other programs read what Lamina writes: the Python reader of formats/ against the safetensors package, HDF5's own
/// tools, and the manifest's JSON Schema.
@Suite struct ReaderTests {
    private static let needsPython: Comment = "LAMINA_PYTHON names no Python: scripts/test sets it up"

    private func python(_ arguments: [String]) throws -> ProcessResult {
        try Tool.run(executable: try #require(Tool.python), arguments)
    }

    @Test(.enabled(if: Tool.python != nil, needsPython), arguments: Fixtures.models("llama"))
    func pythonRebuildsEveryTensor(_ name: String) throws {
        try Fixtures.withScratchFolder { folder in
            let source = Fixtures.path("models/" + name)
            let reader = Fixtures.project.appendingPathComponent("formats/lamina_store.py").path
            for options in [[], ["--chunk-bytes", "4K"], ["--codec", "raw"]] {
                let store = try makeStore(source, in: folder, options)
                for view in [[], ["--flat"]] {
                    let result = try python([reader, store, "--compare", source] + view)
                    #expect(result.status == 0, "\(options) \(view): \(result.standardOutput)\(result.standardError)")
                    #expect(result.standardOutput.contains("21") || result.standardOutput.contains("tensors"))
                }
            }
        }
    }

    @Test(.enabled(if: Tool.python != nil, needsPython))
    func manifestsFollowTheSchema() throws {
        try Fixtures.withScratchFolder { folder in
            let store = try makeStore(Fixtures.path("models/llama32-tied"), in: folder)
            let schema = Fixtures.project.appendingPathComponent("formats/manifest.schema.json").path
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

    @Test(.enabled(if: FileManager.default.isExecutableFile(atPath: "/usr/bin/h5dump"), "hdf5-tools is not installed"))
    func h5dumpListsShards() throws {
        try Fixtures.withScratchFolder { folder in
            let store = try makeStore(Fixtures.path("models/llama2-gqa"), in: folder, ["--chunk-bytes", "4K"])
            for shard in ["embedding", "0000", "0001", "head"] {
                let result = try Tool.run(executable: "/usr/bin/h5dump", ["-H", "\(store)/layers/\(shard).h5"])
                #expect(result.status == 0)
                #expect(result.standardOutput.contains("GROUP \"model.") || shard == "head")
            }
        }
    }
}
