import Foundation
import TensorCore
import TestSupport
import Testing

/// Converts `source` into a store inside `folder`, through the built executable.
func makeStore(_ source: String, in folder: String, _ options: [String] = []) throws -> String {
    let store = folder + "/store\(UInt32.random(in: 0 ... .max)).lamina"
    let result = try Tool.run("convert", [source, store, "--quiet"] + options)
    try #require(result.status == 0, "\(result.standardError)")
    return store
}

/// The JSON object a command prints.
func json(_ tool: String, _ arguments: [String], environment: [String: String] = [:]) throws -> [String: Any] {
    let result = try Tool.run(tool, arguments, environment: environment)
    try #require(result.status == 0, "\(arguments): \(result.standardError)")
    return try #require(try JSONSerialization.jsonObject(with: Data(result.standardOutput.utf8)) as? [String: Any])
}

/// `lamina-run logits --json` for `ids`.
func logits(
    _ store: String, _ ids: [Int], _ options: [String] = [], environment: [String: String] = [:]
) throws -> [String: Any] {
    let text = ids.map(String.init).joined(separator: ",")
    return try json("run", ["logits", store, "--ids", text, "--json"] + options, environment: environment)
}

/// The token ids `lamina-run generate` adds, greedily, end-of-text ignored.
func greedy(
    _ store: String, _ ids: [Int], count: Int, _ options: [String] = [], environment: [String: String] = [:]
) throws -> [Int] {
    let text = ids.map(String.init).joined(separator: ",")
    let arguments =
        ["generate", store, "--ids", text, "--max-tokens", String(count), "--ignore-eos", "--temp", "0", "--json"]
        + options
    return try #require(try json("run", arguments, environment: environment)["ids"] as? [Int])
}

/// Largest excess of |a - b| over `absolute + relative * |b|`; not positive if all agree.
func excess(_ found: [Double], _ expected: [Double], absolute: Double = 1e-3, relative: Double = 1e-4) -> Double {
    guard found.count == expected.count else { return .infinity }
    return zip(found, expected).map { abs($0 - $1) - absolute - relative * abs($1) }.max() ?? -absolute
}

/// Reads fixtures, whose keys are written with underscores.
func fixtureDecoder() -> JSONDecoder {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    return decoder
}

/// Size of the vocabulary of `withTextStore`.
let textStoreVocabulary = 49152

/// A store that knows text: a narrow model under SmolLM2's tokenizer and chat template.
func withTextStore(_ body: (_ store: String, _ folder: String) throws -> Void) throws {
    try Fixtures.withScratchFolder { folder in try body(try makeTextStore(in: folder), folder) }
}

/// The same in `folder`, its weights drawn from `seed`, or with another tokenizer, vocabulary or other sizes.
func makeTextStore(
    in folder: String, seed: UInt64 = 7, tokenizer: String = "smollm2", vocabulary: Int = textStoreVocabulary,
    change: (inout SyntheticCheckpoint.LlamaSizes) -> Void = { _ in }
) throws -> String {
    var sizes = SyntheticCheckpoint.LlamaSizes()
    (sizes.hidden, sizes.intermediate, sizes.headDimension) = (12, 40, 4)
    (sizes.vocabulary, sizes.isTied) = (vocabulary, true)
    change(&sizes)
    // The first one's source is `source`.
    let others = try FileManager.default.contentsOfDirectory(atPath: folder).filter { $0.hasPrefix("source") }
    let source = folder + "/source" + (others.isEmpty ? "" : "\(others.count)")
    try SyntheticCheckpoint.writeLlama(sizes, to: source, seed: seed)
    try FileManager.default.copyItem(
        atPath: Fixtures.path("tokenizers/\(tokenizer)/tokenizer.json"), toPath: source + "/tokenizer.json")
    let chat = try JSONValue.parse(try Fixtures.bytes("tokenizers/smollm2/chat.json")).object?["template"]
    let config: JSONValue = ["eos_token": "<|im_end|>", "chat_template": try #require(chat)]
    try Data(config.text().utf8).write(to: URL(fileURLWithPath: source + "/tokenizer_config.json"))
    return try makeStore(source, in: folder)
}
