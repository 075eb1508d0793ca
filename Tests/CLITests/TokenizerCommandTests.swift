import Foundation
import TensorCore
import TestSupport
import Testing

/// `tokenize` and `detokenize` as users run them.
@Suite struct TokenizerCommandTests {
    private func folder(_ name: String) -> String { Fixtures.path("tokenizers/" + name) }

    private func lines(_ result: ProcessResult) throws -> [JSONObject] {
        #expect(result.status == 0, "\(result.standardError)")
        return try result.standardOutput.split(separator: "\n").map { line in
            try #require(try JSONValue.parse(Array(line.utf8)).object)
        }
    }

    /// Every kind of file through the executables, with the golden cases.
    @Test(arguments: ["llama2-style", "sp-unigram-nfkc", "qwen1-tiktoken"]) func answersInJSON(_ name: String) throws {
        let document = try JSONValue.parse(try Fixtures.bytes("tokenizers/\(name)/cases.json")).object
        let cases = try #require(document?["cases"]?.array).compactMap(\.object)
        let input = cases.map { JSONValue.object(JSONObject([("text", $0["text"] ?? .null)])).text() + "\n" }
        let encoded = try lines(
            Tool.run(
                "run", ["tokenize", "--tokenizer", folder(name), "--json", "--no-special"], input: input.joined()))
        #expect(encoded.map { $0["ids"]?.text() } == cases.map { $0["ids"]?.text() })
        let decoded = try lines(
            Tool.run(
                "run", ["detokenize", "--tokenizer", folder(name), "--json"],
                input: encoded.map { JSONValue.object($0).text() + "\n" }.joined()))
        #expect(decoded.map { $0["text"]?.text() } == cases.map { $0["decoded"]?.text() })
    }

    @Test func printsIDsAndPieces() throws {
        let plain = try Tool.run("run", ["tokenize", "--tokenizer", folder("smollm2")], input: "The end\n\nx\n")
        #expect(plain.standardOutput == "504 1112\n\n104\n")
        let pieces = try lines(
            Tool.run(
                "run", ["tokenize", "--tokenizer", folder("smollm2"), "--json", "--pieces"],
                input: #"{"text": "The end"}"# + "\n"))
        #expect(pieces.first?["pieces"]?.text() == #"["The","Ġend"]"#)
        let text = try Tool.run("run", ["detokenize", "--tokenizer", folder("smollm2")], input: "504 1112\n")
        #expect(text.standardOutput == "The end\n")
        let stream = try lines(
            Tool.run(
                "run", ["detokenize", "--tokenizer", folder("smollm2"), "--json", "--stream"],
                input: #"{"ids": [504, 1112]}"#))
        #expect(stream.first?["chunks"]?.text() == #"["The"," end"]"#)
    }

    @Test func tellsWhatIsWrong() throws {
        try Fixtures.withScratchFolder { scratch in
            func expect(_ arguments: [String], _ input: String, _ status: Int32, _ text: String) throws {
                let result = try Tool.run("run", arguments, input: input)
                #expect(result.status == status, "\(result.standardError)")
                #expect(result.standardError.contains(text), "\(result.standardError)")
            }
            let smol = folder("smollm2")
            try expect(["tokenize"], "", 64, "either a layer store or --tokenizer")
            try expect(["tokenize", "x", "--tokenizer", smol], "", 64, "either a layer store or --tokenizer")
            try expect(["tokenize", "--tokenizer", scratch], "", 66, "no tokenizer")
            try expect(["tokenize", "--tokenizer", smol, "--json"], "{}\n", 65, #"line 1: not an object with "text""#)
            try expect(["tokenize", "--tokenizer", smol, "--json"], "{\n", 65, "standard input: line 1")
            try expect(["detokenize", "--tokenizer", smol], "504 x\n", 65, "not an id")
            try expect(["detokenize", "--tokenizer", smol, "--json"], #"{"ids":["a"]}"#, 65, "an array of integers")
            let file = scratch + "/tokenizer.json"
            try #"{"model":{"type":"WordPiece","vocab":{}}}"#.write(toFile: file, atomically: true, encoding: .utf8)
            try expect(["tokenize", "--tokenizer", scratch], "", 65, #"model.type "WordPiece" is not supported"#)
        }
    }

    /// A store keeps what a tokenizer.model needs, and refuses one it cannot read before it writes anything.
    @Test func storesKeepSentencePieceModels() throws {
        try Fixtures.withScratchFolder { scratch in
            let source = scratch + "/source"
            try FileManager.default.copyItem(atPath: Fixtures.path("models/llama2-gqa"), toPath: source)
            try FileManager.default.copyItem(
                atPath: folder("sp-bpe-llama") + "/tokenizer.model", toPath: source + "/tokenizer.model")
            let files = [
                "tokenizer_config.json": #"{"add_bos_token":true}"#, "added_tokens.json": "{}",
                "special_tokens_map.json": #"{"bos_token":"<s>"}"#, "chat_template.json": "{}",
            ]
            for (name, text) in files {
                try text.write(toFile: source + "/" + name, atomically: true, encoding: .utf8)
            }
            let store = scratch + "/store"
            #expect(try Tool.run("convert", [source, store]).status == 0)
            for name in files.keys + ["tokenizer.model"] {
                #expect(FileManager.default.fileExists(atPath: store + "/side/" + name), "\(name)")
            }
            let ids = try Tool.run("run", ["tokenize", store], input: "a <s>\n")
            #expect(ids.standardOutput == "1 263 738 1\n")
            try Data([0x0A, 0x7F]).write(to: URL(fileURLWithPath: source + "/tokenizer.model"))
            let refused = try Tool.run("convert", [source, scratch + "/other"])
            #expect(refused.status == 65)
            #expect(refused.standardError.contains("tokenizer.model: invalid protocol buffer"))
            #expect(!FileManager.default.fileExists(atPath: scratch + "/other"))
        }
    }
}
