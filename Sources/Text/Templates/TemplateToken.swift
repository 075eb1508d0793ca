/// A piece of a template's text.
struct TemplateToken: Sendable {
    enum Kind: Equatable, Sendable {
        /// Text outside of tags.
        case data(Scalars)
        case variableBegin, variableEnd, blockBegin, blockEnd
        case name(String)
        case string(Scalars)
        case integer(Int)
        case float(Double)
        case symbol(Symbol)
        /// The end of the template.
        case end
    }

    /// An operator or a bracket.
    enum Symbol: String, CaseIterable, Sendable {
        case floorDivide = "//"
        case power = "**"
        case equal = "=="
        case unequal = "!="
        case atLeast = ">="
        case atMost = "<="
        case add = "+"
        case subtract = "-"
        case divide = "/"
        case multiply = "*"
        case modulo = "%"
        case concatenate = "~"
        case leftBracket = "["
        case rightBracket = "]"
        case leftParenthesis = "("
        case rightParenthesis = ")"
        case leftBrace = "{"
        case rightBrace = "}"
        case greater = ">"
        case less = "<"
        case assign = "="
        case dot = "."
        case colon = ":"
        case pipe = "|"
        case comma = ","
        case semicolon = ";"

        /// The bracket that closes this one.
        var closing: Symbol? {
            switch self {
            case .leftBracket: .rightBracket
            case .leftParenthesis: .rightParenthesis
            case .leftBrace: .rightBrace
            default: nil
            }
        }

        var isClosing: Bool { self == .rightBracket || self == .rightParenthesis || self == .rightBrace }
    }

    var kind: Kind
    /// Where it starts, in scalars.
    var offset: Int

    /// What it is, for messages.
    var summary: String {
        switch kind {
        case .data: "text"
        case .variableBegin: "'{{'"
        case .variableEnd: "'}}'"
        case .blockBegin: "'{%'"
        case .blockEnd: "'%}'"
        case .name(let name): "'\(name)'"
        case .string(let text): "the string '\(String(text.prefix(40)))'"
        case .integer(let value): "the number \(value)"
        case .float(let value): "the number \(value)"
        case .symbol(let symbol): "'\(symbol.rawValue)'"
        case .end: "the end of the template"
        }
    }
}
