import TensorCore

/// Every architecture Lamina runs, and detection from config.json.
public enum Architectures {
    public static let all: [Architecture] = [
        .llama, .mistral, .mixtral, .qwen, .qwen2, .qwen2MoE, .qwen3, .qwen3MoE, .chatGLM, .glm, .glm4, .baichuan,
        .internLM, .internLM2, .phi3, .gemma, .gemma2, .gemma3, .deepSeekV2, .deepSeekV3, .olmo2, .stableLM, .gptNeoX,
        .smolLM3,
    ]

    /// The architecture a manifest names.
    public static func named(_ name: String) -> Architecture? {
        all.first { $0.name.utf8.elementsEqual(name.utf8) }
    }

    /// Every `model_type` there is support for, sorted.
    public static var supportedModelTypes: [String] { all.flatMap(\.modelTypes).sorted() }

    /// The architecture of a config.json and what it means. Throws `.malformed` for an unknown one, by name, and
    /// for settings that are wrong or not supported.
    public static func detect(
        config: JSONObject, file: String
    ) throws(LaminaError) -> (architecture: Architecture, definition: ModelDefinition) {
        let reader = ConfigReader(object: config, file: file)
        let architecture = try architecture(of: reader)
        return (architecture, try architecture.define(reader))
    }

    private static func architecture(of reader: ConfigReader) throws(LaminaError) -> Architecture {
        if let type = try reader.string("model_type") {
            if let found = all.first(where: { $0.modelTypes.contains(type) }) { return found }
            throw unknown(reader, "model_type", type)
        }
        guard let classes = reader.value("architectures") else {
            throw LaminaError(
                .malformed, reader.file, "says neither \"model_type\" nor \"architectures\"",
                expected: "one of: " + supportedModelTypes.joined(separator: ", "))
        }
        guard let name = classes.array?.first?.string else {
            throw reader.failure("architectures", expected: "a list of class names")
        }
        if let found = all.first(where: { $0.classNames.contains(name) }) { return found }
        throw unknown(reader, "architectures", name)
    }

    private static func unknown(_ reader: ConfigReader, _ key: String, _ name: String) -> LaminaError {
        LaminaError(
            .malformed, reader.file, "the architecture is not supported (\"\(key)\")",
            expected: "one of: " + supportedModelTypes.joined(separator: ", "), found: "\"\(name)\"")
    }
}
