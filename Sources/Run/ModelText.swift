import Inference
import LayerStore
import ModelCommandSupport
import TensorCore
import Text

/// The text side of a store: its tokenizer, its chat template, and the defaults its authors gave for generating.
struct ModelText {
    private let store: Store
    let tokenizer: Tokenizer
    private let chat: ChatTemplateSource

    /// `nil` if the store has no tokenizer. Throws `.malformed`, `.damaged` or `.io`.
    init?(_ store: Store) throws(LaminaError) {
        guard let loaded = try Tokenizer(store) else { return nil }
        self.store = store
        tokenizer = loaded
        chat = try ChatTemplateSource(folder: store.location(of: "side")) { (name, limit) throws(LaminaError) in
            try store.sideFile(name, limit: limit)
        }
    }

    /// A conversation as the model expects it. Throws `.usage` without a template, `.malformed` for a template that
    /// is not valid or refuses the conversation.
    func chatPrompt(_ messages: [JSONValue], tools: JSONValue? = nil) throws(LaminaError) -> [Int] {
        guard let templateText = try chat.text(hasTools: tools != nil) else {
            throw LaminaError(.usage, "--chat", "this store has no chat template", hint: "use --raw")
        }
        let text: String
        do throws(LaminaError) {
            let template = try ChatTemplate(template: templateText)
            var variables = chat.specialTokens
            if let tools { variables.members.append(("tools", tools)) }
            text = try template.render(messages: messages, addGenerationPrompt: true, variables: variables)
        } catch {
            throw error.about("chat template in " + store.location(of: "side"))
        }
        // The template writes the special tokens itself.
        return try tokenizer.encode(text, addSpecialTokens: false)
    }

    /// The beginning-of-sequence token, else the end-of-sequence token, as the checkpoint names them.
    var firstToken: Int? {
        ["bos_token", "eos_token"].lazy.compactMap { chat.specialTokens[$0]?.string }
            .compactMap(tokenizer.id(ofToken:)).first
    }

    /// Tokens that end a turn in the usual templates.
    private static let turnEnds = ["<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<end_of_turn>", "<|user|>"]

    /// Ids that end a text: the tokenizer's own, and in a chat the ends of turns that the template speaks of.
    func endTokens(isChat: Bool) -> [Int] {
        var names = chat.specialTokens["eos_token"]?.string.map { [$0] } ?? []
        if isChat, let templateText = try? chat.text() {
            names += ModelText.turnEnds.filter { templateText.utf8Contains($0) }
        }
        return names.compactMap(tokenizer.id(ofToken:))
    }
}

/// A JSON file's object. Throws `.malformed` naming the file.
private func parsedObject(_ bytes: [UInt8], file: String) throws(LaminaError) -> JSONObject {
    let value: JSONValue
    do throws(LaminaError) {
        value = try JSONValue.parse(bytes)
    } catch {
        throw error.about(file)
    }
    guard let object = value.object else {
        throw LaminaError(.malformed, file, "not a JSON object", found: value.summary)
    }
    return object
}

extension String {
    /// Whether the bytes of `part` occur, without Unicode's equivalences.
    fileprivate func utf8Contains(_ part: String) -> Bool {
        let bytes = Array(utf8)
        let wanted = Array(part.utf8)
        guard wanted.count <= bytes.count else { return false }
        return (0...(bytes.count - wanted.count)).contains { bytes[$0...].starts(with: wanted) }
    }
}

/// generation_config.json: the sampling its authors recommend.
struct GenerationDefaults {
    /// `nil` if the file does not say; it overrides config.json's.
    var endTokens: [Int]?
    /// What to sample with; `nil` where the file asks for nothing but the most probable token.
    var sampling: SamplerSettings?

    /// All unset without the file. Throws `.malformed` for values that cannot be meant.
    init(_ store: Store, vocabulary: Int) throws(LaminaError) {
        guard let bytes = try store.sideFile("generation_config.json") else { return }
        let file = store.location(of: "side/generation_config.json")
        let object = try parsedObject(bytes, file: file)
        if let value = object["eos_token_id"], !value.isNull {
            let list = value.array ?? [value]
            let ids = list.compactMap(\.integer).filter { (0..<vocabulary).contains($0) }
            guard ids.count == list.count else {
                throw LaminaError(
                    .malformed, file, "bad value for \"eos_token_id\"", expected: "token ids in 0..<\(vocabulary)",
                    found: value.summary)
            }
            endTokens = ids
        }
        let isSampling = object["do_sample"]?.bool == true
        // The repetition penalty holds without sampling, too; the others only where the file asks for it.
        guard isSampling || object["repetition_penalty"]?.double ?? 1 != 1 else { return }
        // Where the file is silent, transformers' own defaults are meant.
        let settings = SamplerSettings(
            temperature: isSampling ? object["temperature"]?.double ?? 1 : 0, topK: object["top_k"]?.integer ?? 50,
            topP: object["top_p"]?.double ?? 1, minP: object["min_p"]?.double ?? 0,
            typicalP: object["typical_p"]?.double ?? 1,
            repeatPenalty: object["repetition_penalty"]?.double ?? 1, repeatLastN: -1)
        do throws(LaminaError) {
            try settings.validate()
        } catch {
            throw LaminaError(
                .malformed, file, "sampling defaults out of range", expected: error.expected, found: error.found)
        }
        sampling = settings
    }
}
