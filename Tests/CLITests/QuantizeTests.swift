import Foundation
import LayerStore
import TensorCore
import TestSupport
import Testing

/// `lamina-quantize` and `lamina-convert --quantize`, as a user runs them.
@Suite struct QuantizeTests {
    /// Odd sizes, all matrices large enough to be quantized but those of keys and values.
    private func makeSource(in folder: String, isTied: Bool = false, dtype: DType = .bfloat16) throws -> String {
        var sizes = SyntheticCheckpoint.LlamaSizes()
        (sizes.hidden, sizes.intermediate, sizes.vocabulary) = (198, 515, 391)
        (sizes.heads, sizes.keyValueHeads, sizes.headDimension) = (9, 3, 22)
        (sizes.isTied, sizes.dtype) = (isTied, dtype)
        try SyntheticCheckpoint.writeLlama(sizes, to: folder + "/source")
        return folder + "/source"
    }

    private func manifest(_ store: String) throws -> Manifest {
        try Store(path: store, in: RealFileSystem()).manifest
    }

    private func codecs(_ store: String) throws -> [String: String] {
        let tensors = try manifest(store).shards.flatMap(\.tensors)
        return Dictionary(uniqueKeysWithValues: tensors.map { ($0.name, $0.codec) })
    }

    private func quantize(_ arguments: [String]) throws -> ProcessResult {
        try Tool.run("quantize", arguments + ["--quiet"])
    }

    /// Stores verify, export gives the values that numpy reads, and what is exact is what it was.
    @Test(
        arguments: ["int8-row", "q8", "q4", "nf4", "nf4-double", "int8-dynamic", "ecq-tier", "ecq-huf"],
        [DType.bfloat16, .float16, .float32])
    func storesVerifyAndExport(_ scheme: String, _ dtype: DType) throws {
        try Fixtures.withScratchFolder { folder in
            let full = try makeStore(
                try makeSource(in: folder, dtype: dtype), in: folder, ["--chunk-bytes", "64K"])
            let store = folder + "/small.lamina"
            let made = try quantize([full, store, "--scheme", scheme, "--head", scheme, "--embeddings", scheme])
            try #require(made.status == 0, "\(made.standardError)")
            let verified = try Tool.run("verify", [store, "--decode", "--quiet"])
            #expect(verified.status == 0, "\(verified.standardOutput)\(verified.standardError)")
            let codecs = try codecs(store)
            #expect(codecs["model.layers.0.mlp.up_proj.weight"] == scheme)
            #expect(codecs["lm_head.weight"] == scheme)
            #expect(codecs["model.embed_tokens.weight"] == scheme)
            #expect(codecs["model.layers.1.input_layernorm.weight"] == "raw")
            #expect(codecs["model.layers.0.self_attn.k_proj.weight"] != scheme, "too small")
            let restored = try Tool.run("convert", ["restore", store, folder + "/restored"])
            #expect(restored.status == 65)
            #expect(restored.standardError.contains("not lossless"))
            // Twice: the second time, what is there is recognised.
            for _ in 0..<2 {
                let exported = try Tool.run("convert", ["export", store, folder + "/exported", "--quiet"])
                #expect(exported.status == 0, "\(exported.standardError)")
            }
            guard let python = Tool.python else { return }
            let reader = Fixtures.project.appendingPathComponent("formats/lamina_store.py").path
            for view in [[], ["--flat"]] {
                let result = try Tool.run(executable: python, [reader, store, "--export", folder + "/exported"] + view)
                #expect(result.status == 0, "\(view): \(result.standardOutput)\(result.standardError)")
            }
        }
    }

    /// One pass from the checkpoint gives the shards that two passes give.
    @Test(arguments: ["q8", "nf4", "int8-dynamic", "ecq"])
    func convertingInOnePassGivesTheSameShards(_ scheme: String) throws {
        try Fixtures.withScratchFolder { folder in
            let source = try makeSource(in: folder, isTied: scheme == "q8")
            let full = try makeStore(source, in: folder)
            let made = try quantize([full, folder + "/two.lamina", "--scheme", scheme, "--threads", "3"])
            try #require(made.status == 0, "\(made.standardError)")
            let direct = try makeStore(source, in: folder, ["--quantize", scheme])
            let difference = try Tool.run(
                executable: "/usr/bin/diff", ["-r", folder + "/two.lamina/layers", direct + "/layers"])
            #expect(difference.status == 0, "\(difference.standardOutput)")
            #expect(try manifest(direct).shards == manifest(folder + "/two.lamina").shards)
        }
    }

