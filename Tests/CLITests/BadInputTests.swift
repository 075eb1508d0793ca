import Foundation
import TestSupport
import Testing

/// What users get wrong and what disks do: a clear message, the right exit code, nothing half made.
@Suite struct BadInputTests {
    private func copy(_ model: String, to folder: String) throws -> String {
        let target = folder + "/" + model
        try FileManager.default.copyItem(atPath: Fixtures.path("models/" + model), toPath: target)
        return target
    }

    private func expectFailure(
        _ tool: String, _ arguments: [String], status: Int32, saying text: String,
        environment: [String: String] = [:], location: SourceLocation = #_sourceLocation
    ) throws {
        let result = try Tool.run(tool, arguments, environment: environment)
        #expect(result.status == status, "\(result.standardError)", sourceLocation: location)
        #expect(result.standardError.contains(text), "\(result.standardError)", sourceLocation: location)
        #expect(!result.standardError.contains("Fatal error"), sourceLocation: location)
    }

    private func edit(_ path: String, _ change: (String) -> String) throws {
        let text = try String(contentsOfFile: path, encoding: .utf8)
        let changed = change(text)
        try #require(changed != text)
        try changed.write(toFile: path, atomically: true, encoding: .utf8)
    }

    /// `data` with every `old` turned into `new`, which is as long.
    private func replaced(_ data: Data, _ old: String, _ new: String) -> Data {
        var result = data
        while let range = result.range(of: Data(old.utf8)) { result.replaceSubrange(range, with: Data(new.utf8)) }
        return result
    }

    @Test func checkpoints() throws {
        try Fixtures.withScratchFolder { folder in
            let store = folder + "/store"
            func refuse(
                _ source: String, _ status: Int32, _ text: String, _ location: SourceLocation = #_sourceLocation
            )
                throws
            {
                try expectFailure("convert", [source, store], status: status, saying: text, location: location)
                #expect(!FileManager.default.fileExists(atPath: store), sourceLocation: location)
            }
            try refuse(folder + "/nowhere", 66, "no such folder")
            try refuse(folder, 66, "the folder is empty")
            let model = try copy("llama2-gqa", to: folder)
            try edit(model + "/config.json") { $0.replacing("\"llama\"", with: "\"mamba\"") }
            try refuse(model, 65, "mamba")
            try edit(model + "/config.json") { $0.replacing("\"mamba\"", with: "\"llama\"") }
            try edit(model + "/config.json") { $0.replacing("\"vocab_size\": 320", with: "\"vocab_size\": 321") }
            try refuse(model, 65, "contradicts config.json")
            try edit(model + "/config.json") { $0.replacing("\"vocab_size\": 321", with: "\"vocab_size\": 320") }
            try edit(model + "/config.json") {
                $0.replacing("\"num_hidden_layers\": 2", with: "\"num_hidden_layers\": 3")
            }
            try refuse(model, 65, "model.layers.2.")
            try edit(model + "/config.json") {
                $0.replacing("\"num_hidden_layers\": 3", with: "\"num_hidden_layers\": 2")
            }
            let good = try Data(contentsOf: URL(fileURLWithPath: model + "/model.safetensors"))
            let integers = replaced(good, "\"F16\"", "\"I16\"")
            try integers.write(to: URL(fileURLWithPath: model + "/model.safetensors"))
            try refuse(model, 65, "dtype I16 is not supported")
            let weights = FileHandle(forWritingAtPath: model + "/model.safetensors")
            weights?.truncateFile(atOffset: 1000)
            try refuse(model, 65, "longer than the file")
            let sharded = try copy("llama31-rope", to: folder)
            try FileManager.default.removeItem(atPath: sharded + "/model-00002-of-00003.safetensors")
            try refuse(sharded, 66, "model-00002-of-00003.safetensors")
        }
    }

    @Test func commandLines() throws {
        try Fixtures.withScratchFolder { folder in
            let model = Fixtures.path("models/llama2-gqa")
            let store = try makeStore(model, in: folder)
            try expectFailure("convert", [model], status: 64, saying: "Usage")
            try expectFailure("convert", [model, folder + "/x", "--codec", "zip"], status: 64, saying: "--codec")
            try expectFailure("convert", [model, folder + "/x", "--threads", "0"], status: 64, saying: "--threads")
            try expectFailure("convert", [model, store], status: 73, saying: "already")
            try expectFailure("convert", [model, model], status: 73, saying: "separate folders")
            try expectFailure("convert", [model, folder + "/no/such"], status: 73, saying: "no such folder")
            try expectFailure("verify", [folder + "/none"], status: 66, saying: "no layer store")
            try expectFailure("verify", [store, "--quick", "--decode"], status: 64, saying: "exclude each other")
            try expectFailure("run", [store, "--prompt", "x"], status: 64, saying: "tokenizer")
            try expectFailure("run", [store, "--ids", "1,999"], status: 64, saying: "999")
            try expectFailure("run", [store, "--ids", "1", "--memory", "1K"], status: 70, saying: "MiB")
            try expectFailure("run", [store, "--ids", "1", "--ctx", "1000000"], status: 64, saying: "1000000")
            try expectFailure("run", [store, "--ids", "1,x"], status: 64, saying: "x")
            try expectFailure("run", [store, "--ids", "1", "--frobnicate"], status: 64, saying: "frobnicate")
            try expectFailure(
                "quantize", [store, folder + "/q", "--scheme", "q4", "--keep", "*=exact"], status: 64,
                saying: "nothing is quantized")
            try expectFailure(
                "run", [store, "--ids", "1"], status: 64, saying: "LAMINA_ISA", environment: ["LAMINA_ISA": "mmx"])
        }
    }

