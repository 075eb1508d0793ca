import TensorCore
import TestSupport
import Testing
import Text

/// The tokenizers in Fixtures/tokenizers, and what the reference implementation says of them.
struct TokenizerCases {
    static let names = ["smollm2", "gpt2-style", "llama3-style", "phi4mini-style", "deepseek-style"]

    let tokenizer: Tokenizer
    let cases: [JSONValue]
    let randomIDs: [JSONValue]
    let streams: [JSONValue]

    init(_ name: String) throws {
        tokenizer = try TokenizerCases.tokenizer(name)
        let document = try JSONValue.parse(try Fixtures.bytes("tokenizers/\(name)/cases.json")).object
        cases = document?["cases"]?.array ?? []
        randomIDs = document?["decode_random_ids"]?.array ?? []
        streams = document?["stream"]?.array ?? []
    }

    static func json(_ name: String) throws -> [UInt8] {
        try Fixtures.bytes("tokenizers/\(name)/tokenizer.json")
    }

    /// Loaded once: without optimization a large one takes seconds.
    private static let loaded: [(name: String, tokenizer: Result<Tokenizer, any Error>)] = names.map { name in
        (name, Result { try Tokenizer(json: try json(name), file: "tokenizer.json") })
    }

    static func tokenizer(_ name: String) throws -> Tokenizer {
        try #require(loaded.first { $0.name == name }).tokenizer.get()
    }
}

extension JSONValue {
    /// A member that is a list of integers.
    func integers(_ key: String) -> [Int]? {
        object?[key]?.array?.compactMap(\.integer)
    }

    /// A member that is a string, as bytes: `String` would take canonically equivalent texts for equal.
    func bytes(_ key: String) -> [UInt8]? {
        object?[key]?.string.map { Array($0.utf8) }
    }
}
