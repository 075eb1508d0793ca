import Foundation
import TensorCore
import TestSupport
import Testing

/// `lamina-run batch`: every answer is generate's, whatever else is in the batch; what is wrong is told before the work.
@Suite struct BatchTests {
    private func withStore(_ body: (_ store: String, _ folder: String) throws -> Void) throws {
        try Fixtures.withScratchFolder { folder in
            try body(try makeStore(Fixtures.path("models/llama2-gqa"), in: folder), folder)
        }
    }

    private func objects(_ text: String) throws -> [[String: Any]] {
        try text.split(separator: "\n").map { line in
            try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
        }
    }

    /// The answers to `lines`, through standard input and a file.
    private func answers(_ store: String, _ lines: [String], _ options: [String] = []) throws -> [[String: Any]] {
        let file = NSTemporaryDirectory() + "lamina-answers-\(UInt64.random(in: 0 ... .max)).jsonl"
        defer { try? FileManager.default.removeItem(atPath: file) }
        let result = try Tool.run(
            "run", ["batch", store, "--input", "-", "--output", file, "--quiet"] + options,
            input: lines.joined(separator: "\n"))
        try #require(result.status == 0, "\(result.standardError)")
        #expect(result.standardOutput.isEmpty && result.standardError.isEmpty)
        return try objects(try String(contentsOfFile: file, encoding: .utf8))
    }