    @Test func policiesDecideBySchemeAndPattern() throws {
        try Fixtures.withScratchFolder { folder in
            let full = try makeStore(try makeSource(in: folder), in: folder)
            let store = folder + "/mixed.lamina"
            let rules = ["*.mlp.*=q8", "*.1.mlp.down_proj.weight=exact", "model.layers.?.self_attn.k_proj.weight=nf4"]
            let options = rules.flatMap { ["--keep", $0] } + ["--head", "exact"]
            let made = try quantize([full, store, "--scheme", "q4"] + options)
            try #require(made.status == 0, "\(made.standardError)")
            let codecs = try codecs(store)
            #expect(codecs["model.embed_tokens.weight"] == "q8")
            #expect(codecs["lm_head.weight"] == "exp-tier")
            #expect(codecs["model.layers.0.self_attn.q_proj.weight"] == "q4")
            #expect(codecs["model.layers.0.mlp.down_proj.weight"] == "q8")
            #expect(codecs["model.layers.1.mlp.down_proj.weight"] == "exp-tier")
            #expect(codecs["model.layers.1.self_attn.k_proj.weight"] == "nf4")
            #expect(codecs["model.norm.weight"] == "raw")
        }
    }

    @Test(arguments: [
        (["--scheme", "q9"], 64, "scheme"), (["--scheme", "exact"], 64, "a quantized store needs a scheme"),
        (["--scheme", "ecq", "--bits", "7"], 64, "--bits"), (["--scheme", "ecq@9"], 64, "scheme"),
        (["--scheme", "q8", "--keep", "nothing*=exact"], 64, "no tensor has such a name"),
        (["--scheme", "q8", "--keep", "model.norm.*=q8"], 64, "have to stay exact"),
        (["--scheme", "q8", "--keep", "norm"], 64, "PATTERN=SCHEME"),
        (["--scheme", "q8", "--target-size", "4bpw"], 64, "no matrix has a free rate"),
        (["--scheme", "ecq", "--target-size", "1KiB"], 64, "no rate gives a store of this size"),
        (["--scheme", "ecq", "--target-size", "4bpw", "--bits", "4"], 64, "exclude each other"),
    ])
    func whatCannotBeIsRefused(_ options: [String], _ status: Int32, _ text: String) throws {
        try Fixtures.withScratchFolder { folder in
            let full = try makeStore(try makeSource(in: folder), in: folder)
            let result = try quantize([full, folder + "/small.lamina"] + options)
            #expect(result.status == status)
            #expect(result.standardError.contains(text), "\(result.standardError)")
            #expect(!FileManager.default.fileExists(atPath: folder + "/small.lamina/manifest.json"))
        }
    }

    @Test func lossyStoresAreQuantizedAgainOnlyIfAllowed() throws {
        try Fixtures.withScratchFolder { folder in
            let full = try makeStore(try makeSource(in: folder), in: folder)
            let (first, second) = (folder + "/first.lamina", folder + "/second.lamina")
            try #require(try quantize([full, first, "--scheme", "q8"]).status == 0)
            let refused = try quantize([first, second, "--scheme", "nf4"])
            #expect(refused.status == 65)
            #expect(refused.standardError.contains("lossy already"))
            #expect(try quantize([full, first, "--scheme", "q8"]).status == 73, "there is a store already")
            #expect(try quantize([first, second, "--scheme", "nf4", "--allow-requantize"]).status == 0)
            #expect(try Tool.run("verify", [second, "--decode", "--quiet"]).status == 0)
            let name = "model.layers.0.mlp.up_proj.weight"
            let errors = try [first, second].map { store in
                try manifest(store).shards.flatMap(\.tensors).first { $0.name == name }?.quantization?.relativeError
                    ?? 0
            }
            #expect(errors[1] > errors[0])
            let replaced = try quantize([full, first, "--scheme", "nf4", "--overwrite"])
            #expect(replaced.status == 0, "\(replaced.standardError)")
            #expect(try codecs(first)[name] == "nf4")
        }
    }

    /// The originals of a lossy store go only where that is said.
    @Test func originalsOfLossyStoresAreKept() throws {
        try Fixtures.withScratchFolder { folder in
            let source = try makeSource(in: folder)
            for option in ["--delete-original", "--delete-progressively"] {
                let store = folder + "/\(option).lamina"
                let refused = try Tool.run("convert", [source, store, "--quantize", "q8", option, "--yes", "--quiet"])
                #expect(refused.status == 65)
                #expect(refused.standardError.contains("only copy at full precision"), "\(refused.standardError)")
                #expect(!FileManager.default.fileExists(atPath: store + "/manifest.json"))
            }
            #expect(FileManager.default.fileExists(atPath: source + "/model.safetensors"))
            let store = folder + "/small.lamina"
            let made = try Tool.run(
                "convert",
                [source, store, "--quantize", "ecq", "--delete-progressively", "--allow-lossy", "--yes", "--quiet"])
            #expect(made.status == 0, "\(made.standardError)")
            #expect(!FileManager.default.fileExists(atPath: source + "/model.safetensors"))
            #expect(try Tool.run("verify", [store, "--decode", "--quiet"]).status == 0)
        }
    }

