import Foundation
import TensorCore
import Testing
import Text

/// A tokenizer whose every piece is one unknown token, so that what normalizers and pre-tokenizers do shows as it is.
struct WholePieceTokenizer {
    let tokenizer: Tokenizer

    init(normalizer: String = "null", preTokenizer: String = "null", addedTokens: String = "[]") throws {
        let json = """
            {"version":"1.0","added_tokens":\(addedTokens),"normalizer":\(normalizer),"pre_tokenizer":\(preTokenizer),
            "post_processor":null,"decoder":null,"model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0]]}}
            """
        tokenizer = try Tokenizer(json: Array(json.utf8), file: "tokenizer.json")
    }

    /// A Split step with a regular expression.
    init(pattern: String, behavior: String = "Isolated") throws {
        let step: JSONValue = [
            "type": "Split", "pattern": ["Regex": .string(pattern)], "behavior": .string(behavior), "invert": false,
        ]
        try self.init(preTokenizer: step.text())
    }

    /// The pieces `text` is cut into, as bytes.
    func pieces(_ text: String) throws -> [[UInt8]] {
        try tokenizer.encodePieces(text, addSpecialTokens: false).map { Array($0.piece.utf8) }
    }
}

/// Text of characters that have been in Unicode for long, drawn with a seed.
struct RandomText {
    private var generator: any RandomNumberGenerator
    private static let alphabets: [[Character]] = [
        "abcXYZ", "  \n\t\r", "0123456789", "'’.,;:!?/()[]", "äÖßéſKİ", "中文字符かナー한국", "ΑάςПрЖ", "مرחב",
        "\u{301}\u{308}\u{323}",
        "😀½²Ⅷ٣", "\u{A0}\u{3000}\u{2028}\u{85}\u{B}", "ǅʰªº", "sS'tTrReEvVlLmMdD",
    ].map { Array($0) }

    init(_ generator: some RandomNumberGenerator) { self.generator = generator }

    mutating func next(_ count: Int) -> String {
        var text = ""
        for _ in 0..<count {
            let alphabet = RandomText.alphabets.randomElement(using: &generator) ?? []
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                text += alphabet.randomElement(using: &generator).map(String.init) ?? ""
            }
        }
        return text
    }
}
