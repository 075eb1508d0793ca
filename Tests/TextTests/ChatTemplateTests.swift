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
            let text = try template.render(messages, addGenerationPrompt: isPrompt)
            #expect(Array(text.utf8) == item.bytes("expected"))
            if let ids = item.integers("ids") {
                #expect(try tokenizer.encode(text, addSpecialTokens: true) == ids)
            }
        }
    }

    /// Published templates and conversations, with what the reference implementation makes of them.
    @Test func rendersPublishedTemplates() throws {
        let limits = JSONScanner.Limits(stringBytes: 1 << 22)
        let document = try JSONValue.parse(try Fixtures.bytes("chat/chat_templates.json"), limits: limits).object
        let now = try #require(document?["frozen_now"]?.string.flatMap { LocalTime($0) })
        var count = 0
        for entry in try #require(document?["templates"]?.array).compactMap(\.object) {
            let name = entry["name"]?.string ?? ""
            let template = try ChatTemplate(template: try #require(entry["template"]?.string))
            for item in try #require(entry["cases"]?.array).compactMap(\.object) {
                var variables = item["kwargs"]?.object ?? JSONObject()
                variables.members += [
                    ("bos_token", entry["bos_token"] ?? .null), ("eos_token", entry["eos_token"] ?? .null),
                ]
                let text = Result { () throws(LaminaError) in
                    try template.render(
                        messages: item["messages"]?.array ?? [],
                        addGenerationPrompt: item["add_generation_prompt"]?.bool == true, variables: variables,
                        now: now)
                }
                let expected = item["expected"]?.string.map { Array($0.utf8) }
                #expect((try? text.get()).map { Array($0.utf8) } == expected, "\(name)")
                count += 1
            }
        }
        #expect(count == 1080)
    }

    /// One template per construct of the language; null where the reference implementation refuses.
    @Test func rendersEveryConstruct() throws {
        let document = try JSONValue.parse(try Fixtures.bytes("chat/constructs.json")).object
        let variables = try #require(document?["variables"]?.object)
        let now = try #require(document?["now"]?.string.flatMap { LocalTime($0) })
        let cases = try #require(document?["cases"]?.array).compactMap(\.object)
        #expect(cases.count > 350)
        for item in cases {
            let source = try #require(item["template"]?.string)
            let text = Result { () throws(LaminaError) in
                try ChatTemplate(template: source).render(
                    [], addGenerationPrompt: false, variables: variables, now: now)
            }
            let expected = item["expected"]?.string.map { Array($0.utf8) }
            #expect((try? text.get()).map { Array($0.utf8) } == expected, "\(source)")
        }
    }

    @Test(arguments: [
        ("{{ 1 +}}", "line 1, column 7: syntax error; expected an expression, found '}}'"),
        ("ok\n  {% if a %}", "line 2, column 13: syntax error; expected '{% elif %}' or '{% else %}' or '{% endif %}'"),
        ("{{ 'a }}", "line 1, column 4: a string does not end; expected '''"),
        ("a\n{{ (1] }}", "line 2, column 6: a bracket closes that was not opened; expected ')', found ']'"),
        ("{{ x|nope }}", "line 1, column 6: there is no filter 'nope'"),
        ("{% nope %}", "line 1, column 4: there is no statement 'nope'"),
        ("\n\n{{ a.b.c }}", "line 3, column 5: 'a' is undefined"),
        ("{{ messages[0].a.b }}", "has no element 0"),
        ("{{ 'a' + 1 }}", "line 1, column 4: '+' does not go with str and int"),
        ("{{ raise_exception('Only user!') }}", "the template refuses: Only user!"),
        ("{{ [].append(1) }}", "'append' would change a list, which templates may not"),
        ("{{ 9223372036854775807 + 1 }}", "a whole number does not fit into 64 bits"),
    ])
    func saysWhatIsWrong(_ template: String, _ message: String) throws {
        let error = try #require(throws: LaminaError.self) {
            try ChatTemplate(template: template).render([], addGenerationPrompt: false)
        }
        #expect(error.kind == .malformed)
        #expect(error.description.contains(message), "\(error)")
    }

    /// Reasoning is there under the name templates read, whichever it came under.
    @Test(arguments: ["reasoning_content", "thinking", "reasoning"])
    func namesReasoning(_ name: String) throws {
        let template = try ChatTemplate(template: "{{ messages[0].reasoning_content }}|{{ messages[0].thinking }}")
        let message: JSONValue = .object(JSONObject([("role", "assistant"), (name, "why")]))
        #expect(try template.render(messages: [message], addGenerationPrompt: false) == "why|why")
    }

    @Test(
        arguments: [
            (#"{"chat_template":"one"}"#, nil, nil, "one"), (#"{"chat_template":"one"}"#, nil, "two", "two"),
            (#"{"chat_template":"one"}"#, #"{"chat_template":"three"}"#, nil, "three"),
            (
                #"{"chat_template":[{"name":"tool_use","template":"t"},{"name":"default","template":"d"}]}"#, nil, nil,
                "d"
            ),
            (#"{"chat_template":null}"#, nil, nil, nil), ("{}", nil, nil, nil), (nil, nil, nil, nil),
            (nil, nil, "two", "two"),
        ] as [(String?, String?, String?, String?)])
    func findsTheText(_ config: String?, _ json: String?, _ jinja: String?, _ expected: String?) throws {
        let source = try ChatTemplateSource(
            tokenizerConfig: config.map { Array($0.utf8) }, json: json.map { Array($0.utf8) },
            jinja: jinja.map { Array($0.utf8) }, folder: "folder")
        #expect(try source.text() == expected)
        #expect(source.hasTemplate == (expected != nil))
    }

    @Test func findsTheTemplateForToolsAndTheTokens() throws {
        let config = #"""
            {"chat_template":[{"name":"tool_use","template":"t"},{"name":"default","template":"d"}],
             "bos_token":{"content":"<s>","lstrip":false},"eos_token":"</s>","pad_token":null}
            """#
        let source = try ChatTemplateSource(tokenizerConfig: Array(config.utf8), jinja: nil, folder: "folder")
        #expect(try source.text(hasTools: true) == "t")
        #expect(source.specialTokens.members.map(\.key) == ["bos_token", "eos_token"])
        #expect(source.specialTokens["bos_token"]?.string == "<s>")
    }

    @Test(arguments: [
        "{", "[]", #"{"chat_template":3}"#, #"{"chat_template":[{"name":"default"}]}"#,
        #"{"chat_template":[{"name":"other","template":"t"}]}"#,
    ])
    func refusesOtherConfigurations(_ config: String) {
        #expect(throws: LaminaError.self) {
            try ChatTemplateSource(tokenizerConfig: Array(config.utf8), jinja: nil, folder: "folder").text()
        }
    }
}
