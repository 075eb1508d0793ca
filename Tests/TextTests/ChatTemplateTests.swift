import TensorCore
import TestSupport
import Testing
import Text

@Suite struct ChatTemplateTests {
    /// The published template, with what the reference implementation makes of conversations, and of some the ids.
    @Test func rendersSmolLM2() throws {
        let document = try JSONValue.parse(try Fixtures.bytes("tokenizers/smollm2/chat.json")).object
        let template = try ChatTemplate(template: try #require(document?["template"]?.string))
        let tokenizer = try TokenizerCases.tokenizer("smollm2")
        let cases = try #require(document?["cases"]?.array)
        #expect(cases.count == 23)
        for item in cases {
            let messages = (item.object?["messages"]?.array ?? []).map { message in
                ChatMessage(
                    role: message.object?["role"]?.string ?? "", content: message.object?["content"]?.string ?? "")
            }
            let isPrompt = item.object?["add_generation_prompt"]?.bool == true
            let text = template.render(messages, addGenerationPrompt: isPrompt)
            #expect(Array(text.utf8) == item.bytes("expected"))
            if let ids = item.integers("ids") {
                #expect(try tokenizer.encode(text, addSpecialTokens: true) == ids)
            }
        }
        #expect(template.render([], addGenerationPrompt: false) == "")
    }

    @Test func refusesOthersByName() throws {
        let error = try #require(throws: LaminaError.self) { try ChatTemplate(template: "{{ messages }}") }
        #expect(error.kind == .malformed)
        #expect(error.description.contains("SHA-256 \(SHA256.digest(of: Array("{{ messages }}".utf8)))"))
        #expect(error.hint?.contains("--raw") == true)
    }

    @Test(
        arguments: [
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
