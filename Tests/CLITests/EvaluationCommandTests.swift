import Foundation
import TestSupport
import Testing

/// `lamina-run perplexity`, `lamina-run score` and `lamina-quantize compare` through the built programs.
@Suite struct EvaluationCommandTests {
    /// Files have a line feed behind it, which does not count.
    private static let text = (0..<60).map { "The \($0)th line says <|im_end|> and nothing else." }
        .joined(separator: "\n")

    private func write(_ text: String, _ name: String, in folder: String) throws -> String {
        let path = folder + "/" + name
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        return path
    }

    private func expectFailure(
        _ tool: String, _ arguments: [String], status: Int32, saying text: String, input: String = "",
        location: SourceLocation = #_sourceLocation
    ) throws {
        let result = try Tool.run(tool, arguments, input: input)
        #expect(result.status == status, "\(result.standardError)", sourceLocation: location)
        #expect(result.standardError.contains(text), "\(result.standardError)", sourceLocation: location)
        #expect(result.standardOutput.isEmpty, sourceLocation: location)
    }

    /// The ids of a text in which nothing is a special token.
    private func ids(_ store: String, _ text: String) throws -> [Int] {
        let request = try JSONSerialization.data(withJSONObject: ["text": text])
        let result = try Tool.run(
            "run", ["tokenize", store, "--json", "--no-special", "--specials-as-text"],
            input: String(decoding: request, as: UTF8.self) + "\n")
        let answer = try JSONSerialization.jsonObject(with: Data(result.standardOutput.utf8)) as? [String: Any]
        return try #require(answer?["ids"] as? [Int])
    }

    private func logProbabilities(_ store: String, _ ids: [Int]) throws -> [Double] {
        try #require(try logits(store, ids)["logprobs"] as? [Double])
    }

    // MARK: perplexity

    @Test func perplexityIsThatOfTheWindows() throws {
        try withTextStore { store, folder in
            let file = try write(Self.text + "\n", "text", in: folder)
            let ids = try ids(store, Self.text)
            var losses: [Double] = []
            for start in stride(from: 0, to: ids.count - ids.count % 64, by: 64) {
                let found = try logProbabilities(store, Array(ids[start..<(start + 64)]))
                losses += found[32...].map { -$0 }
            }
            let arguments = ["perplexity", store, "--text", file, "--ctx", "64", "--json", "--quiet"]
            let report = try json("run", arguments)
            let mean = losses.reduce(0, +) / Double(losses.count)
            let found = try #require(report["perplexity"] as? Double)
            #expect(abs(found / exp(mean) - 1) < 1e-12)
            #expect(report["positions"] as? Int == losses.count && report["windows"] as? Int == ids.count / 64)
            #expect(report["text_tokens"] as? Int == ids.count)
            let squares = losses.reduce(0) { $0 + $1 * $1 } / Double(losses.count)
            let error = exp(mean) * ((squares - mean * mean) / Double(losses.count - 1)).squareRoot()
            #expect(abs(try #require(report["perplexity_error"] as? Double) / error - 1) < 1e-6)
            for options in [["--threads", "1"], ["--threads", "3", "--memory", "80MiB"]] {
                #expect(try json("run", arguments + options)["perplexity"] as? Double == found)
            }
            let printed = try Tool.run("run", ["perplexity", store, "--text", file, "-c", "64", "--windows", "2"])
            #expect(printed.status == 0 && printed.standardOutput.contains("2 of 64 tokens"))
        }
    }

    @Test func perplexityWithAStride() throws {
        try withTextStore { store, folder in
            let file = try write(Self.text + "\n", "text", in: folder)
            let ids = try ids(store, Self.text)
            var losses: [Double] = []
            for start in [0, 10, 20] {
                losses += try logProbabilities(store, Array(ids[start..<(start + 64)]))[53...].map { -$0 }
            }
            let report = try json(
                "run",
                ["perplexity", store, "--text", file, "-c", "64", "--stride", "10", "--windows", "3", "--json", "-q"])
            let expected = exp(losses.reduce(0, +) / Double(losses.count))
            #expect(losses.count == 30 && report["positions"] as? Int == 30)
            #expect(abs(try #require(report["perplexity"] as? Double) / expected - 1) < 1e-12)
        }
    }

