import ArgumentParser
import CommandLineSupport
import TensorCore
import Text

/// Prints the text of token ids.
struct DetokenizeCommand: ToolCommand {
    static let configuration = CommandConfiguration(
        commandName: "detokenize", abstract: "Turn token ids on standard input into text.",
        discussion: """
            Every line of standard input holds ids with spaces between; their text comes out, followed by a line \
            feed. With --json every line is an object {"ids": […]}, answered by {"text": …}.

            Examples:
              echo "504 2849" | lamina-run detokenize smollm2.lamina
              echo '{"ids": [504, 2849]}' | lamina-run detokenize --tokenizer Llama-3.2-1B --json --skip-special
            """)

    @OptionGroup var tokenizer: TokenizerOptions

    @Flag(help: "Leave special tokens out.")
    var skipSpecial = false

    @Flag(help: "Decode id by id, as generation does; with --json also \"chunks\", null where no text is final yet.")
    var stream = false

    @Flag(help: "Read and write JSON lines.")
    var json = false

    func execute() throws(LaminaError) {
        let tokenizer = try tokenizer.load()
        var input = StandardInputLines()
        while let line = try input.next() {
            let ids = try ids(line)
            if json {
                try Console.out(answer(ids, tokenizer).text() + "\n")
            } else if stream {
                var detokenizer = StreamingDetokenizer(tokenizer, skipSpecialTokens: skipSpecial)
                for id in ids {
                    if let part = detokenizer.append(id) { try Console.out(part) }
                }
                try Console.out(detokenizer.finish() + "\n")
            } else {
                try Console.out(tokenizer.decode(ids, skipSpecialTokens: skipSpecial) + "\n")
            }
        }
    }

    private func ids(_ line: StandardInputLines.Line) throws(LaminaError) -> [Int] {
        if json {
            return try line.member(
                "ids", { $0.array.flatMap(DetokenizeCommand.integers) }, "an array of integers")
        }
        var ids: [Int] = []
        for word in try line.text().split(whereSeparator: \.isWhitespace) {
            guard let id = Int(word) else {
                throw LaminaError(.malformed, line.place, "not an id", found: String(word.prefix(40)))
            }
            ids.append(id)
        }
        return ids
    }

    private static func integers(_ values: [JSONValue]) -> [Int]? {
        let integers = values.compactMap(\.integer)
        return integers.count == values.count ? integers : nil
    }

    private func answer(_ ids: [Int], _ tokenizer: Tokenizer) -> JSONValue {
        guard stream else { return ["text": .string(tokenizer.decode(ids, skipSpecialTokens: skipSpecial))] }
        var detokenizer = StreamingDetokenizer(tokenizer, skipSpecialTokens: skipSpecial)
        let parts = ids.map { detokenizer.append($0) }
        let rest = detokenizer.finish()
        return [
            "text": .string(parts.compactMap(\.self).joined() + rest),
            "chunks": .array(parts.map { JSONValue($0) }),
            "rest": .string(rest),
        ]
    }
}
