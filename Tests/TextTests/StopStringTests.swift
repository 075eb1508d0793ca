import TestSupport
import Testing
import Text

@Suite struct StopStringTests {
    /// The text that comes out when `text` arrives in parts of `size` characters.
    private func passed(_ text: String, _ strings: [String], size: Int) -> (text: String, hasStopped: Bool) {
        var stops = StopStrings(strings)
        var result = ""
        var rest = Array(text.unicodeScalars)[...]
        while !rest.isEmpty {
            var part = String.UnicodeScalarView()
            part.append(contentsOf: rest.prefix(size))
            result += stops.append(String(part))
            rest = rest.dropFirst(size)
        }
        return (result + stops.finish(), stops.hasStopped)
    }

    @Test(arguments: [
        ("Hello world", [], "Hello world", false), ("Hello world", ["xyz", ""], "Hello world", false),
        ("Hello world", ["wor"], "Hello ", true), ("Hello", ["H"], "", true), ("aab", ["ab"], "a", true),
        ("ababac", ["abac"], "ab", true), ("abcd", ["bcx", "d"], "abc", true), ("abc", ["abc", "b"], "a", true),
        ("xabc", ["bc", "abc"], "x", true), ("no end<|e", ["<|end|>"], "no end<|e", false),
        ("größe ü", ["ß"], "gr\u{F6}", true), ("日本語", ["本語"], "日", true), ("日本", ["本語"], "日本", false),
    ])
    func endsBeforeTheString(_ text: String, _ strings: [String], _ expected: String, _ hasStopped: Bool) {
        for size in 1...4 {
            let result = passed(text, strings, size: size)
            #expect(Array(result.text.utf8) == Array(expected.utf8))
            #expect(result.hasStopped == hasStopped)
        }
    }

    /// Nothing of a string that may still come is printed, and everything else at once.
    @Test func holdsBackOnlyWhatMayStop() {
        var stops = StopStrings(["\n\nUser:"])
        #expect(stops.append("Yes.\n") == "Yes.")
        #expect(stops.append("\nUs") == "")
        #expect(stops.append("e it") == "\n\nUse it")
        #expect(stops.append("\n\nUser: and more") == "")
        #expect(stops.hasStopped)
        #expect(stops.append("later") == "")
        #expect(stops.finish() == "")
    }

    /// The result does not depend on how the text is divided.
    @Test func isTheSameForAnyParts() {
        var random = SeededGenerator(seed: 4)
        for _ in 0..<300 {
            let text = String((0..<30).map { _ in "abc".randomElement(using: &random) ?? "a" })
            let strings = (0..<3).map { _ in
                String(
                    (0..<Int.random(in: 1...5, using: &random)).map { _ in "abc".randomElement(using: &random) ?? "a" })
            }
            let whole = passed(text, strings, size: 100)
            for size in 1...7 {
                let parts = passed(text, strings, size: size)
                #expect(parts.text == whole.text)
                #expect(parts.hasStopped == whole.hasStopped)
            }
            #expect(whole.hasStopped == strings.contains { text.contains($0) })
        }
    }
}
