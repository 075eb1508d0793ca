import Foundation
import TestSupport
import Testing

/// The real model: SmolLM2-135M-Instruct against transformers. In CI it must be there; elsewhere `scripts/test` makes it.
@Suite(.serialized, .enabled(if: Tool.smolLM2 != nil, "LAMINA_SMOLLM2 names no checkpoint: scripts/test makes one"))
struct SmolLM2Tests {
    struct Golden: Decodable {
        struct Prompt: Decodable {
            struct Message: Decodable {
                var role: String
                var content: String
            }
            var prompt: String?
            var messages: [Message]?
            var ids: [Int]
            var top20Ids: [Int]
            var top20Logits: [Double]
            var greedy: [Int]
            var margins: [Double]
        }
        struct Perplexity: Decodable {
            var ids: [Int]
            var perplexity: Double
        }
        var prompts: [Prompt]
        var perplexity: Perplexity
    }

    private func withStore(_ body: (String, Golden) throws -> Void) throws {
        let golden = try fixtureDecoder().decode(Golden.self, from: Data(try Fixtures.bytes("smollm2/smollm2.json")))
        try Fixtures.withScratchFolder { folder in
            try body(try makeStore(try #require(Tool.smolLM2), in: folder), golden)
        }
    }

    @Test func agreesWithTransformers() throws {
        try withStore { store, golden in
            for prompt in golden.prompts {
                let values = try #require(try logits(store, prompt.ids)["logits"] as? [Double])
                let found = prompt.top20Ids.map { values[$0] }
                #expect(excess(found, prompt.top20Logits, absolute: 2e-3, relative: 0) <= 0)
                #expect(values.max() == found.max())
                // Greedy ids are exact up to the first step that float32 rounding could tip.
                let certain = prompt.margins.firstIndex { $0 < 0.02 } ?? prompt.greedy.count
                let tokens = try greedy(store, prompt.ids, count: prompt.greedy.count)
                #expect(Array(tokens[0..<certain]) == Array(prompt.greedy[0..<certain]))
                if certain < prompt.greedy.count {
                    // Behind it the golden ids are forced, step by step.
                    for step in certain..<prompt.greedy.count where prompt.margins[step] >= 0.02 {
                        let forced = try greedy(store, prompt.ids + prompt.greedy[0..<step], count: 1)
                        #expect(forced == [prompt.greedy[step]])
                    }
                }
            }
        }
    }

    @Test func perplexityIsTransformers() throws {
        try withStore { store, golden in
            let ids = golden.perplexity.ids
            let logprobs = try #require(try logits(store, ids)["logprobs"] as? [Double])
            #expect(logprobs.count == ids.count - 1)
            let mean = logprobs.reduce(0, +) / Double(logprobs.count)
            let perplexity = exp(-mean)
            #expect(abs(perplexity / golden.perplexity.perplexity - 1) <= 1e-4, "\(perplexity)")
        }
    }

    @Test func chatsAndStreamsUnderABudget() throws {
        try withStore { store, _ in
            let arguments = [store, "--chat", "--prompt", "What is the capital of France?", "--temp", "0", "-n", "24"]
            let streamed = try Tool.run("run", arguments)
            #expect(streamed.status == 0, "\(streamed.standardError)")
            #expect(streamed.standardOutput.contains("Paris"))
            #expect(!streamed.standardOutput.contains("<|im_end|>"))
            let tight = try json("run", arguments + ["--memory", "100MiB", "--threads", "1", "--json"])
            #expect((tight["text"] as? String).map { streamed.standardOutput.hasPrefix($0) } == true)
            let timings = try #require(tight["timings"] as? [String: Any])
            let peak = try #require(timings["peak_memory_bytes"] as? Int)
            #expect(peak <= 100 << 20, "\(peak)")
            #expect(try #require(timings["bytes_read"] as? Int) > 200_000_000)
        }
    }

    @Test func sampledTextDependsOnTheSeedOnly() throws {
        try withStore { store, _ in
            func text(_ seed: String, _ threads: String) throws -> String {
                let options = [
                    "--temp", "0.9", "--top-k", "50", "--seed", seed, "--threads", threads, "-n", "16", "--json",
                ]
                return try #require(
                    try json("run", [store, "--prompt", "Once upon a time"] + options)["text"] as? String)
            }
            let first = try text("1", "1")
            #expect(try text("1", "2") == first)
            #expect(try text("2", "2") != first)
        }
    }

    @Test func interruptionKeepsWhatWasSaid() throws {
        try withStore { store, _ in
            let command =
                "timeout --signal=INT 6 \(Tool.folder.path)/lamina-run \(store) --prompt 'Once upon a time' -n 4000 "
                + "--ignore-eos --temp 0"
            let result = try Tool.run(executable: "/bin/bash", ["-c", command + "; echo \" status $?\""])
            // timeout(1) reports its own 124 for a command it had to signal.
            #expect(result.standardOutput.contains(" status 1"))
            #expect(result.standardOutput.utf8.count > 40)
            #expect(result.standardError.contains("tok/s"), "\(result.standardError)")
        }
    }
}
