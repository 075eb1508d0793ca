import TensorCore
import TestSupport
import Testing
import Text

@Suite struct MalformedTokenizerTests {
    @Test(arguments: BadTokenizer.vocabularies + BadTokenizer.addedTokens + BadTokenizer.pipelines)
    func refuses(_ bad: BadTokenizer) throws {
        let error = try #require(throws: LaminaError.self) {
            try Tokenizer(json: bad.json, file: "folder/tokenizer.json")
        }
        #expect(error.kind == .malformed)
        #expect(error.subject == "folder/tokenizer.json")
        #expect(error.description.contains(bad.says), "\(error)")
    }

    @Test(arguments: ["", "[]", "null", "{}", #"{"model":[]}"#, #"{"model":{}}"#, #"{"model":{"type":"BPE"}}"#])
    func refusesWhatIsNoTokenizer(_ text: String) {
        #expect(throws: LaminaError.self) { try Tokenizer(json: Array(text.utf8), file: "") }
    }

    @Test func leavesOutBytesWithoutASymbol() throws {
        let tokenizer = try SmallTokenizer().load()
        #expect(try tokenizer.encode("abcz ab<x>", addSpecialTokens: true) == [4, 5, 3, 6])
        #expect(tokenizer.decode([4, 5, 3, 6], skipSpecialTokens: true) == "abc ab")
    }

    @Test func appliesTemplatesAroundTheText() throws {
        let template = BadTokenizer.template(#"{"SpecialToken":{"id":"<x>"}}"#)
        let small = SmallTokenizer().with { $0.postProcessor = template }
        #expect(try small.load().encode("abc", addSpecialTokens: true) == [6, 4])
        #expect(try small.load().encode("abc", addSpecialTokens: false) == [4])
    }

    /// Backtracking without end must stop at the limit, as an error.
    @Test func stopsAPatternThatTakesForever() throws {
        let small = SmallTokenizer().with { $0.preTokenizer = BadTokenizer.split(#"{"Regex":"(?:a|aa)+[bc]"}"#) }
        let tokenizer = try small.load()
        let error = try #require(throws: LaminaError.self) {
            _ = try tokenizer.encode(String(repeating: "a", count: 200), addSpecialTokens: false)
        }
        #expect(error.kind == .limit)
    }

    /// Damaged files must be refused or work, never crash: 2000 seeded mutations of a small but complete file.
    @Test func survivesMutations() throws {
        var small = SmallTokenizer()
        small.preTokenizer = BadTokenizer.split(#"{"Regex":"\\s+(?!\\S)|[^\\s\\p{L}]{1,3}|\\p{N}"}"#)
        small.postProcessor = BadTokenizer.template(#"{"SpecialToken":{"id":"<x>"}}"#)
        let original = small.json
        let parts = [
            "0", "-1", "99999999999999999999", "[", "]", "{", "}", "\"", ",", "null", "\\", "é", "a", "+", "(",
        ]
        var generator = SeededGenerator(seed: 42)
        var accepted = 0
        for _ in 0..<2000 {
            var bytes = original
            for _ in 0...Int(generator.next() % 3) {
                let position = Int(generator.next() % UInt64(bytes.count))
                switch generator.next() % 4 {
                case 0: bytes[position] = UInt8(truncatingIfNeeded: generator.next())
                case 1: bytes.remove(at: position)
                case 2:
                    let part = parts.randomElement(using: &generator) ?? ""
                    bytes.insert(contentsOf: Array(part.utf8), at: position)
                default: bytes.removeSubrange(position..<min(bytes.count, position + Int(generator.next() % 20)))
                }
            }
            guard let tokenizer = try? Tokenizer(json: bytes, file: "") else { continue }
            accepted += 1
            let ids = try? tokenizer.encode("abc <x> ab12\u{E9}", addSpecialTokens: true)
            _ = tokenizer.decode(ids ?? [0, 1], skipSpecialTokens: false)
        }
        #expect(accepted > 0)
    }
}