    @Test func damagedStores() throws {
        try Fixtures.withScratchFolder { folder in
            let store = try makeStore(Fixtures.path("models/llama2-gqa"), in: folder)
            let shard = store + "/layers/0001.h5"
            let layout = try json("convert", ["inspect", store, "--json"])
            #expect((layout["layers"] as? [Any])?.count == 4)
            let content = try Data(contentsOf: URL(fileURLWithPath: shard))
            // A byte in the middle of a matrix: verify names it, run produces nothing.
            var damaged = content
            let position = try #require((4096..<content.count).first { content[$0] != 0 && $0 > content.count / 2 })
            damaged[position] ^= 0x40
            try damaged.write(to: URL(fileURLWithPath: shard))
            let verified = try Tool.run("verify", [store])
            #expect(verified.status == 3)
            #expect(verified.standardOutput.contains("layer 1: tensor model.layers.1."), "\(verified.standardOutput)")
            #expect(verified.standardOutput.contains("bytes "))
            let run = try Tool.run("run", [store, "--ids", "1,2,3", "--temp", "0"])
            #expect(run.status == 3, "\(run.standardError)")
            #expect(run.standardOutput.isEmpty)
            #expect(run.standardError.contains("0001.h5"))
            try content.prefix(content.count / 2).write(to: URL(fileURLWithPath: shard))
            try expectFailure("run", [store, "--ids", "1"], status: 3, saying: "0001.h5")
            try FileManager.default.removeItem(atPath: shard)
            try expectFailure("run", [store, "--ids", "1"], status: 3, saying: "missing")
            let missing = try Tool.run("verify", [store, "--quick"])
            #expect(missing.status == 3)
            #expect(missing.standardOutput.contains("0001.h5"))
            try FileManager.default.removeItem(atPath: store + "/manifest.json")
            try expectFailure("run", [store, "--ids", "1"], status: 66, saying: "no layer store")
        }
    }

    @Test func aFullDiskIsNoSuccess() throws {
        try Fixtures.withScratchFolder { folder in
            let store = try makeStore(Fixtures.path("models/llama2-gqa"), in: folder)
            let command = "\(Tool.folder.path)/lamina-convert inspect \(store) > /dev/full"
            let result = try Tool.run(executable: "/bin/sh", ["-c", command])
            #expect(result.status == 74)
            let closed = "\(Tool.folder.path)/lamina-convert inspect \(store) --json | head -c 10 > /dev/null"
            #expect(try Tool.run(executable: "/bin/sh", ["-c", closed]).standardError.isEmpty)
        }
    }

    @Test func memoryStaysBoundedOnHostileHeaders() throws {
        try Fixtures.withScratchFolder { folder in
            // A header length of 99 MB over a file of 20 bytes: refused before any allocation of that size.
            try "{}".write(toFile: folder + "/config.json", atomically: true, encoding: .utf8)
            var bytes = Data((0..<8).map { UInt8(truncatingIfNeeded: 99_000_000 >> (8 * $0)) })
            bytes.append(Data(repeating: 0x7B, count: 12))
            try bytes.write(to: URL(fileURLWithPath: folder + "/model.safetensors"))
            let command = "ulimit -v 400000; exec \(Tool.folder.path)/lamina-convert \(folder) \(folder)x"
            let result = try Tool.run(executable: "/bin/bash", ["-c", command])
            #expect(result.status == 65, "\(result.standardError)")
        }
    }

    /// A configuration of OpenSSL without its default provider takes SHA-256 away: said, not crashed.
    @Test func aLibcryptoWithoutDigestsIsSaid() throws {
        try Fixtures.withScratchFolder { folder in
            let configuration = "openssl_conf = a\n[a]\nproviders = b\n[b]\nbase = c\n[c]\nactivate = 1\n"
            try configuration.write(toFile: folder + "/openssl.cnf", atomically: true, encoding: .utf8)
            for tool in ["convert", "verify", "run", "quantize"] {
                try expectFailure(
                    tool, [folder], status: 1, saying: "offers no SHA-256",
                    environment: ["OPENSSL_CONF": folder + "/openssl.cnf"])
            }
        }
    }

    /// What runs a model parses no downloaded file with libhdf5, whose parser is an attack surface.
    @Test func runAndVerifyLinkNoHDF5() throws {
        for tool in ["run", "verify"] {
            let path = Tool.folder.appendingPathComponent("lamina-" + tool).path
            let result = try Tool.run(executable: "/usr/bin/ldd", [path])
            #expect(result.standardOutput.contains("libzstd"))
            #expect(!result.standardOutput.contains("libhdf5"))
        }
    }
}
