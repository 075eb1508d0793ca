import ArgumentParser
import CReferenceText
import Inference
import LayerStore
import TensorCore
import Text

/// Which text a model is measured with, and how it is divided.
public struct EvaluationTextOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The text, UTF-8. Default: 144 kB out of six novels by Jane Austen, which come with Lamina.",
            valueName: "file"))
    public var text: String?

    @Option(
        name: [.customShort("c"), .customLong("ctx")],
        help: ArgumentHelp("Tokens of a window.", valueName: "n"))
    public var context = 512

    @Option(help: ArgumentHelp("At most so many windows. Default: all that the text has.", valueName: "n"))
    public var windows: Int?

    public init() {}

    public func validate() throws {
        if context < TextWindows.leastContext {
            throw ValidationError("--ctx must be at least \(TextWindows.leastContext), not \(context)")
        }
        if let windows, windows < 1 { throw ValidationError("--windows must be at least 1, not \(windows)") }
    }

    /// The text. Throws `.missing`, `.io`, `.limit`, and `.malformed` for one that is not UTF-8.
    public func load() throws(LaminaError) -> EvaluationText {
        guard let text else { return EvaluationText.builtIn }
        return try EvaluationText(path: text)
    }

    /// The windows of `text` for `model`. Throws as `EvaluationText.windows`.
    public func windows(
        of text: EvaluationText, for model: StoredModel, stride: Int? = nil
    ) throws(LaminaError) -> TextWindows {
        try text.windows(for: model, context: context, stride: stride, most: windows ?? .max)
    }
}

/// A text to measure models with.
public struct EvaluationText: Sendable {
    /// The file's name, or what stands for it.
    public let name: String
    public let text: String
    public let digest: SHA256Digest

    /// Largest text accepted, in bytes: a bound on memory, far above what a machine gets through.
    private static let maximumBytes = 1 << 28

    private init(name: String, text: String, bytes: [UInt8]) {
        self.name = name
        self.text = text
        digest = SHA256.digest(of: bytes)
    }

    /// Reads a file. Throws `.missing`, `.io`, `.limit`, and `.malformed` if it is not UTF-8.
    public init(path: String) throws(LaminaError) {
        let bytes = try RealFileSystem().readWhole(path, limit: EvaluationText.maximumBytes)
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw LaminaError(.malformed, path, "not UTF-8")
        }
        self.init(name: path, text: text, bytes: bytes)
    }

    /// The text that comes with Lamina.
    public static var builtIn: EvaluationText {
        var count = 0
        let bytes = Array(UnsafeBufferPointer(start: lamina_reference_text(&count), count: count))
        return EvaluationText(name: "built-in text", text: String(decoding: bytes, as: UTF8.self), bytes: bytes)
    }

    public var byteCount: Int { text.utf8.count }

    /// What counts of it: editors end files with a line feed.
    var withoutLastLineFeed: String { text.utf8.last == 0x0A ? String(Substring(text.utf8.dropLast())) : text }

    /// Its windows for `model`, at most so many. Throws `.usage` for a context that the model was not made for or a store
    /// without a tokenizer, and as `TextWindows`.
    public func windows(
        for model: StoredModel, context: Int, stride: Int? = nil, most: Int
    ) throws(LaminaError) -> TextWindows {
        guard context <= model.config.maximumPositions else {
            throw LaminaError(
                .usage, "--ctx", "the model was not made for such a context",
                expected: "at most \(model.config.maximumPositions) positions", found: "\(context)")
        }
        let tokenizer = try model.tokenizer()
        // What looks like a special token in the text is text.
        let tokens = try model.known(
            tokenizer.beginning
                + tokenizer.encode(withoutLastLineFeed, addSpecialTokens: false, specialsAsText: true))
        do throws(LaminaError) {
            return try TextWindows(
                tokens: tokens, beginning: tokenizer.beginning, context: context, stride: stride, most: most)
        } catch {
            throw error.kind == .malformed ? error.about(name) : error
        }
    }

    /// What says which text it was, for reports.
    public var json: JSONValue {
        ["name": .string(name), "bytes": JSONValue(byteCount), "sha256": .string("\(digest)")]
    }
}

extension Tokenizer {
    /// That of a store, `nil` if it has none. Throws `.malformed`, `.damaged` or `.io`.
    public init?(_ store: Store) throws(LaminaError) {
        try self.init(folder: store.location(of: "side")) { (name) throws(LaminaError) in
            try store.sideFile(name, limit: Tokenizer.maximumFileBytes)
        }
    }
}

extension StoredModel {
    /// The tokenizer of a model that is given text. Throws `.usage` where the store has none, and as `Tokenizer`.
    public func tokenizer() throws(LaminaError) -> Tokenizer {
        guard let tokenizer = try Tokenizer(store) else {
            throw LaminaError(
                .usage, store.path, "the store has no tokenizer, so it takes no text", hint: "give token ids instead")
        }
        return tokenizer
    }

    /// `ids`, all of which the model knows. Throws `.malformed` for a tokenizer that knows others.
    public func known(_ ids: [Int]) throws(LaminaError) -> [Int] {
        for id in ids where id >= config.vocabularySize {
            throw LaminaError(
                .malformed, store.location(of: "side"), "the tokenizer knows ids the model does not",
                expected: "ids below \(config.vocabularySize)", found: "\(id)")
        }
        return ids
    }
}
