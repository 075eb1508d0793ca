import Foundation
import TestSupport
import Testing
import Text

@Suite struct NormalizerTests {
    private func normalized(_ text: String, _ normalizer: String) throws -> [UInt8] {
        try Array(WholePieceTokenizer(normalizer: normalizer).pieces(text).joined())
    }

    /// Against Foundation, on characters that all versions of Unicode treat alike.
    @Test func composesAndDecomposes() throws {
        var random = RandomText(SeededGenerator(seed: 3))
        let forms: [(String, (String) -> String)] = [
            ("NFC", \.precomposedStringWithCanonicalMapping), ("NFD", \.decomposedStringWithCanonicalMapping),
        ].map { ($0.0, $0.1) }
        for (name, reference) in forms {
            let tokenizer = try WholePieceTokenizer(normalizer: #"{"type":"\#(name)"}"#)
            for _ in 0..<300 {
                let text = random.next(20)
                let found = try Array(tokenizer.pieces(text).joined())
                #expect(found == Array(reference(text).utf8), "\(name) of \(text.debugDescription)")
            }
        }
    }

    /// A quadratic reordering would take minutes.
    @Test(.timeLimit(.minutes(1))) func ordersAMillionMarks() throws {
        let text = "e" + String(repeating: "\u{301}\u{323}", count: 250_000)
        let found = try normalized(text, #"{"type":"NFC"}"#)
        #expect(found.starts(with: "\u{1EB9}".utf8))
    }

    @Test(
        arguments: [
            (#"{"type":"NFKC"}"#, "ﬁ①ｶﾞǅ\u{323}가", "fi1ガDẓ\u{30C}가"),
            (#"{"type":"NFKD"}"#, "½é가", "1\u{2044}2e\u{301}\u{1100}\u{1161}"),
            (#"{"type":"Lowercase"}"#, "ÀİΣ", "ài\u{307}σ"), (#"{"type":"StripAccents"}"#, "e\u{301}é", "eé"),
            (#"{"type":"Strip","strip_left":true,"strip_right":false}"#, " \u{3000}a ", "a "),
            (#"{"type":"Strip","strip_left":true,"strip_right":true}"#, "   ", ""),
            (#"{"type":"Prepend","prepend":"▁"}"#, "a", "▁a"), (#"{"type":"Nmt"}"#, "a\u{7}\tb\u{200B}", "a b "),
            (#"{"type":"Replace","pattern":{"String":"aa"},"content":"b"}"#, "aaaaa", "bba"),
            (#"{"type":"Replace","pattern":{"Regex":"[0-9]+"},"content":"_"}"#, "a12b3", "a_b_"),
            (#"{"type":"ByteLevel"}"#, "é \n", "Ã©ĠĊ"),
            (
                #"{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"lowercase":true}"#,
                "É\u{0}中\t", "e 中  "
            ),
        ] as [(String, String, String)])
    func changesText(_ normalizer: String, _ text: String, _ expected: String) throws {
        #expect(try normalized(text, normalizer) == Array(expected.utf8))
    }
}