    @Test func whatPerplexityRefuses() throws {
        try withTextStore { store, folder in
            let short = try write("Too short.", "short", in: folder)
            let binary = folder + "/binary"
            try Data([0x41, 0xFF, 0xFE]).write(to: URL(fileURLWithPath: binary))
            func refuse(_ options: [String], _ status: Int32, _ text: String) throws {
                try expectFailure("run", ["perplexity", store] + options, status: status, saying: text)
            }
            try refuse(["--text", short, "--ctx", "64"], 65, "the text is too short for this context")
            try refuse(["--text", binary], 65, "not UTF-8")
            try refuse(["--text", folder + "/none"], 66, "no such file")
            try refuse(["--ctx", "100000"], 64, "the model was not made for such a context")
            try refuse(["--ctx", "3"], 64, "--ctx must be at least 4")
            try refuse(["--stride", "512"], 64, "--stride must be between 1 and 511")
            try refuse(["--windows", "0"], 64, "--windows must be at least 1")
            try refuse(["--memory", "1MiB", "--ctx", "64"], 70, "--memory")
        }
        try Fixtures.withScratchFolder { folder in
            let store = try makeStore(Fixtures.path("models/llama2-gqa"), in: folder)
            try expectFailure("run", ["perplexity", store], status: 64, saying: "the store has no tokenizer")
        }
    }

    // MARK: score

    private func scores(_ store: String, _ lines: [String], _ options: [String] = []) throws -> [[String: Any]] {
        let result = try Tool.run(
            "run", ["score", store, "--input", "-", "--output", "-", "--quiet", "--per-token"] + options,
            input: lines.joined(separator: "\n"))
        try #require(result.status == 0, "\(result.standardError)")
        return try result.standardOutput.split(separator: "\n").map { line in
            try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
        }
    }

    @Test func scoresAreSumsOfLogProbabilities() throws {
        try withTextStore { store, _ in
            let lines = [
                #"{"id": "a", "prompt_ids": [5, 6, 7], "continuation_ids": [8, 9]}"#,
                #"{"prompt": "Water boils at  ", "continuation": "100 degrees"}"#,
                #"{"id": 3, "prompt": "", "continuation": "One"}"#,
                #"{"prompt": "a", "continuation_ids": [1, 2, 3]}"#,
            ]
            let found = try scores(store, lines)
            #expect(found.map { $0["index"] as? Int } == [0, 1, 2, 3])
            #expect(found[0]["id"] as? String == "a" && found[2]["id"] as? Int == 3 && found[1]["id"] == nil)
            // Spaces at the prompt's end are part of what is scored.
            let whole = try ids(store, "Water boils at  100 degrees")
            let prompt = try ids(store, "Water boils at")
            let end = try ids(store, "One")
            let all: [(prompt: [Int], ids: [Int])] = [
                ([5, 6, 7], [8, 9]), (prompt, Array(whole[prompt.count...])), ([2], end),
                (try ids(store, "a"), [1, 2, 3]),
            ]
            for (answer, expected) in zip(found, all) {
                let alone = try logProbabilities(store, expected.prompt + expected.ids).suffix(expected.ids.count)
                #expect(answer["ids"] as? [Int] == expected.ids)
                #expect(answer["logprobs"] as? [Double] == Array(alone))
                let sum = answer["logprob"] as? Double
                #expect(abs(try #require(sum) - alone.reduce(0, +)) < 1e-12)
                #expect(answer["tokens"] as? Int == expected.ids.count)
                #expect(answer["prompt_tokens"] as? Int == expected.prompt.count)
            }
            for options in [["--threads", "1", "--memory", "80MiB"], ["--kv-type", "f32"]] {
                let again = try scores(store, lines, options)
                #expect(again.map { $0["logprob"] as? Double } == found.map { $0["logprob"] as? Double })
            }
        }
    }

    @Test func greedyContinuationsAreGreedy() throws {
        try withTextStore { store, _ in
            let continuation = try greedy(store, [5, 6, 7], count: 4)
            let other = continuation.dropLast() + [continuation[3] ^ 1]
            let found = try scores(
                store,
                [
                    "{\"prompt_ids\": [5, 6, 7], \"continuation_ids\": \(continuation)}",
                    "{\"prompt_ids\": [5, 6, 7], \"continuation_ids\": \(other)}",
                ])
            #expect(found.map { $0["is_greedy"] as? Bool } == [true, false])
        }
    }

