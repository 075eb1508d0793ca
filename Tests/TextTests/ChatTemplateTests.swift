import TensorCore
import Testing
import Text

@Suite struct ChatTemplateTests {
    private static let smolLM2 = """
        {% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
        You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>
        ' }}{% endif %}{{'<|im_start|>' + message['role'] + '
        ' + message['content'] + '<|im_end|>' + '
        '}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
        ' }}{% endif %}
        """

    private static let system =
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"

    @Test func rendersSmolLM2() throws {
        let template = try ChatTemplate(template: Self.smolLM2)
        let question = ChatMessage(.user, "What is gravity?")
        #expect(
            template.render([question], addGenerationPrompt: true)
                == Self.system + "<|im_start|>user\nWhat is gravity?<|im_end|>\n<|im_start|>assistant\n")
        let conversation = [ChatMessage(.system, " be\n"), question, ChatMessage(.assistant, "")]
        #expect(
            template.render(conversation, addGenerationPrompt: false)
                == "<|im_start|>system\n be\n<|im_end|>\n<|im_start|>user\nWhat is gravity?<|im_end|>\n"
                + "<|im_start|>assistant\n<|im_end|>\n")
        #expect(template.render([], addGenerationPrompt: false) == "")
    }

    @Test func refusesOthersByName() throws {
        let error = try #require(throws: LaminaError.self) { try ChatTemplate(template: "{{ messages }}") }
        #expect(error.kind == .malformed)
        #expect(error.description.contains("SHA-256 \(SHA256.digest(of: Array("{{ messages }}".utf8)))"))
        #expect(error.hint?.contains("--raw") == true)
    }

    @Test(arguments: [
        (#"{"chat_template":"one"}"#, nil, "one"), (#"{"chat_template":"one"}"#, "two\n", "two"),
        (#"{"chat_template":[{"name":"tool","template":"t"},{"name":"default","template":"d"}]}"#, nil, "d"),
        (#"{"chat_template":null}"#, nil, nil), ("{}", nil, nil), (nil, nil, nil), (nil, "two", "two"),
    ] as [(String?, String?, String?)])
    func findsTheText(_ config: String?, _ jinja: String?, _ expected: String?) throws {
        let text = try ChatTemplate.templateText(
            tokenizerConfig: config.map { Array($0.utf8) }, jinja: jinja.map { Array($0.utf8) }, folder: "folder")
        #expect(text == expected)
    }

    @Test(arguments: [
        "{", #"{"chat_template":3}"#, #"{"chat_template":[]}"#, #"{"chat_template":[{"name":"default"}]}"#,
    ])
    func refusesOtherConfigurations(_ config: String) {
        #expect(throws: LaminaError.self) {
            try ChatTemplate.templateText(tokenizerConfig: Array(config.utf8), jinja: nil, folder: "folder")
        }
    }
}
