import ArgumentParser
import CommandLineSupport
import Inference
import LayerStore
import TensorCore
import Text

/// Where the prompt comes from.
struct PromptOptions: ParsableArguments {
    @Argument(help: ArgumentHelp("- reads the prompt from standard input.", valueName: "-"))
    var input: String?

    @Option(name: [.short, .long], help: ArgumentHelp("The prompt.", valueName: "text"))
    var prompt: String?

    @Option(
        name: [.customShort("f"), .long],
        help: ArgumentHelp(
            "A file with the prompt; - is standard input. A line feed at its end is dropped.", valueName: "file"))
    var promptFile: String?

    @Option(help: ArgumentHelp("The prompt as token ids: 1,2,3.", valueName: "ids"))
    var ids: TokenList?

    @Flag(help: "The prompt is a user's message: put it into the model's chat template.")
    var chat = false

    @Flag(help: "The prompt is text to continue (the default).")
    var raw = false

    @Option(help: ArgumentHelp("A system message to go before the prompt, with --chat.", valueName: "text"))
    var system: String?

    /// Longest prompt file accepted, in bytes: far above any context.
    static let maximumBytes = 1 << 28

    func validate() throws {
        if let input, input != "-" {
            throw ValidationError(
                "unexpected argument '\(input)'; give the prompt with --prompt, or - for standard input")
        }
        let sources = [input != nil, prompt != nil, promptFile != nil, ids != nil].count { $0 }
        guard sources == 1 else {
            throw ValidationError("give one prompt: --prompt, --prompt-file, --ids, or - for standard input")
        }
        if chat, raw { throw ValidationError("--chat and --raw contradict each other") }
        if chat, ids != nil { throw ValidationError("--chat needs a text prompt: it does not go with --ids") }
        if system != nil, !chat { throw ValidationError("--system needs --chat") }
    }

    /// The prompt's ids. Throws `.usage` for an empty prompt, ids out of range, or text without a tokenizer.
    func tokens(model: StoredModel, text: ModelText?) throws(LaminaError) -> [Int] {
        if let ids {
            try checkTokens(ids.ids, model: model, option: "--ids")
            return ids.ids
        }
        let encoder = PromptEncoder(model: model, text: text)
        let prompt = try promptText()
        guard chat else { return try encoder.ids(text: prompt) }
        var messages = [ChatMessage(.user, prompt)]
        if let system { messages.insert(ChatMessage(.system, system), at: 0) }
        return try encoder.ids(messages)
    }

    private func promptText() throws(LaminaError) -> String {
        if let prompt { return prompt }
        let file = promptFile ?? "-"
        let isStandardInput = file == "-"
        let name = isStandardInput ? "standard input" : file
        let bytes =
            isStandardInput
            ? try Console.readAll(limit: PromptOptions.maximumBytes)
            : try RealFileSystem().readWhole(file, limit: PromptOptions.maximumBytes)
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw LaminaError(.malformed, name, "not UTF-8")
        }
        return text.utf8.last == UInt8(ascii: "\n") ? String(decoding: text.utf8.dropLast(), as: UTF8.self) : text
    }
}
