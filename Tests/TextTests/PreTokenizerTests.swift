import TensorCore
import Testing
import Text

/// How text is cut, seen through a vocabulary of all two-letter tokens: only letters of one piece merge.
@Suite struct PreTokenizerTests {
    private func tokenizer(_ steps: String, addedTokens: String = "[]") throws -> Tokenizer {
        var small = SmallTokenizer()
        small.vocabulary = #"{"a":0,"b":1,"Ġ":2,"1":3,"aa":4,"bb":5,"ĠĠ":6,"11":7,"ab":8,"ba":9,"aĠ":10,"Ġa":11}"#
        small.merges = #"["a a","b b","Ġ Ġ","1 1","a b","b a","a Ġ","Ġ a"]"#
        small.addedTokens = addedTokens
        small.preTokenizer = #"{"type":"Sequence","pretokenizers":[\#(steps)]}"#
        return try small.load()
    }

    private func pieces(_ text: String, _ tokenizer: Tokenizer) throws -> [String] {
        try tokenizer.encode(text, addSpecialTokens: false).map {
            String(decoding: tokenizer.bytes(of: $0), as: UTF8.self)
        }
    }

    private static let plain = #"{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}"#

    @Test(arguments: [
        ("Isolated", false, ["a", "b", "b", "a"]), ("Removed", false, ["a", "a"]), ("Removed", true, ["b", "b"]),
        ("MergedWithPrevious", false, ["ab", "b", "a"]), ("MergedWithNext", false, ["a", "b", "ba"]),
        ("Contiguous", false, ["a", "bb", "a"]), ("Contiguous", true, ["a", "bb", "a"]),
    ])
    func splits(_ behavior: String, _ invert: Bool, _ expected: [String]) throws {
        for pattern in [#"{"Regex":"b"}"#, #"{"String":"b"}"#] {
            let step = #"{"type":"Split","pattern":\#(pattern),"behavior":"\#(behavior)","invert":\#(invert)}"#
            #expect(try pieces("abba", try tokenizer(step + "," + Self.plain)) == expected)
        }
    }

    @Test func takesPatternCharactersLiterally() throws {
        let step = #"{"type":"Split","pattern":{"String":"b.*"},"behavior":"Removed"}"#
        #expect(try pieces("aab", try tokenizer(step + "," + Self.plain)) == ["aa", "b"])
    }

    @Test func cutsAtEmptyMatches() throws {
        let step = #"{"type":"Split","pattern":{"Regex":"1*"},"behavior":"Isolated"}"#
        #expect(try pieces("aa11aa", try tokenizer(step + "," + Self.plain)) == ["a", "a", "11", "a", "a"])
    }

    /// Anchors are those of lines; DeepSeek-V2 cuts white space at the end off.
    @Test func cutsAtLineEnds() throws {
        let ends = try WholePieceTokenizer(pattern: #"\s+$"#)
        #expect(
            try ends.pieces("a b  \nc  ").map { String(decoding: $0, as: UTF8.self) } == ["a b", "  ", "\nc", "  "])
        let starts = try WholePieceTokenizer(pattern: "^b")
        #expect(try starts.pieces("bb\nb").map { String(decoding: $0, as: UTF8.self) } == ["b", "b\n", "b"])
    }

    @Test func cutsDigits() throws {
        let runs = try tokenizer(#"{"type":"Digits","individual_digits":false},"# + Self.plain)
        #expect(try pieces("aa11a", runs) == ["aa", "11", "a"])
        let single = try tokenizer(#"{"type":"Digits","individual_digits":true},"# + Self.plain)
        #expect(try pieces("aa11a", single) == ["aa", "1", "1", "a"])
    }

    @Test func putsASpaceInFront() throws {
        let step = #"{"type":"ByteLevel","add_prefix_space":true,"use_regex":false}"#
        #expect(try pieces("ab", try tokenizer(step)) == [" ", "ab"])
        #expect(try pieces(" ab", try tokenizer(step)) == [" ", "ab"])
    }

    @Test func findsAddedTokens() throws {
        let added = """
            [{"id":20,"content":"<a>","lstrip":true,"rstrip":false,"special":true},
            {"id":21,"content":"<a>b","special":false,"normalized":false},
            {"id":22,"content":"<r>","rstrip":true},{"id":23,"content":"bab","single_word":true}]
            """
        let tokenizer = try tokenizer(Self.plain, addedTokens: added)
        func ids(_ text: String) throws -> [Int] { try tokenizer.encode(text, addSpecialTokens: false) }
        #expect(try ids("a  <a>a") == [0, 20, 0])
        #expect(try ids("a<a>ba") == [0, 21, 0])
        #expect(try ids("a<r> \u{3000}\na") == [0, 22, 0])
        #expect(try ids("bab bab") == [23, 2, 23])
        #expect(try ids("abab") == [8, 8])
        #expect(try ids("bab\u{301}") == [1, 8])
        #expect(try ids("<a><a>") == [20, 20])
        #expect(try ids("") == [])
    }
}
