import TensorCore

/// Every architecture Lamina runs, and detection from config.json.
public enum Architectures {
    public static let all: [Architecture] = [.llama]

    /// The architecture a manifest names.
    public static func named(_ name: String) -> Architecture? {
        all.first { $0.name.utf8.elementsEqual(name.utf8) }
    }

    /// Every `model_type` there is support for, sorted.
    public static var supportedModelTypes: [String] { all.flatMap(\.modelTypes).sorted() }

    /// The architecture of a config.json and its checked settings. Throws `.malformed` for an unknown one, by name, and
    /// for settings that are wrong or not supported.
    public static func detect(
        config: JSONObject, file: String
    ) throws(LaminaError) -> (architecture: Architecture, config: ModelConfig) {
        let architecture = try architecture(of: ConfigReader(object: config, file: file))
        return (architecture, try architecture.configure(config, file))
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
