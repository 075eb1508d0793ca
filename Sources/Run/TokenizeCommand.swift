import ArgumentParser
import CommandLineSupport
import TensorCore
import Text

/// Where a tokenizer is: a folder given by `--tokenizer`, or a layer store, which keeps a copy.
struct TokenizerOptions: ParsableArguments {
    @Argument(help: "A layer store, whose tokenizer is used.")
    var store: String?

    @Option(
        name: .customLong("tokenizer"),
        help: ArgumentHelp("A folder with a tokenizer.json, a tokenizer.model or a qwen.tiktoken.", valueName: "dir"))
    var folder: String?

    /// Loads the tokenizer. Throws `.usage`, `.missing`, `.io` or `.malformed`.
    func load() throws(LaminaError) -> Tokenizer {
        let place: TextFolder
        switch (store, folder) {
        case (let store?, nil): place = try TextFolder(store: store)
        case (nil, let folder?): place = TextFolder(folder: folder)
        default:
            throw LaminaError(
                .usage, "--tokenizer", "give either a layer store or --tokenizer DIR",
                found: store == nil ? "neither" : "both")
        }
        let tokenizer = try Tokenizer(folder: place.path) { (name) throws(LaminaError) in
            try place.read(name, limit: Tokenizer.maximumFileBytes)
        }
        guard let tokenizer else {
            throw LaminaError(
                .missing, place.path, "no tokenizer", expected: "tokenizer.json, tokenizer.model or qwen.tiktoken")
        }
        return tokenizer
    }
}

/// Prints the token ids of texts.
struct TokenizeCommand: ToolCommand {
    static let configuration = CommandConfiguration(
        commandName: "tokenize", abstract: "Turn text on standard input into token ids.",
        discussion: """
            Every line of standard input is one text; its ids come out on one line. With --json every line is an \
            object {"text": …}, answered by {"ids": […]}.

            Examples:
              echo "Hello" | lamina-run tokenize smollm2.lamina
              echo '{"text": "Hello"}' | lamina-run tokenize --tokenizer Llama-3.2-1B --json --pieces
              lamina-run tokenize smollm2.lamina --no-special --specials-as-text < notes.txt
            """)

    @OptionGroup var tokenizer: TokenizerOptions

    @Flag(inversion: .prefixedNo, help: "Add the special tokens the model expects around a text.")
    var special = true

    @Flag(help: "Take special tokens written in the text as plain text.")
    var specialsAsText = false

    @Flag(help: "Print the tokens, too, one on a line; with --json as \"pieces\".")
    var pieces = false

    @Flag(help: "Read and write JSON lines.")
    var json = false

    func execute() throws(LaminaError) {
        let tokenizer = try tokenizer.load()
        var input = StandardInputLines()
        while let line = try input.next() {
            let text = try json ? line.member("text", \.string, "a string") : line.text()
            let answer: String
            do {
                answer = try self.answer(text, tokenizer)
            } catch {
                throw error.about(line.place)
            }
            try Console.out(answer)
        }
    }

    private func answer(_ text: String, _ tokenizer: Tokenizer) throws(LaminaError) -> String {
        let ids: [Int]
        var tokens: [JSONValue] = []
        if pieces {
            let found = try tokenizer.encodePieces(text, addSpecialTokens: special, specialsAsText: specialsAsText)
            ids = found.map(\.id)
            tokens = found.map { .string($0.piece) }
        } else {
            ids = try tokenizer.encode(text, addSpecialTokens: special, specialsAsText: specialsAsText)
        }
        if json {
            var members: [(key: String, value: JSONValue)] = [("ids", .array(ids.map { JSONValue($0) }))]
            if pieces { members.append(("pieces", .array(tokens))) }
            return JSONValue.object(JSONObject(members)).text() + "\n"
        }
        if pieces {
            return zip(ids, tokens).map { "\($0)\t\($1.text())\n" }.joined() + "\n"
        }
        return ids.map(String.init).joined(separator: " ") + "\n"
    }
}

/// The lines of standard input, which may be a pipe.
struct StandardInputLines {
    /// Longest line accepted, in bytes: a bound on memory, far above any prompt.
    static let maximumLength = 1 << 28

    /// One line and where it is.
    struct Line {
        var bytes: [UInt8]
        var number: Int

        /// What errors call it.
        var place: String { "standard input: line \(number)" }

        /// The line as text. Throws `.malformed` if it is not UTF-8.
        func text() throws(LaminaError) -> String {
            guard let text = String(validating: bytes, as: UTF8.self) else {
                throw LaminaError(.malformed, place, "not UTF-8")
            }
            return text
        }

        /// A member of the JSON object on the line. Throws `.malformed` if there is none of that kind.
        func member<Value>(
            _ key: String, _ kind: (JSONValue) -> Value?, _ expected: String
        ) throws(LaminaError) -> Value {
            let limits = JSONScanner.Limits(depth: 16, stringBytes: StandardInputLines.maximumLength)
            let json: JSONValue
            do { json = try JSONValue.parse(bytes, limits: limits) } catch { throw error.about(place) }
            guard let value = json.object?[key].flatMap(kind) else {
                throw LaminaError(
                    .malformed, place, "not an object with \"\(key)\"", expected: expected,
                    found: (json.object?[key] ?? json).summary)
            }
            return value
        }
    }

    private var buffer: [UInt8] = []
    private var position = 0
    private var isAtEnd = false
    private var number = 0

    /// The next line without its line feed; `nil` after the last. Throws `.io`, and `.limit` for a line too long.
    mutating func next() throws(LaminaError) -> Line? {
        var searched = position
        while true {
            if let end = buffer[searched...].firstIndex(of: UInt8(ascii: "\n")) { return take(upTo: end, skipping: 1) }
            searched = buffer.count
            guard !isAtEnd else { return position < buffer.count ? take(upTo: buffer.count, skipping: 0) : nil }
            guard buffer.count - position <= StandardInputLines.maximumLength else {
                throw LaminaError(
                    .limit, "standard input: line \(number + 1)",
                    "longer than \(StandardInputLines.maximumLength) bytes")
            }
            try fill()
            searched -= compact()
        }
    }

    private mutating func take(upTo end: Int, skipping: Int) -> Line {
        number += 1
        defer { position = end + skipping }
        return Line(bytes: Array(buffer[position..<end]), number: number)
    }

    /// Drops what was taken, once that is most of the buffer; returns how much.
    private mutating func compact() -> Int {
        guard position > buffer.count / 2 else { return 0 }
        defer { position = 0 }
        buffer.removeFirst(position)
        return position
    }

    private mutating func fill() throws(LaminaError) {
        let piece = try Console.read()
        isAtEnd = piece.isEmpty
        buffer += piece
    }
}