    @Test func whatScoreRefuses() throws {
        try withTextStore { store, folder in
            let output = folder + "/scores.jsonl"
            func refuse(_ line: String, _ status: Int32, _ text: String) throws {
                try expectFailure(
                    "run", ["score", store, "--input", "-", "--output", output], status: status, saying: text,
                    input: line)
                #expect(!FileManager.default.fileExists(atPath: output))
            }
            try refuse("", 65, "there are no requests")
            try refuse("{\"prompt\": \"a\"}\n", 65, "line 1: not one continuation")
            try refuse("{\"continuation\": \"a\"}", 65, "not one prompt")
            try refuse("{\"prompt\": \"a\", \"continuation\": \"\"}", 65, "the continuation is empty")
            try refuse("\n{\"prompt\": \"a\", \"continuation\": 1}", 65, "line 2: bad value for \"continuation\"")
            try refuse("{\"prompt\": \"a\", \"continuation\": \"b\", \"text\": 1}", 65, "unknown key")
            try refuse("{\"prompt_ids\": [1], \"continuation_ids\": [99999]}", 65, "token id out of range")
            let long = [Int](repeating: 1, count: 5000)
            try refuse("{\"prompt_ids\": [1], \"continuation_ids\": \(long)}", 65, "longer than the context")
            try refuse("{}{", 65, "line 1")
            try expectFailure(
                "run", ["score", store, "-i", "-", "-o", "-", "--json"], status: 64,
                saying: "--json needs standard output")
        }
    }

    // MARK: compare

    private func compare(_ stores: [String], _ file: String, _ options: [String] = []) throws -> [[String: Any]] {
        let report = try json(
            "quantize", ["compare"] + stores + ["--text", file, "--ctx", "64", "--json", "--quiet"] + options)
        return try #require(report["stores"] as? [[String: Any]])
    }

    /// What a store's part of a report says, but for speed.
    private func results(_ store: [String: Any]) throws -> String {
        let lasting = store.filter { !["tokens_per_second", "seconds", "bytes_read"].contains($0.key) }
        return String(
            decoding: try JSONSerialization.data(withJSONObject: lasting, options: .sortedKeys), as: UTF8.self)
    }

    @Test func comparesStores() throws {
        try withTextStore { full, folder in
            let other = try makeTextStore(in: folder, seed: 8)
            let file = try write(Self.text + "\n", "text", in: folder)
            let found = try compare([full, other, full], file, ["--hdf5", folder + "/raw.h5"])
            try #require(found.count == 3)
            let alone = try [full, other].map { store in
                try json("run", ["perplexity", store, "--text", file, "-c", "64", "--json", "-q"])["perplexity"]
                    as? Double
            }
            #expect(found.map { $0["perplexity"] as? Double } == [alone[0], alone[1], alone[0]])
            func value(_ store: Int, _ name: String, _ part: String) -> Double? {
                (found[store][name] as? [String: Any])?[part] as? Double
            }
            #expect(try #require(value(1, "kl_divergence", "mean")) > 0)
            #expect(value(2, "kl_divergence", "maximum") == 0 && found[2]["same_top"] as? Double == 1)
            #expect(value(2, "probability_change", "root_mean_square") == 0)
            #expect((found[1]["layer_errors"] as? [Double])?.count == 2)
            let matrices = try #require(found[1]["matrices"] as? [[String: Any]])
            // Seven in each of two layers, and the head.
            #expect(matrices.count == 15)
            // Independent weights: the difference of two is as long as both together.
            for matrix in matrices {
                let error = try #require(matrix["weight_error"] as? Double)
                #expect(error > 0.8 && error < 2, "\(matrix)")
            }
            let same = try #require(found[2]["matrices"] as? [[String: Any]])
            #expect(same.allSatisfy { $0["output_error"] as? Double == 0 && $0["weight_error"] as? Double == 0 })
            for options in [["--threads", "1"], ["--threads", "3", "--memory", "200MiB"]] {
                let again = try compare([full, other, full], file, options)
                #expect(try again.map(results) == found.map(results))
            }
            let table = try Tool.run(
                "quantize", ["compare", full, other, "--text", file, "-c", "64", "--windows", "2"])
            #expect(table.status == 0 && table.standardOutput.contains("same most probable"))
        }
    }

