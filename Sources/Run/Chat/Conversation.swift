import CommandLineSupport
import TensorCore
import Text

/// The messages of a chat, and their file: `{"messages": […]}`, which `render` takes too.
struct Conversation {
    /// As chat templates see them; a system message only in front.
    private(set) var messages: [JSONValue] = []
    /// Files this session has written or read, which it may replace.
    private var ownFiles: Set<[UInt8]> = []

    /// Longest file accepted, in bytes.
    static let maximumBytes = 1 << 28

    init(system: String?) {
        if let system { messages = [ChatMessage(.system, system).json] }
    }

    private var system: String? {
        guard let first = messages.first?.object, first["role"]?.string == ChatRole.system.rawValue else { return nil }
        return first["content"]?.string
    }

    /// Turns so far: messages but the system's.
    var turnCount: Int { messages.count - (system == nil ? 0 : 1) }

    mutating func append(role: String, _ content: String) {
        messages.append(ChatMessage(role: role, content: content).json)
    }

    /// Takes back the last message.
    mutating func removeLast() { if !messages.isEmpty { messages.removeLast() } }

    /// Puts another system message in front, or none if it is empty.
    mutating func setSystem(_ text: String) {
        if system != nil { messages.removeFirst() }
        if !text.isEmpty { messages.insert(ChatMessage(.system, text).json, at: 0) }
    }

    /// Forgets everything but the system message.
    mutating func reset() { messages = Array(messages.prefix(system == nil ? 0 : 1)) }

    /// Writes the conversation. Throws `.cannotCreate` if the name is taken by a file that is not this session's; `.io`.
    mutating func save(_ path: String) throws(LaminaError) {
        let json: JSONValue = ["messages": .array(messages)]
        try OutputFile(path, replaces: ownFiles.contains(Array(path.utf8))).publish(json.text() + "\n")
        ownFiles.insert(Array(path.utf8))
    }

    /// Goes on with a conversation that was saved. Throws `.missing`, `.io`, and `.malformed` for anything but an object
    /// with a list of messages, each with a role and a content.
    mutating func load(_ path: String) throws(LaminaError) {
        let messages = try Conversation.objects(path, member: "messages")
        for (index, message) in messages.enumerated() {
            guard message.object?["role"]?.string != nil else {
                throw LaminaError(
                    .malformed, path, "message \(index) has no role", expected: "{\"role\": …, \"content\": …}",
                    found: message.summary)
            }
        }
        self.messages = messages
        ownFiles.insert(Array(path.utf8))
    }

    /// A file's list of objects: the list itself, or a member of an object. Throws `.missing`, `.io`, `.malformed`.
    static func objects(_ path: String, member: String) throws(LaminaError) -> [JSONValue] {
        let bytes = try RealFileSystem().readWhole(path, limit: maximumBytes)
        let json: JSONValue
        do throws(LaminaError) {
            json = try JSONValue.parse(bytes, limits: JSONScanner.Limits(depth: 128, stringBytes: maximumBytes))
        } catch {
            throw error.about(path)
        }
        guard let list = json.array ?? json.object?[member]?.array, list.allSatisfy({ $0.object != nil }) else {
            throw LaminaError(
                .malformed, path, "not a list of objects", expected: "a list, or an object with \"\(member)\"",
                found: json.summary)
        }
        return list
    }
}
