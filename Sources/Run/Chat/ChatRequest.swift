/// What a line of a chat asks for.
enum ChatRequest: Equatable {
    case message(String)
    /// The answer of a tool.
    case tool(String)
    case system(String)
    case reset
    case save(String)
    case load(String)
    case stats
    case help
    case exit
    /// A command that there is not, or not that way; what to say about it.
    case wrong(String)

    static let helpText = """
        /system TEXT  give the conversation another system message; without TEXT none
        /tool TEXT    answer as a tool
        /reset        begin anew; the system message stays
        /save FILE    write the conversation as JSON
        /load FILE    go on with a conversation that was saved
        /stats        tokens, speed, memory
        /exit         leave, like Ctrl-D
        Ctrl-C stops an answer. A line that ends in \\ goes on in the next. // begins a message that begins with /.

        """

    init(_ line: String) {
        guard line.utf8.first == UInt8(ascii: "/") else {
            self = .message(line)
            return
        }
        if line.utf8.dropFirst().first == UInt8(ascii: "/") {
            self = .message(String(decoding: line.utf8.dropFirst(), as: UTF8.self))
            return
        }
        let parts = line.split(separator: " ", maxSplits: 1)
        let rest = parts.count > 1 ? ChatRequest.trimmed(parts[1]) : ""
        self = ChatRequest.command(String(parts[0]), rest)
    }

    private static func command(_ name: String, _ rest: String) -> ChatRequest {
        switch (name, rest.isEmpty) {
        case ("/system", _): .system(rest)
        case ("/tool", false): .tool(rest)
        case ("/reset", true): .reset
        case ("/save", false): .save(rest)
        case ("/load", false): .load(rest)
        case ("/stats", true): .stats
        case ("/help", true): .help
        case ("/exit", true), ("/quit", true): .exit
        case ("/tool", true), ("/save", true), ("/load", true): .wrong("\(name) needs something behind it; see /help")
        case ("/reset", _), ("/stats", _), ("/help", _), ("/exit", _), ("/quit", _):
            .wrong("\(name) takes nothing behind it")
        default: .wrong("there is no command \(name); see /help, or begin the message with //")
        }
    }

    private static func trimmed(_ text: Substring) -> String {
        var text = text
        while text.first == " " { text.removeFirst() }
        while text.last == " " { text.removeLast() }
        return String(text)
    }
}
