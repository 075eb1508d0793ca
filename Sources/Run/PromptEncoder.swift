import Inference
import ModelCommandSupport
import TensorCore
import Text

/// Turns prompts into ids that a model knows.
struct PromptEncoder {
    let model: StoredModel
    let text: ModelText?

    /// A text to continue. Throws `.usage` for an empty one, or a store without a tokenizer.
    func ids(text prompt: String) throws(LaminaError) -> [Int] {
        let text = try tokenizing()
        guard !prompt.isEmpty else { throw PromptEncoder.empty }
        return try known(try text.tokenizer.encode(prompt, addSpecialTokens: true))
    }

    /// A conversation to answer. Throws `.usage` for an empty last message, a store without a tokenizer or a template;
    /// `.malformed` for an unknown template.
    func ids(_ messages: [ChatMessage]) throws(LaminaError) -> [Int] {
        guard messages.last?.content.isEmpty == false else { throw PromptEncoder.empty }
        return try ids(messages: messages.map(\.json))
    }

    /// The same for messages as JSON objects, and tools that the model may call.
    func ids(messages: [JSONValue], tools: JSONValue? = nil) throws(LaminaError) -> [Int] {
        try known(try tokenizing().chatPrompt(messages, tools: tools))
    }

    private static let empty = LaminaError(.usage, "", "the prompt is empty")

    private func tokenizing() throws(LaminaError) -> ModelText {
        guard let text else {
            throw LaminaError(
                .usage, model.store.path, "the store has no tokenizer, so it takes no text",
                hint: "give token ids instead")
        }
        return text
    }

    private func known(_ ids: [Int]) throws(LaminaError) -> [Int] {
        guard !ids.isEmpty else { throw PromptEncoder.empty }
        return try model.known(ids)
    }
}
