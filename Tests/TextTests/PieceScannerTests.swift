import TensorCore
import TestSupport
import Testing
import Text

/// The scanners of published patterns against PCRE2, which matches the same pattern in parentheses.
@Suite struct PieceScannerTests {
    private static let contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    private static let spaces = #"\s*[\r\n]+|\s+(?!\S)|\s+"#

    static let patterns = [
        #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#,
        contractions + #"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"# + spaces,
        contractions + #"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"# + spaces,
        #"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"# + contractions
            + #"?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"# + contractions
            + #"?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|"# + spaces,
        ##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^"## + "\r\n"
            + #"\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+["# + "\r\n" + #"]*|\s*["# + "\r\n"
            + #"]+|\s+(?!\S)|\s+"#,
        #"\p{N}{1,3}"#, #"\p{N}"#, "[\u{4E00}-\u{9FA5}\u{3040}-\u{309F}\u{30A0}-\u{30FF}]+",
    ]

    @Test(arguments: patterns) func agreesWithTheRegularExpression(_ pattern: String) throws {
        let scanner = try WholePieceTokenizer(pattern: pattern)
        let expression = try WholePieceTokenizer(pattern: "(?:" + pattern + ")")
        var random = RandomText(SeededGenerator(seed: 11))
        for _ in 0..<600 {
            let text = random.next(30)
            #expect(try scanner.pieces(text) == expression.pieces(text), "\(text.debugDescription)")
        }
    }

    /// White space is looked at once, however much of it there is.
    @Test(.timeLimit(.minutes(1)), arguments: patterns) func isLinear(_ pattern: String) throws {
        let tokenizer = try WholePieceTokenizer(pattern: pattern)
        for unit in [" ", "\n ", "A", "\u{301}", "a'", "中A"] {
            let text = String(repeating: unit, count: 1_000_000 / unit.utf8.count)
            #expect(try tokenizer.pieces(text).reduce(0) { $0 + $1.count } == text.utf8.count)
        }
    }
}