    @Test(.enabled(if: Tool.python != nil, "LAMINA_PYTHON names no Python: scripts/test sets it up"))
    func rawValuesAreThoseOfTheReport() throws {
        try withTextStore { full, folder in
            let other = try makeTextStore(in: folder, seed: 8)
            let file = try write(Self.text + "\n", "text", in: folder)
            let raw = folder + "/raw.h5"
            let found = try compare([full, other], file, ["--hdf5", raw])
            let script = """
                import h5py, json, numpy, sys
                with h5py.File(sys.argv[1]) as f:
                    store = f["store1"]
                    print(json.dumps({
                        "loss": -float(numpy.mean(store["log_probability"][:])),
                        "kl": float(numpy.mean(store["kl_divergence"][:])),
                        "same": float(numpy.mean(store["top_token"][:] == f["store0/top_token"][:])),
                        "layers": list(store["layer_error"][:]),
                        "outputs": list(store["matrix_output_error"][:]),
                        "names": bytes(f["matrix_names"][:]).decode().split("\\n"),
                        "tokens": [int(t) for t in f["following_token"][:4]],
                        "context": int(f.attrs["context"]), "store": str(store.attrs["store"]),
                    }))
                """
            let result = try Tool.run(executable: try #require(Tool.python), ["-c", script, raw])
            try #require(result.status == 0, "\(result.standardError)")
            let values = try #require(
                try JSONSerialization.jsonObject(with: Data(result.standardOutput.utf8)) as? [String: Any])
            func close(_ name: String, _ expected: Double?) throws {
                let found = values[name] as? Double
                let (value, expected) = (try #require(found), try #require(expected))
                #expect(abs(value - expected) < 1e-12, "\(name)")
            }
            try close("loss", log(try #require(found[1]["perplexity"] as? Double)))
            try close("kl", (found[1]["kl_divergence"] as? [String: Any])?["mean"] as? Double)
            try close("same", found[1]["same_top"] as? Double)
            #expect(values["layers"] as? [Double] == found[1]["layer_errors"] as? [Double])
            let matrices = try #require(found[1]["matrices"] as? [[String: Any]])
            #expect(values["outputs"] as? [Double] == matrices.compactMap { $0["output_error"] as? Double })
            #expect(values["names"] as? [String] == matrices.compactMap { $0["name"] as? String })
            #expect(values["tokens"] as? [Int] == Array(try ids(full, Self.text)[33..<37]))
            #expect(values["context"] as? Int == 64)
        }
    }

    @Test func whatCompareRefuses() throws {
        try withTextStore { full, folder in
            let file = try write(Self.text + "\n", "text", in: folder)
            let raw = try write("mine", "raw.h5", in: folder)
            func refuse(_ arguments: [String], _ status: Int32, _ text: String) throws {
                try expectFailure(
                    "quantize", ["compare"] + arguments + ["--text", file, "--ctx", "64"], status: status, saying: text)
            }
            let foreign = try makeTextStore(in: folder, tokenizer: "llama3-style")
            try refuse([full, foreign], 65, "makes other tokens of the text")
            let larger = try makeTextStore(in: folder, vocabulary: textStoreVocabulary + 64)
            try refuse([full, larger], 64, "the vocabulary differs")
            try refuse([full], 64, "Missing expected argument")
            try refuse([full, folder + "/none"], 66, "none")
            try refuse([full, full, "--memory", "60MiB"], 70, "at least")
            try refuse([full, full, "--hdf5", raw], 73, "exists already")
            try refuse([full, full, "--hdf5", "-"], 64, "--hdf5 needs the name of a file")
            #expect(try String(contentsOfFile: raw, encoding: .utf8) == "mine")
            let damaged = try makeTextStore(in: folder, seed: 9)
            let shard = URL(fileURLWithPath: damaged + "/layers/embedding.h5")
            var bytes = try Data(contentsOf: shard)
            bytes[bytes.count / 2] ^= 1
            try bytes.write(to: shard)
            try refuse([full, damaged], 3, "wrong checksum")
        }
    }
}
