import TensorCore

extension Architecture {
    /// Mistral (arXiv 2310.06825): Llama's form, in some versions with a sliding window on every layer.
    public static let mistral = Architecture(
        name: "mistral", modelTypes: ["mistral"], classNames: ["MistralForCausalLM"]
    ) { (reader) throws(LaminaError) in
        try LlamaForm(reader).model(window: reader.window())
    }
}
