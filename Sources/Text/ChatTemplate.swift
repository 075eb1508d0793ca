import TensorCore

/// The roles that chat templates know.
public enum ChatRole: String, Sendable, CaseIterable {
    case system, user, assistant
}

/// One message of a conversation.
public struct ChatMessage: Sendable, Equatable {
    /// Any word; templates know those of `ChatRole`.
    public var role: String
    public var content: String

    public init(role: String, content: String) {
        self.role = role
        self.content = content
    }

    public init(_ role: ChatRole, _ content: String) {
        self.init(role: role.rawValue, content: content)
    }

    /// The message as templates see it.
    public var json: JSONValue { ["role": .string(role), "content": .string(content)] }
}

/// Turns a conversation into the text a model was trained on.
///
/// Templates are programs in Jinja, rendered as `transformers` renders them: Jinja 3.1 in its immutable sandbox with
/// `trim_blocks`, `lstrip_blocks` and loop controls. docs/chat-templates.md says what is supported. A template has no
/// access to files or other state, and its work, nesting and output are bounded.
public struct ChatTemplate: Sendable {
    private let statements: [TemplateStatement]
    private let names: [String]
    private let limits: TemplateLimits
    /// The text it was made from.
    private let source: Scalars

    /// Compiles a template. Throws `.malformed` with line and column, what was expected and what was found, and `.limit`
    /// if it is nested too deep.
    public init(template text: String, limits: TemplateLimits = TemplateLimits()) throws(LaminaError) {
        self.limits = limits
        var lexer = TemplateLexer(text)
        source = lexer.source
        do throws(TemplateFailure) {
            var parser = TemplateParser(try lexer.tokenize())
            statements = try parser.parse()
            names = parser.names
        } catch {
            throw ChatTemplate.error(error, in: lexer.source)
        }
    }

    /// The text of a conversation; with `addGenerationPrompt` it ends where the model's answer begins. `variables` are
    /// further names the template may use, such as `bos_token`.
    ///
    /// Throws `.malformed` with line and column if the template refuses the conversation or fails, and `.limit` if it
    /// does too much.
    public func render(
        _ messages: [ChatMessage], addGenerationPrompt: Bool, variables: JSONObject = JSONObject(),
        now: LocalTime = .current()
    ) throws(LaminaError) -> String {
        try render(
            messages: messages.map(\.json), addGenerationPrompt: addGenerationPrompt, variables: variables, now: now)
    }

    /// The same for messages as JSON objects, which may have more than a role and a content: calls of tools, parts,
    /// reasoning. `tools` and `documents` are none unless `variables` has them.
    public func render(
        messages: [JSONValue], addGenerationPrompt: Bool, variables: JSONObject = JSONObject(),
        now: LocalTime = .current()
    ) throws(LaminaError) -> String {
        let interpreter = TemplateInterpreter(names: names, limits: limits, now: now)
        do throws(TemplateFailure) {
            var values: [(name: String, value: TemplateValue)] = [("tools", .none), ("documents", .none)]
            for (name, value) in variables.members { values.append((name, try interpreter.value(value))) }
            let messages = JSONValue.array(messages.map(ChatTemplate.namingReasoning))
            values.append(("messages", try interpreter.value(messages)))
            values.append(("add_generation_prompt", .bool(addGenerationPrompt)))
            return String(try interpreter.render(statements, variables: values))
        } catch {
            throw ChatTemplate.error(error, in: source)
        }
    }

    /// Reasoning goes by three names; like `transformers` this gives it under the two that templates read.
    private static func namingReasoning(_ message: JSONValue) -> JSONValue {
        guard let object = message.object else { return message }
        let names = ["reasoning_content", "thinking", "reasoning"]
        guard let reasoning = names.lazy.compactMap({ object[$0] }).first(where: { !$0.isNull }) else {
            return message
        }
        var members = object.members
        let thinking = members.firstIndex { $0.key == "thinking" }.map { members.remove(at: $0).value }
        members.insert(("thinking", thinking ?? reasoning), at: 0)
        if let place = members.firstIndex(where: { $0.key == "reasoning_content" }) {
            members[place].value = reasoning
        } else {
            members.append(("reasoning_content", reasoning))
        }
        return .object(JSONObject(members))
    }

    private static func error(_ failure: TemplateFailure, in source: Scalars) -> LaminaError {
        var problem = failure.problem
        if let offset = failure.offset {
            let before = source.prefix(offset)
            let line = before.count { $0 == "\n" } + 1
            let column = before.count - (before.lastIndex(of: "\n").map { $0 + 1 } ?? 0) + 1
            problem = "line \(line), column \(column): " + problem
        }
        return LaminaError(
            failure.kind, "chat template", problem, expected: failure.expected, found: failure.found)
    }
}

extension TemplateInterpreter {
    /// A value out of JSON. Throws for whole numbers beyond 64 bits.
    fileprivate func value(_ json: JSONValue) throws(TemplateFailure) -> TemplateValue {
        switch json {
        case .null: return .none
        case .bool(let flag): return .bool(flag)
        case .number(let text):
            if let integer = Int(text) { return .integer(integer) }
            guard text.contains(where: { $0 == "." || $0 == "e" || $0 == "E" }), let double = Double(text) else {
                throw PythonNumber.overflow
            }
            return .float(double)
        case .string(let text): return .text(text)
        case .array(let elements):
            return .list(try ListValue(try elements.map { (element) throws(TemplateFailure) in try value(element) }))
        case .object(let object):
            return .dictionary(
                try DictionaryValue(
                    try object.members.map { (member) throws(TemplateFailure) in
                        (key: .text(member.key), value: try value(member.value))
                    }))
        }
    }
}
