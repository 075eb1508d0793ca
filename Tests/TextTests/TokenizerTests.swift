import TensorCore
import TestSupport
import Testing
import Text

@Suite struct TokenizerTests {
    @Test func knowsItsTokens() throws {
        let tokenizer = try TokenizerCases.tokenizer("smollm2")
        #expect(tokenizer.vocabularySize == 49152)
        #expect(tokenizer.id(ofToken: "<|im_end|>") == 2)
        #expect(tokenizer.token(ofID: 2) == "<|im_end|>")
        #expect(tokenizer.isSpecial(2))
        #expect(!tokenizer.isSpecial(504))
        #expect(tokenizer.bytes(of: 504) == Array("The".utf8))
        #expect(tokenizer.id(ofToken: "no such token") == nil)
        for id in [-1, 49152, Int.max, Int.min] {
            #expect(tokenizer.bytes(of: id).isEmpty)
            #expect(tokenizer.token(ofID: id) == nil)
        }
        #expect(tokenizer.decode([-1, 504, Int.max], skipSpecialTokens: false) == "The")
    }

    @Test func takesSpecialTokensAsText() throws {
        let tokenizer = try TokenizerCases.tokenizer("smollm2")
        let ids = try tokenizer.encode("a<|im_end|>", addSpecialTokens: false, specialsAsText: true)
        #expect(!ids.contains(2))
        #expect(tokenizer.decode(ids, skipSpecialTokens: true) == "a<|im_end|>")
    }

    /// Composed and decomposed letters are different bytes, so different tokens.
    @Test func keepsCanonicallyEquivalentTextApart() throws {
        let tokenizer = try TokenizerCases.tokenizer("smollm2")
        for text in ["\u{E9}", "e\u{301}"] {
            let ids = try tokenizer.encode(text, addSpecialTokens: false)
            #expect(Array(tokenizer.decode(ids, skipSpecialTokens: false).utf8) == Array(text.utf8))
        }
    }

    /// A quadratic merge would take hours.
    @Test(.timeLimit(.minutes(5)), arguments: ["abcdefghijklmnopqrstuvwxyz", "a"])
    func encodesAMegabyteWithoutASpace(_ letters: String) throws {
        let tokenizer = try TokenizerCases.tokenizer("smollm2")
        let text = String(repeating: letters, count: 1_000_000 / letters.utf8.count)
        let ids = try tokenizer.encode(text, addSpecialTokens: false)
        #expect(Array(tokenizer.decode(ids, skipSpecialTokens: false).utf8) == Array(text.utf8))
    }

    /// Pieces on both sides of the length where the model changes from scanning to a heap must come out as a plain
    /// merge in order of rank says.
    @Test func mergesLongPiecesLikeShortOnes() throws {
        let tokenizer = try TokenizerCases.tokenizer("smollm2")
        let reference = try PlainMerging(TokenizerCases.json("smollm2"))
        var generator = SeededGenerator(seed: 7)
        for _ in 0..<100 {
            let length = Int(generator.next() % 120) + 1
            let text = String((0..<length).map { _ in "etaoinshrdlu".randomElement(using: &generator) ?? "e" })
            #expect(try tokenizer.encode(text, addSpecialTokens: false) == reference.encode(text), "\(text)")
        }
    }

    @Test func isTheSameFromManyThreads() async throws {
        let tokenizer = try TokenizerCases.tokenizer("llama3-style")
        let text = String(repeating: "It's 1234 words, isn't it?  \n\n", count: 200)
        let expected = try tokenizer.encode(text, addSpecialTokens: true)
        try await withThrowingTaskGroup(of: [Int].self) { group in
            for _ in 0..<16 { group.addTask { try tokenizer.encode(text, addSpecialTokens: true) } }
            for try await ids in group { #expect(ids == expected) }
        }
    }

    @Test func replacesIncompleteCharactersAtTheEndOfAStream() throws {
        let tokenizer = try TokenizerCases.tokenizer("smollm2")
        let ids = try tokenizer.encode("😀", addSpecialTokens: false)
        let first = try #require(ids.first)
        var stream = StreamingDetokenizer(tokenizer, skipSpecialTokens: true)
        let part = stream.append(first)
        #expect(part == nil)
        #expect(stream.finish() == tokenizer.decode([first], skipSpecialTokens: true))
        #expect(stream.finish() == "")
    }
}

/// Byte-pair encoding of one piece of ASCII letters, as slow and plain as its definition.
private struct PlainMerging {
    private var vocabulary: [String: Int] = [:]
    private var ranks: [String: Int] = [:]

    init(_ json: [UInt8]) throws {
        let model = try JSONValue.parse(json).object?["model"]?.object
        for (token, id) in model?["vocab"]?.object?.members ?? [] where token.utf8.allSatisfy({ $0 < 0x80 }) {
            vocabulary[token] = id.integer
        }
        for (rank, merge) in (model?["merges"]?.array ?? []).enumerated() {
            let merge = merge.string ?? ""
            if merge.utf8.allSatisfy({ $0 < 0x80 }) { ranks[merge] = rank }
        }
    }

    func encode(_ text: String) -> [Int] {
        var symbols = text.map(String.init)
        while true {
            let pairs = symbols.indices.dropLast().compactMap { index in
                ranks[symbols[index] + " " + symbols[index + 1]].map { (rank: $0, index: index) }
            }
            guard let best = pairs.min(by: { ($0.rank, $0.index) < ($1.rank, $1.index) }) else { break }
            symbols[best.index] += symbols.remove(at: best.index + 1)
        }
        return symbols.compactMap { vocabulary[$0] }
    }
}
