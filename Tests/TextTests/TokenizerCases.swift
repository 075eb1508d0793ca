import TensorCore
import TestSupport
import Testing
import Text

/// The tokenizers in Fixtures/tokenizers, and what the reference implementations say of them.
struct TokenizerCases {
    static let names = Fixtures.names(in: "tokenizers")

    let tokenizer: Tokenizer
    let document: JSONObject
    let cases: [JSONValue]

    init(_ name: String) throws {
        tokenizer = try TokenizerCases.tokenizer(name)
        document = try #require(try JSONValue.parse(try Fixtures.bytes("tokenizers/\(name)/cases.json")).object)
        cases = document["cases"]?.array ?? []
    }

    /// A list of the document that not every reference has.
    func list(_ key: String) -> [JSONValue] { document[key]?.array ?? [] }

    static func json(_ name: String) throws -> [UInt8] {
        try Fixtures.bytes("tokenizers/\(name)/tokenizer.json")
    }

    /// Loaded once: without optimization a large one takes seconds.
    private static let loaded: [(name: String, tokenizer: Result<Tokenizer?, any Error>)] = names.map { name in
        (name, Result { try load(Fixtures.path("tokenizers/\(name)")) })
    }

    static func tokenizer(_ name: String) throws -> Tokenizer {
        let entry = try #require(loaded.first { $0.name == name })
        return try #require(try entry.tokenizer.get())
    }

    /// The tokenizer in a folder.
    static func load(_ folder: String) throws -> Tokenizer? {
        try Tokenizer(folder: folder) { (name) throws(LaminaError) in
            do throws(LaminaError) {
                return try RealFileSystem().readWhole(folder + "/" + name, limit: Tokenizer.maximumFileBytes)
            } catch {
                guard error.kind == .missing else { throw error }
                return nil
            }
        }
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
