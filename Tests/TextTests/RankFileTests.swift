import Foundation
import TensorCore
import TestSupport
import Testing
import Text

@Suite struct RankFileTests {
    private static let qwen = #"{"tokenizer_class":"QWenTokenizer"}"#
    private static let glm = #"{"tokenizer_class":"ChatGLM4Tokenizer"}"#

    private func load(_ text: String, _ config: String?, name: String = "qwen.tiktoken") throws -> Tokenizer? {
        try Tokenizer(folder: "folder") { (file) throws(LaminaError) in
            switch file {
            case name: Array(text.utf8)
            case "tokenizer_config.json": config.map { Array($0.utf8) }
            default: nil
            }
        }
    }

    /// All bytes, and `tokens` after them.
    private static func ranks(_ tokens: [String] = []) -> String {
        let all = (0...UInt8.max).map { Data([$0]) } + tokens.map { Data($0.utf8) }
        return all.enumerated().map { "\($0.element.base64EncodedString()) \($0.offset)\n" }.joined()
    }

    @Test func mergesByRank() throws {
        let tokenizer = try #require(try load(Self.ranks(["ab", "bc", "abc", "xyz"]), Self.qwen))
        #expect(try tokenizer.encode("abcab", addSpecialTokens: true) == [258, 256])
        #expect(try tokenizer.encode("abc", addSpecialTokens: true) == [258])
        // A whole piece is taken though no merge leads to it.
        #expect(try tokenizer.encode("xyz xyz", addSpecialTokens: true) == [259, 32, 120, 121, 122])
        #expect(try tokenizer.encode("<|im_end|>", addSpecialTokens: true) == [262])
        #expect(tokenizer.vocabularySize == 468)
        #expect(tokenizer.decode([0xE4, 0xBD, 97], skipSpecialTokens: true) == "\u{FFFD}a")
    }

    @Test func putsGLMsPrefixInFront() throws {
        let tokenizer = try #require(try load(Self.ranks(), Self.glm, name: "tokenizer.model"))
        #expect(try tokenizer.encode("a", addSpecialTokens: true) == [258, 260, 97])
        #expect(try tokenizer.encode("a", addSpecialTokens: false) == [97])
    }

    @Test func takesIDsFromTheConfig() throws {
        let config = """
            {"tokenizer_class":"ChatGLM4Tokenizer","added_tokens_decoder":{"300":{"content":"[gMASK]","special":true},
            "301":{"content":"<sop>","special":true}}}
            """
        let tokenizer = try #require(try load(Self.ranks(), config, name: "tokenizer.model"))
        #expect(try tokenizer.encode("a", addSpecialTokens: true) == [300, 301, 97])
    }

    @Test(
        arguments: [
            ("is not supported; expected QWenTokenizer", ranks(), nil),
            ("is not supported; expected QWenTokenizer", ranks(), #"{"tokenizer_class":"Other"}"#),
            ("no token for byte 0", "YQ== 0\n", qwen), ("line 1 is not a token", "YQ==\n", qwen),
            ("line 1 is not a token", "Y!== 0\n", qwen), ("line 1 is not a token", "YQ== -1\n", qwen),
            ("line 2 is not a token", "YQ== 0\nYg== 99999999999999999999\n", qwen),
            ("occurs twice", "YQ== 0\nYQ== 1\n", qwen), ("have the same id 0", "YQ== 0\nYg== 0\n", qwen),
            ("out of range", "YQ== 10000000\n", qwen), ("no tokens", "\n", qwen), ("not a JSON object", ranks(), "[]"),
            ("invalid JSON", ranks(), "{"),
            ("is not an id", ranks(), #"{"added_tokens_decoder":{"x":{"content":"y"}}}"#),
            ("content has the wrong kind", ranks(), #"{"added_tokens_decoder":{"1":{}}}"#),
        ] as [(String, String, String?)])
    func refuses(_ says: String, _ text: String, _ config: String?) throws {
        let error = try #require(throws: LaminaError.self) { try load(text, config) }
        #expect(error.kind == .malformed)
        #expect(error.subject.hasPrefix("folder/"))
        #expect(error.description.contains(says), "\(error)")
    }

    @Test func hasNoTokenizerWithoutFiles() throws {
        let isThere = try load("", nil, name: "other") != nil
        #expect(!isThere)
    }
}
