import Foundation
import TensorCore
import TestSupport
import Testing

/// `chat` over a pipe; Tests/chat/run does it at a terminal, with a real model.
@Suite struct ChatTests {
    private func chat(_ arguments: [String], _ lines: [String]) throws -> ProcessResult {
        try Tool.run("run", ["chat"] + arguments, input: lines.map { $0 + "\n" }.joined())
    }

    private func answers(_ arguments: [String], _ lines: [String]) throws -> [[String: Any]] {
        let result = try chat(arguments + ["--json", "--quiet", "--max-tokens", "6"], lines)
        try #require(result.status == 0, "\(result.standardError)")
        return try result.standardOutput.split(separator: "\n").map {
            try #require(try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])
        }
    }

    @Test func whatIsKeptChangesNoAnswer() throws {
        try withTextStore { store, folder in
            let saved = folder + "/saved.json"
            let found = try answers(
                [store, "--temp", "0", "--system", "S"], ["First", "Second\\", "line", "/save \(saved)", "Third"])
            try #require(found.count == 3)
            #expect(found[0]["kept_tokens"] as? Int == 0 && (found[2]["kept_tokens"] as? Int ?? 0) > 20)
            // Without anything kept, and with little memory.
            let again = try answers([store, "--temp", "0", "--load", saved, "--threads", "3"], ["Third"])
            #expect(again[0]["text"] as? String == found[2]["text"] as? String)
            #expect(again[0]["kept_tokens"] as? Int == 0)
            #expect(again[0]["prompt_tokens"] as? Int == found[2]["prompt_tokens"] as? Int)
            let messages = try #require(
                (try JSONSerialization.jsonObject(with: Data(contentsOf: URL(fileURLWithPath: saved))) as? [String: Any])?[
                    "messages"] as? [[String: String]])
            #expect(messages.map { $0["role"] } == ["system", "user", "assistant", "user", "assistant"])
            #expect(messages[0]["content"] == "S" && messages[3]["content"] == "Second\nline")
        }
    }

    @Test func commandsChangeTheConversation() throws {
        try withTextStore { store, _ in
            let plain = try answers([store, "--seed", "4"], ["Hello", "/reset", "/system You are tired.", "Hello"])
            try #require(plain.count == 2)
            let first = try #require(plain[0]["prompt_tokens"] as? Int)
            // The template has a system message of its own for conversations without one.
            #expect(plain[1]["prompt_tokens"] as? Int != first)
            let same = try answers([store, "--seed", "4"], ["Hello", "/reset", "//Hello", "/stats", "/exit", "Never"])
            #expect(same.count == 2 && same[0]["text"] as? String == plain[0]["text"] as? String)
        }
    }

    /// Every command that reads a store's text files compares their digests.
    @Test(arguments: ["tokenizer.json", "tokenizer_config.json"]) func damagedTextFilesAreRefused(_ name: String) throws
    {
        try withTextStore { store, _ in
            let url = URL(fileURLWithPath: store + "/side/" + name)
            try (try Data(contentsOf: url) + Data(" ".utf8)).write(to: url)
            var commands = [["chat", store], ["generate", store, "-p", "x"], ["render", store]]
            if name == "tokenizer.json" {
                commands = [
                    ["chat", store], ["generate", store, "-p", "x"], ["tokenize", store], ["detokenize", store],
                ]
            }
            for command in commands {
                let result = try Tool.run("run", command, input: "[]\n")
                #expect(result.status == 3 && result.standardError.contains(name), "\(result.standardError)")
            }
        }
    }

    @Test func whatCannotBeSaidIsToldAndEnds() throws {
        try withTextStore { store, folder in
            func refused(_ arguments: [String], _ lines: [String], _ status: Int32, _ part: String) throws {
                let result = try chat(arguments + ["--quiet"], lines)
                #expect(result.status == status && result.standardError.contains(part), "\(result.standardError)")
                #expect(result.standardOutput.isEmpty)
            }
            try refused([store], ["/nope"], 64, "/nope")
            try refused([store], ["/save"], 64, "/save")
            try refused([store], ["/load \(folder)/missing.json"], 66, "missing.json")
            try refused([store, "--ctx", "20"], ["one two three four five six seven eight nine ten"], 70, "--ctx")
            let file = folder + "/file.json"
            for text in ["{", "{\"messages\": 3}", "[{\"content\": \"x\"}]", "[3]"] {
                try Data(text.utf8).write(to: URL(fileURLWithPath: file))
                try refused([store, "--load", file], ["Hello"], 65, "file.json")
            }
            try Data("[1]".utf8).write(to: URL(fileURLWithPath: file))
            try refused([store, "--tools", file], ["Hello"], 65, "file.json")
            // Somebody else's file is not replaced.
            try refused([store], ["/save \(file)"], 73, "file.json")
            #expect(try String(contentsOfFile: file, encoding: .utf8) == "[1]")
        }
    }
}