    private func ids(_ object: [String: Any]) throws -> [Int] { try #require(object["ids"] as? [Int]) }

    // MARK: Answers

    @Test(arguments: [["--temp", "0"], ["--temp", "1.3", "--top-k", "0", "--seed", "5", "--repeat-penalty", "1.1"]])
    func everyAnswerIsTheOneOfGenerate(_ sampling: [String]) throws {
        let prompts: [(ids: [Int], count: Int)] = [
            ([1, 2, 3], 9), ([7], 1), ((0..<40).map { $0 * 7 % 320 }, 5), ([319, 0], 20), ([5, 5, 5, 5, 5, 5], 2),
        ]
        let lines = prompts.map { "{\"ids\": \($0.ids), \"max_tokens\": \($0.count)}" }
        try withStore { store, _ in
            let alone = try prompts.map { prompt in
                try json(
                    "run",
                    [
                        "generate", store, "--ids", prompt.ids.map(String.init).joined(separator: ","), "-n",
                        "\(prompt.count)", "--json", "--quiet",
                    ] + sampling)
            }
            for options in [[], ["--threads", "1"], ["--threads", "3", "--memory", "64MiB"]] {
                let together = try answers(store, lines, sampling + options)
                #expect(together.count == prompts.count)
                for (index, answer) in together.enumerated() {
                    #expect(answer["index"] as? Int == index)
                    #expect(answer["id"] == nil && answer["text"] is NSNull)
                    #expect(try ids(answer) == ids(alone[index]), "\(options) \(index)")
                    #expect(answer["finish_reason"] as? String == alone[index]["finish_reason"] as? String)
                    #expect(answer["prompt_tokens"] as? Int == prompts[index].ids.count)
                }
            }
        }
    }

    @Test func textAndChatsAreThoseOfGenerate() throws {
        try withTextStore { store, _ in
            let lines = [
                #"{"id": "a", "prompt": "Once upon a time", "seed": 3}"#, "", #"{"id": 1.50, "prompt": "日本 ü"}"#,
                #"{"messages": [{"role": "user", "content": "Why?"}], "max_tokens": 7}"#, "  ",
                #"{"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi\n"}]}"#,
            ]
            let sampling = ["--temp", "0.9", "-n", "12"]
            let together = try answers(store, lines, sampling + ["--seed", "8"])
            let commands = [
                ["--prompt", "Once upon a time", "--seed", "3"], ["--prompt", "日本 ü", "--seed", "8"],
                ["--prompt", "Why?", "--chat", "-n", "7", "--seed", "8"],
                ["--prompt", "Hi\n", "--chat", "--system", "Be brief.", "--seed", "8"],
            ]
            #expect(together.count == commands.count)
            for (answer, command) in zip(together, commands) {
                let alone = try json("run", [store, "--json", "--quiet"] + sampling + command)
                #expect(try ids(answer) == ids(alone), "\(command)")
                #expect(answer["text"] as? String == alone["text"] as? String)
                #expect(answer["finish_reason"] as? String == alone["finish_reason"] as? String)
                #expect(answer["prompt_tokens"] as? Int == alone["prompt_tokens"] as? Int)
            }
            #expect(together[0]["id"] as? String == "a" && together[1]["id"] as? Double == 1.5)
        }
    }

    @Test func anEndTokenEndsOneAnswerOnly() throws {
        // The model's own choice after a prompt becomes its end token.
        try Fixtures.withScratchFolder { folder in
            let source = folder + "/source"
            try FileManager.default.copyItem(atPath: Fixtures.path("models/llama2-gqa"), toPath: source)
            let plain = try makeStore(source, in: folder)
            let free = try greedy(plain, [1, 2, 3], count: 6)
            let config: JSONValue = ["eos_token_id": JSONValue(free[3])]
            try Data(config.text().utf8).write(to: URL(fileURLWithPath: source + "/generation_config.json"))
            let store = try makeStore(source, in: folder)
            let lines = [#"{"ids": [1, 2, 3]}"#, #"{"ids": [9, 8]}"#]
            let together = try answers(store, lines, ["-n", "6", "--temp", "0"])
            let end = try #require(free.firstIndex(of: free[3]))
            #expect(try ids(together[0]) == Array(free[..<end]))
            #expect(together[0]["finish_reason"] as? String == "stop")
            let other = try json("run", [store, "--ids", "9,8", "-n", "6", "--temp", "0", "--json", "--quiet"])
            #expect(try ids(together[1]) == ids(other))
            let ignored = try answers(store, lines, ["-n", "6", "--temp", "0", "--ignore-eos"])
            #expect(try ids(ignored[0]) == free)
        }
    }

    @Test func standardOutputAndTheReport() throws {
        try withStore { store, folder in
            let input = folder + "/prompts.jsonl"
            try "{\"ids\": [1, 2]}\n{\"ids\": [3]}\n".write(toFile: input, atomically: true, encoding: .utf8)
            let options = ["batch", store, "--input", input, "-n", "4", "--temp", "0", "--ignore-eos"]
            let piped = try Tool.run("run", options + ["--output", "-"])
            #expect(piped.status == 0)
            #expect(try objects(piped.standardOutput).count == 2)
            for word in ["batch: 2 prompts", "weights: ", "generation: 8 tokens", "threads: ", "memory: "] {
                #expect(piped.standardError.contains(word), "\(piped.standardError)")
            }
            let output = folder + "/answers.jsonl"
            let report = try json("run", options + ["--output", output, "--json"])
            #expect(try String(contentsOfFile: output, encoding: .utf8) == piped.standardOutput)
            #expect(report["prompts"] as? Int == 2)
            #expect((report["finish_reasons"] as? [String: Int]) == ["stop": 0, "length": 2, "interrupted": 0])
            let timings = try #require(report["timings"] as? [String: Any])
            #expect(timings["prompt_tokens"] as? Int == 3 && timings["generated_tokens"] as? Int == 8)
            #expect(timings["generation_passes"] as? Int == 3 && timings["generation_steps"] as? Int == 3)
            for key in [
                "prompt_seconds", "generation_seconds", "generation_tokens_per_second", "bytes_read",
                "generation_bytes", "check_seconds", "decode_seconds", "io_mode", "io_depth", "hit_rate",
            ] {
                #expect(timings[key] != nil, "\(key)")
            }
            let forecast = try #require(report["forecast"] as? [String: Any])
            #expect(forecast["bytes_per_pass"] as? Int == timings["pass_bytes"] as? Int)
            #expect(forecast["measured_seconds_per_step"] is Double)
        }
    }

    // MARK: Refusals

    private func expectFailure(
        _ arguments: [String], input: String = "", status: Int32, saying texts: [String],
        location: SourceLocation = #_sourceLocation
    ) throws {
        let result = try Tool.run("run", ["batch"] + arguments, input: input)
        #expect(result.status == status, "\(result.standardError)", sourceLocation: location)
        for text in texts {
            #expect(result.standardError.contains(text), "\(result.standardError)", sourceLocation: location)
        }
        #expect(result.standardOutput.isEmpty, sourceLocation: location)
        #expect(!result.standardError.contains("Fatal error"), sourceLocation: location)
    }

    @Test func badLinesAreNamed() throws {
        let good = #"{"ids": [1, 2]}"#
        let bad: [(line: String, says: [String])] = [
            ("{", ["invalid JSON"]), ("[1]", ["not a JSON object", "an array"]), ("{}", ["not one prompt", "none"]),
            (#"{"ids": [1], "prompt": "x"}"#, ["prompt and ids"]), (#"{"ids": []}"#, ["the prompt is empty"]),
            (#"{"ids": [1, 320]}"#, ["0 to 319", "320"]), (#"{"ids": [1, -1]}"#, ["an array of token ids"]),
            (#"{"ids": [1.0]}"#, ["an array of token ids"]), (#"{"ids": "1"}"#, ["an array of token ids"]),
            (#"{"prompt": "x"}"#, ["no tokenizer"]), (#"{"prompt": 4}"#, ["a string", "4"]),
            (#"{"messages": [{"role": "user", "content": "x"}]}"#, ["no tokenizer"]),
            (#"{"messages": [{"role": "robot", "content": "x"}]}"#, ["user, assistant", "robot"]),
            (#"{"messages": [{"role": "user"}]}"#, ["not a message"]), (#"{"messages": {}}"#, ["an array of messages"]),
            (#"{"ids": [1], "max_tokens": 0}"#, ["max_tokens", "from 1 up", "0"]),
            (#"{"ids": [1], "seed": -4}"#, ["seed", "-4"]), (#"{"ids": [1], "id": null}"#, ["\"id\"", "null"]),
            (#"{"ids": [1], "max_token": 5}"#, ["unknown key", "max_token\""]),
            (#"{"ids": [1], "ids": [2]}"#, ["duplicate key"]),
        ]
        try withStore { store, folder in
            let output = folder + "/answers.jsonl"
            for (line, says) in bad {
                try expectFailure(
                    [store, "--input", "-", "--output", output], input: "\(good)\n\n\(line)\n\(good)\n", status: 65,
                    saying: ["standard input: line 3"] + says)
            }
            let file = folder + "/prompts.jsonl"
            for (content, says) in [("", "no prompts"), ("\n \n", "no prompts"), ("{\"ids\": [1]}\nx", "line 2")] {
                try content.write(toFile: file, atomically: true, encoding: .utf8)
                try expectFailure(
                    [store, "--input", file, "--output", output], status: 65, saying: ["prompts.jsonl", says])
            }
            // Of one's own context, a prompt may be too long.
            try expectFailure(
                [store, "--input", "-", "--output", output, "--ctx", "2"], input: "\(good)\n{\"ids\": [1, 2, 3]}",
                status: 64, saying: ["line 2", "at most 2 tokens", "3"])
            #expect(try !FileManager.default.contentsOfDirectory(atPath: folder).contains { $0.contains("answers") })
        }
    }

    @Test func outputsAreNotOverwritten() throws {
        try withStore { store, folder in
            let output = folder + "/answers.jsonl"
            try "precious".write(toFile: output, atomically: true, encoding: .utf8)
            let arguments = [store, "--input", "-", "-n", "1", "--temp", "0", "--quiet"]
            let line = #"{"ids": [1]}"#
            func refuse(_ output: String, _ options: [String], _ says: String) throws {
                try expectFailure(
                    arguments + ["--output", output] + options, input: line, status: 73, saying: [output, says])
            }
            try refuse(output, [], "exists already")
            #expect(try String(contentsOfFile: output, encoding: .utf8) == "precious")
            try refuse(folder, ["--force"], "not a regular file")
            try refuse("/dev/null", ["--force"], "not a regular file")
            try refuse(folder + "/no/such/answers", [], "no/such")
            try refuse(folder + "/x/", [], "not the name of a file")
            let forced = try Tool.run("run", ["batch"] + arguments + ["--output", output, "--force"], input: line)
            #expect(forced.status == 0, "\(forced.standardError)")
            #expect(try objects(try String(contentsOfFile: output, encoding: .utf8)).count == 1)
            #expect(try FileManager.default.contentsOfDirectory(atPath: folder).count == 2)
            try expectFailure(arguments + ["--output", "-", "--json"], input: line, status: 64, saying: ["--json"])
            try expectFailure(
                [store, "--input", folder + "/none", "--output", folder + "/a"], status: 66, saying: ["no such file"])
        }
    }

    @Test func tooManyPromptsAreToldWhatFits() throws {
        try withStore { store, folder in
            let output = folder + "/answers.jsonl"
            // 2 layers, 32 floats of keys and values: 40 prompts of 512 positions need some 10 MiB.
            let lines = [String](repeating: #"{"ids": [1, 2, 3]}"#, count: 4000).joined(separator: "\n")
            let arguments = [store, "--input", "-", "--output", output, "-n", "100", "--ignore-eos", "--quiet"]
            let result = try Tool.run("run", ["batch"] + arguments + ["--memory", "64MiB"], input: lines)
            #expect(result.status == 70)
            let error = result.standardError
            #expect(error.contains("keys and values of 4000 prompts"), "\(error)")
            let found = try #require(
                error.firstMatch(of: /at least (\d+) MiB, found 64 MiB, enough for the first (\d+)/))
            let (needed, fits) = (try #require(Int(found.1)), try #require(Int(found.2)))
            #expect(needed > 64 && fits > 1 && fits < 4000)
            #expect(!FileManager.default.fileExists(atPath: output))
            // So many do fit.
            let some = [String](repeating: #"{"ids": [1, 2, 3]}"#, count: fits / 2).joined(separator: "\n")
            let fitting = [store, "--input", "-", "--output", output, "-n", "2", "--memory", "64MiB", "--quiet"]
            #expect(try Tool.run("run", ["batch"] + fitting, input: some).status == 0)
        }
    }

    // MARK: Interruption

    @Test func aSignalKeepsWhatThereIs() throws {
        try Fixtures.withScratchFolder { folder in
            var sizes = SyntheticCheckpoint.LlamaSizes()
            (sizes.hidden, sizes.intermediate, sizes.layers, sizes.dtype) = (256, 1024, 6, .float32)
            let source = folder + "/source"
            try SyntheticCheckpoint.writeLlama(sizes, to: source)
            let store = try makeStore(source, in: folder, ["--codec", "raw"])
            let (input, output, notes) = (folder + "/in.jsonl", folder + "/out.jsonl", folder + "/notes")
            let lines = (0..<8).map { "{\"id\": \($0), \"ids\": [1, \($0)], \"max_tokens\": \($0 == 0 ? 1 : 250)}\n" }
            try lines.joined().write(toFile: input, atomically: true, encoding: .utf8)
            try Data().write(to: URL(fileURLWithPath: notes))
            let process = Process()
            process.executableURL = Tool.folder.appendingPathComponent("lamina-run")
            process.arguments = [
                "batch", store, "--input", input, "--output", output, "--temp", "0", "--ignore-eos", "--threads", "1",
            ]
            process.standardError = FileHandle(forWritingAtPath: notes)
            try process.run()
            // Once it says what it is going to do, the handlers stand; then it computes for a while.
            while process.isRunning, try !String(contentsOfFile: notes, encoding: .utf8).contains("weights: ") {
                usleep(2000)
            }
            process.interrupt()
            process.waitUntilExit()
            #expect(process.terminationReason == .exit && process.terminationStatus == 130)
            let answers = try objects(try String(contentsOfFile: output, encoding: .utf8))
            #expect(answers.map { $0["id"] as? Int } == Array(0..<8))
            let reasons = answers.map { $0["finish_reason"] as? String ?? "" }
            #expect(reasons[1...].allSatisfy { $0 == "interrupted" })
            #expect(["length", "interrupted"].contains(reasons[0]))
            // What is there is the beginning of what would have come.
            let partial = try ids(answers[3])
            if !partial.isEmpty { #expect(try greedy(store, [1, 3], count: partial.count) == partial) }
        }
    }
}