    /// Bits of the matrices within one percent of what is asked for, the size of the whole store nearly so.
    @Test func ratesAndSizesAreMet() throws {
        try Fixtures.withScratchFolder { folder in
            var sizes = SyntheticCheckpoint.LlamaSizes()
            (sizes.hidden, sizes.intermediate, sizes.vocabulary, sizes.layers) = (512, 1536, 1000, 4)
            (sizes.heads, sizes.keyValueHeads, sizes.headDimension) = (8, 8, 64)
            try SyntheticCheckpoint.writeLlama(sizes, to: folder + "/source")
            let full = try makeStore(folder + "/source", in: folder)
            for bits in [3.0, 5.5] {
                let store = folder + "/bits\(bits).lamina"
                try #require(try quantize([full, store, "--scheme", "ecq@\(bits)"]).status == 0)
                let report = try json("convert", ["inspect", store, "--json"])
                let layers = try #require(report["layers"] as? [[String: Any]])
                let tensors = layers.flatMap { $0["tensors"] as? [[String: Any]] ?? [] }
                let coded = tensors.filter { $0["codec"] as? String == "ecq-tier" }
                let stored = coded.reduce(0.0) { $0 + Double($1["stored_bytes"] as? Int ?? 0) }
                let weights = coded.reduce(0.0) { $0 + Double($1["bytes"] as? Int ?? 0) / 2 }
                #expect(abs(8 * stored / weights - bits) < bits * 0.01, "\(8 * stored / weights)")
            }
            let small = folder + "/size.lamina"
            let fitted = try quantize([full, small, "--scheme", "ecq", "--target-size", "8MB", "--rates", "equal"])
            try #require(fitted.status == 0, "\(fitted.standardError)")
            let manifest = try manifest(small)
            let size =
                manifest.shards.reduce(0.0) { $0 + Double($1.size) }
                + manifest.sideFiles.reduce(0.0) { $0 + Double($1.size) }
            // What lies around the chunks is estimated.
            #expect(abs(size / 8e6 - 1) < 0.01, "\(size)")
        }
    }

    /// Rates by what matrices cost: the size asked for, several steps, nothing left of the trial, and after an
    /// interruption the same bytes without measuring again.
    @Test func measuredRatesFollowCosts() throws {
        try Fixtures.withScratchFolder { folder in
            let full = try makeTextStore(in: folder) { sizes in
                (sizes.hidden, sizes.intermediate, sizes.layers) = (136, 256, 8)
                (sizes.heads, sizes.keyValueHeads, sizes.headDimension) = (4, 4, 34)
            }
            let size = ["--scheme", "ecq", "--target-size", "5bpw"]
            let (first, second, even) = (folder + "/first", folder + "/second", folder + "/even")
            // A trial store that another run left behind is no obstacle.
            try #require(try quantize([full, folder + "/.second.trial", "--scheme", "q8"]).status == 0)
            for (store, options) in [(first, ["--threads", "1"]), (second, ["--threads", "3", "--memory", "2GiB"])] {
                let made = try quantize([full, store] + size + options)
                try #require(made.status == 0, "\(made.standardError)")
            }
            try #require(try quantize([full, even, "--rates", "equal"] + size).status == 0)
            let difference = try Tool.run(
                executable: "/usr/bin/diff", ["-r", "-x", "originals.json", first, second])
            #expect(difference.status == 0, "\(difference.standardOutput)")
            let left = try FileManager.default.contentsOfDirectory(atPath: folder).filter { $0.hasSuffix(".trial") }
            #expect(left.isEmpty)
            func steps(_ store: String) throws -> Set<Double> {
                Set(try manifest(store).shards.flatMap(\.tensors).compactMap { $0.quantization?.step })
            }
            #expect(try steps(first).count > 2)
            #expect(try steps(even).count == 1)
            let bits = try [first, even].map { store in
                let manifest = try manifest(store)
                let weights = manifest.shards.flatMap(\.tensors).reduce(0) { $0 + $1.shape.elementCount }
                return 8 * manifest.shards.reduce(0.0) { $0 + Double($1.size) } / Double(weights)
            }
            for found in bits { #expect(abs(found / 5 - 1) < 0.02, "\(bits)") }
            // What is there is found before anything is measured.
            let again = try quantize([full, first] + size)
            #expect(again.status == 73 && again.standardError.contains("there is a layer store already"))
        }
    }

    @Test(arguments: [
        (["--rates", "equal"], "--rates goes with --target-size"), (["--memory", "1GiB"], "go with --target-size"),
        (["--target-size", "5bpw", "--rates", "equal", "--text", "x"], "measured rates"),
        (["--target-size", "5bpw", "--rates", "some"], "rates"),
    ])
    func optionsOfMeasuringGoWithIt(_ options: [String], _ text: String) throws {
        let result = try quantize(["full", "small", "--scheme", "ecq"] + options)
        #expect(result.status == 64)
        #expect(result.standardError.contains(text), "\(result.standardError)")
    }

    /// Nothing is left of a trial that failed.
    @Test func failedMeasuringLeavesNothing() throws {
        try Fixtures.withScratchFolder { folder in
            let full = try makeStore(try makeSource(in: folder), in: folder)
            let result = try quantize([full, folder + "/small", "--scheme", "ecq", "--target-size", "6bpw"])
            #expect(result.status == 64)
            #expect(result.standardError.contains("no tokenizer"), "\(result.standardError)")
            let names = try FileManager.default.contentsOfDirectory(atPath: folder)
            #expect(names.sorted() == ["source", (full as NSString).lastPathComponent].sorted())
        }
    }
}
