import Foundation
import TensorCore
import TestSupport
import Testing

/// Same checkpoint, same prompt: the same bits whatever the threads, the memory, the chunks, the codec and the
/// instruction set.
@Suite struct DeterminismTests {
    private static let readModes = ["uring-registered", "uring", "pread", "buffered"]
    private static let instructionSets = ["portable", "avx2", "avx512", "avx512vbmi2", "neon"]

    @Test(arguments: [DType.bfloat16, .float16, .float32], [false, true])
    func logitsAreTheSameBits(_ dtype: DType, _ isTied: Bool) throws {
        try Fixtures.withScratchFolder { folder in
            var sizes = SyntheticCheckpoint.LlamaSizes()
            sizes.dtype = dtype
            sizes.isTied = isTied
            // An odd number of columns, rows that fill no panel, a down projection of three column ranges.
            sizes.hidden = 67
            let source = folder + "/source"
            try SyntheticCheckpoint.writeLlama(sizes, to: source)
            let whole = try makeStore(source, in: folder)
            let cut = try makeStore(source, in: folder, ["--chunk-bytes", "4K"])
            let raw = try makeStore(source, in: folder, ["--chunk-bytes", "4K", "--codec", "raw"])
            let huffman = dtype == .bfloat16 ? [try makeStore(source, in: folder, ["--codec", "exp-huf"])] : []
            let ids = (0..<37).map { ($0 * 29 + 3) % sizes.vocabulary }
            let expected = try output(whole, ids)
            for store in [whole, cut, raw] + huffman {
                for options in [["--threads", "1"], ["--threads", "2"], ["--threads", "3", "--memory", "64MiB"]] {
                    #expect(try output(store, ids, options) == expected, "\(store) \(options)")
                }
            }
            for mode in DeterminismTests.readModes {
                for memory in [[], ["--memory", "64MiB"]] {
                    #expect(try output(cut, ids, ["--io", mode] + memory) == expected, "\(mode) \(memory)")
                }
            }
            for name in DeterminismTests.instructionSets {
                let environment = ["LAMINA_ISA": name]
                let version = try Tool.run("run", ["--version"], environment: environment)
                if version.standardOutput.contains("names none") { continue }
                #expect(try output(cut, ids, environment: environment) == expected, "\(name)")
            }
            // A prompt alone is the prefix of a longer one: prefill and decode give the same values.
            let tokens = try greedy(cut, ids, count: 12)
            #expect(try greedy(whole, ids + tokens[0..<5], count: 7) == Array(tokens[5...]))
        }
    }

    /// Codes of `ecq` that are kept in memory lie there in fewer bits; a prompt of many columns makes them bytes again.
    @Test func narrowCodesInMemoryChangeNothing() throws {
        try Fixtures.withScratchFolder { folder in
            var sizes = SyntheticCheckpoint.LlamaSizes()
            sizes.isTied = true
            let source = folder + "/source"
            try SyntheticCheckpoint.writeLlama(sizes, to: source)
            let quantized = ["--quantize", "ecq@4", "--embeddings", "ecq", "--head", "ecq"]
            let store = try makeStore(source, in: folder, quantized)
            for length in [3, 80] {
                let ids = (0..<length).map { ($0 * 29 + 3) % sizes.vocabulary }
                let text = ids.map(String.init).joined(separator: ",")
                // Where only one token is wanted nothing is kept.
                var expected: [Int] = []
                for _ in 0..<12 { expected += try greedy(store, ids + expected, count: 1) }
                for name in DeterminismTests.instructionSets {
                    let environment = ["LAMINA_ISA": name]
                    let version = try Tool.run("run", ["--version"], environment: environment)
                    if version.standardOutput.contains("names none") { continue }
                    let answer = try json(
                        "run",
                        [
                            "generate", store, "--ids", text, "--max-tokens", "12", "--ignore-eos", "--temp", "0",
                            "--json",
                        ],
                        environment: environment)
                    #expect(answer["ids"] as? [Int] == expected, "\(name), prompt of \(length)")
                    let timings = try #require(answer["timings"] as? [String: Any])
                    let (kept, whole) = (timings["resident_bytes"] as? Int, timings["pass_bytes"] as? Int)
                    #expect(try #require(kept) != (try #require(whole)) && kept != 0, "nothing was kept decoded")
                }
            }
        }
    }

    /// The text of the answer: equal text is equal bits, since floats are printed so that they read back.
    private func output(
        _ store: String, _ ids: [Int], _ options: [String] = [], environment: [String: String] = [:]
    ) throws -> String {
        let text = ids.map(String.init).joined(separator: ",")
        let result = try Tool.run(
            "run", ["logits", store, "--ids", text, "--probes", "--json"] + options, environment: environment)
        try #require(result.status == 0, "\(result.standardError)")
        let object = try #require(
            try JSONSerialization.jsonObject(with: Data(result.standardOutput.utf8)) as? [String: Any])
        let values = ["logits", "logprobs"].map { "\(object[$0] ?? "missing")" }.joined()
        #expect(values.utf8.count > 1000)
        return values
    }

    @Test func storesAreTheSameBytes() throws {
        try Fixtures.withScratchFolder { folder in
            let source = Fixtures.path("models/llama31-rope")
            let one = try makeStore(source, in: folder, ["--threads", "1"])
            let two = try makeStore(source, in: folder, ["--threads", "2"])
            let difference = try Tool.run(executable: "/usr/bin/diff", ["-r", one, two])
            #expect(difference.status == 0, "\(difference.standardOutput)")
        }
    }
}
