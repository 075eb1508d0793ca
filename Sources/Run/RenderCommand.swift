import ArgumentParser
import CommandLineSupport
import TensorCore
import Text

/// Where a chat template is: a file, a checkpoint's folder, or a layer store, which keeps a copy.
struct TemplateOptions: ParsableArguments {
    @Argument(help: "A layer store, whose chat template is used.")
    var store: String?

    @Option(
        name: .customLong("tokenizer"),
        help: ArgumentHelp("A folder with chat_template.jinja or tokenizer_config.json.", valueName: "dir"))
    var folder: String?

    @Option(help: ArgumentHelp("A file with a template.", valueName: "file"))
    var template: String?

    var isGiven: Bool { store != nil || folder != nil || template != nil }

    /// What the files say. Throws `.usage`, `.missing`, `.io` or `.malformed`.
    func load() throws(LaminaError) -> (source: ChatTemplateSource, place: String) {
        let folder: TextFolder
        switch (store, self.folder, template) {
        case (nil, nil, let file?):
            let bytes = try RealFileSystem().readWhole(file, limit: ChatTemplateSource.maximumFileBytes)
            return (try ChatTemplateSource(tokenizerConfig: nil, jinja: bytes, folder: file), file)
        case (let store?, nil, nil): folder = try TextFolder(store: store)
        case (nil, let given?, nil): folder = TextFolder(folder: given)
        default:
            throw LaminaError(
                .usage, "", "give one of a layer store, --tokenizer DIR and --template FILE",
                found: store == nil && self.folder == nil ? "none" : "several")
        }
        let source = try ChatTemplateSource(folder: folder.path, read: folder.read)
        guard source.hasTemplate else {
            throw LaminaError(
                .missing, folder.path, "no chat template",
                expected: "chat_template.jinja, or chat_template in a JSON file")
        }
        return (source, folder.path)
    }
}

/// Prints conversations as a chat template writes them.
struct RenderCommand: ToolCommand {
    static let configuration = CommandConfiguration(
        commandName: "render", abstract: "Turn conversations on standard input into the text a model expects.",
        discussion: """
            Standard input is a conversation: a JSON array of messages, or an object {"messages": […], \
            "add_generation_prompt": true, "kwargs": {…}, "now": "2024-07-26T12:00:00"}, all but the messages optional. \
            The members of "kwargs" are variables of the template, such as "tools", "documents", "enable_thinking" or \
            "bos_token"; "now" is the local time it sees. The text comes out as it is, without a line feed.

            With --json every line is such an object, answered on a line by {"text": …} or {"error": …}. If no \
            template is given, every line brings its own as "template".

            Examples:
              echo '[{"role": "user", "content": "Hello"}]' | lamina-run render smollm2.lamina
              lamina-run render --tokenizer Qwen3-8B --json < conversations.jsonl
              lamina-run render --template chat_template.jinja --no-generation-prompt < conversation.json

            \(exitCodeHelp)
            """)

    @OptionGroup var template: TemplateOptions

    @Flag(
        inversion: .prefixedNo, help: "End where the model's answer begins, unless the input says otherwise.")
    var generationPrompt = true

    @Flag(help: "Read and write JSON lines.")
    var json = false

    func execute() throws(LaminaError) {
        let (source, place) = json && !template.isGiven ? (nil, "") : try template.load()
        var renderer = ConversationRenderer(source: source, addsGenerationPrompt: generationPrompt)
        guard json else {
            let bytes = try Console.readAll(limit: StandardInputLines.maximumLength)
            let text: String
            do throws(LaminaError) {
                text = try renderer.render(bytes)
            } catch {
                throw error.subject.isEmpty ? error.about("standard input") : error.about(place)
            }
            return try Console.out(text)
        }
        var input = StandardInputLines()
        while let line = try input.next() {
            let answer: JSONValue
            do throws(LaminaError) {
                answer = ["text": .string(try renderer.render(line.bytes))]
            } catch {
                answer = ["error": .string(error.about(error.subject.isEmpty ? line.place : error.subject).description)]
            }
            try Console.out(answer.text() + "\n")
        }
    }
}

/// Renders conversations given as JSON, compiling a template only once.
struct ConversationRenderer {
    /// `nil` if every conversation brings its template.
    let source: ChatTemplateSource?
    /// Where a conversation does not say.
    let addsGenerationPrompt: Bool
    private var compiled: [Bool: ChatTemplate] = [:]

    init(source: ChatTemplateSource?, addsGenerationPrompt: Bool) {
        self.source = source
        self.addsGenerationPrompt = addsGenerationPrompt
    }

    /// The text of a conversation: an array of messages, or an object with them. Errors about the template have it as
    /// their subject, those about the conversation none.
    mutating func render(_ bytes: [UInt8]) throws(LaminaError) -> String {
        let limits = JSONScanner.Limits(depth: 128, stringBytes: StandardInputLines.maximumLength)
        let json = try JSONValue.parse(bytes, limits: limits)
        let object = json.object ?? JSONObject([(key: "messages", value: json)])
        let messages = try ConversationRenderer.member(object, "messages", "an array of objects", \.array) ?? []
        guard messages.allSatisfy({ $0.object != nil }) else {
            throw LaminaError(.malformed, "", "a message is no object")
        }
        guard object["messages"] != nil else { throw LaminaError(.malformed, "", "no \"messages\"") }
        let given = try ConversationRenderer.member(object, "kwargs", "an object", \.object) ?? JSONObject()
        let names = Set(given.members.map(\.key))
        let tokens = source?.specialTokens.members ?? []
        let variables = JSONObject(tokens.filter { !names.contains($0.key) } + given.members)
        let now = try ConversationRenderer.member(object, "now", "a time such as 2024-07-26T12:00:00") { value in
            value.string.flatMap { LocalTime($0) }
        }
        let isPrompt = try ConversationRenderer.member(object, "add_generation_prompt", "true or false", \.bool)
        let hasTools = variables["tools"].map { !$0.isNull } ?? false
        return try template(object, hasTools: hasTools).render(
            messages: messages, addGenerationPrompt: isPrompt ?? addsGenerationPrompt, variables: variables,
            now: now ?? .current())
    }

    private mutating func template(_ object: JSONObject, hasTools: Bool) throws(LaminaError) -> ChatTemplate {
        guard let source else {
            guard let text = try ConversationRenderer.member(object, "template", "a string", \.string) else {
                throw LaminaError(.malformed, "", "no \"template\", and none is given on the command line")
            }
            return try ChatTemplate(template: text)
        }
        if let template = compiled[hasTools] { return template }
        let template = try ChatTemplate(template: try source.text(hasTools: hasTools) ?? "")
        compiled[hasTools] = template
        return template
    }

    /// A member, if it is there and not null. Throws `.malformed` if it is of another kind.
    private static func member<Value>(
        _ object: JSONObject, _ key: String, _ expected: String, _ kind: (JSONValue) -> Value?
    ) throws(LaminaError) -> Value? {
        guard let value = object[key], !value.isNull else { return nil }
        guard let result = kind(value) else {
            throw LaminaError(
                .malformed, "", "bad value for \"\(key)\"", expected: expected, found: value.summary)
        }
        return result
    }
}
