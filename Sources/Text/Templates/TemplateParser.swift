/// Reads statements. The grammar is that of Jinja 3.1 without what needs other files (`include`, `import`, `extends`,
/// `block`), with loop controls and with the `generation` blocks of `transformers`.
struct TemplateParser {
    private(set) var tokens: [TemplateToken]
    private var index = 0
    private(set) var names: [String] = []
    private var ids: [String: Int] = [:]
    /// Levels of expressions and blocks the parser is in.
    private var depth = 0
    /// Loops around the current statement, within the current macro.
    private var loopDepth = 0
    /// Of every macro body around the current statement, the special names it speaks of.
    private var specials: [Set<String>] = []
    /// Whether unknown filters and tests wait until they are used: Jinja checks them early only where nothing decides
    /// whether they are reached.
    private var isConditional = false
    /// Filters and tests that do not exist, where nothing decides whether they are reached.
    private(set) var unknownNames: [TemplateFailure] = []
    /// For statements around the current statement.
    private(set) var forDepth = 0

    init(_ tokens: [TemplateToken]) { self.tokens = tokens }

    /// The statements of a whole template.
    mutating func parse() throws(TemplateFailure) -> [TemplateStatement] {
        let (body, _) = try parseBody(until: [])
        if let unknown = unknownNames.first { throw unknown }
        return body
    }

    // MARK: Tokens

    var current: TemplateToken { tokens[index] }
    var next: TemplateToken { tokens[min(index + 1, tokens.count - 1)] }

    mutating func advance() { index = min(index + 1, tokens.count - 1) }

    func isSymbol(_ symbol: TemplateToken.Symbol) -> Bool { current.kind == .symbol(symbol) }
    func isName(_ name: String) -> Bool { current.kind == .name(name) }

    mutating func skip(_ symbol: TemplateToken.Symbol) -> Bool {
        guard isSymbol(symbol) else { return false }
        advance()
        return true
    }

    mutating func skip(name: String) -> Bool {
        guard isName(name) else { return false }
        advance()
        return true
    }

    func unexpected(_ expected: String) -> TemplateFailure {
        TemplateFailure("syntax error", expected: expected, found: current.summary, offset: current.offset)
    }

    mutating func expect(_ symbol: TemplateToken.Symbol) throws(TemplateFailure) {
        guard skip(symbol) else { throw unexpected("'\(symbol.rawValue)'") }
    }

    mutating func expectName(_ what: String = "a name") throws(TemplateFailure) -> String {
        guard case .name(let name) = current.kind else { throw unexpected(what) }
        advance()
        return name
    }

    mutating func id(of name: String) -> Int {
        if let id = ids[name] { return id }
        names.append(name)
        ids[name] = names.count - 1
        return names.count - 1
    }

    /// Runs `body` one level deeper. Throws `.limit` beyond the deepest.
    mutating func nested<Value>(
        _ body: (inout TemplateParser) throws(TemplateFailure) -> Value
    ) throws(TemplateFailure) -> Value {
        depth += 1
        defer { depth -= 1 }
        guard depth <= TemplateLimits.syntaxDepth else {
            throw TemplateFailure(
                "nesting is deeper than \(TemplateLimits.syntaxDepth)", kind: .limit, offset: current.offset)
        }
        return try body(&self)
    }

    /// Runs `body` where a condition decides whether it is reached, or, with `false`, where it is not so any more.
    mutating func conditional<Value>(
        _ flag: Bool = true, _ body: (inout TemplateParser) throws(TemplateFailure) -> Value
    ) throws(TemplateFailure) -> Value {
        let before = isConditional
        isConditional = flag
        defer { isConditional = before }
        return try body(&self)
    }

    /// Notes a filter or a test that does not exist.
    mutating func noteUnknown(_ failure: TemplateFailure) {
        if !isConditional { unknownNames.append(failure) }
    }

    /// Forgets those noted since there were `count`: a condition decides about them.
    mutating func forgetUnknownNames(after count: Int) { unknownNames.removeSubrange(count...) }

    /// Notes a name that is read, if macros treat it specially.
    mutating func noteRead(_ name: String) {
        guard name == "caller" || name == "kwargs" || name == "varargs" else { return }
        for index in specials.indices { specials[index].insert(name) }
    }

    // MARK: Blocks

    /// The statements up to a tag of `ends`, whose name is returned and consumed.
    private mutating func parseBody(
        until ends: [String]
    ) throws(TemplateFailure) -> (body: [TemplateStatement], end: String) {
        var body: [TemplateStatement] = []
        while true {
            let offset = current.offset
            switch current.kind {
            case .end:
                guard ends.isEmpty else { throw unexpected(ends.map { "'{% \($0) %}'" }.joined(separator: " or ")) }
                return (body, "")
            case .data(let text):
                body.append(TemplateStatement(kind: .data(text), offset: offset))
                advance()
            case .variableBegin:
                advance()
                body.append(TemplateStatement(kind: .output(try parseTuple()), offset: offset))
                guard current.kind == .variableEnd else { throw unexpected("'}}'") }
                advance()
            case .blockBegin:
                advance()
                if case .name(let name) = current.kind, ends.contains(name) {
                    advance()
                    return (body, name)
                }
                body += try nested { (parser) throws(TemplateFailure) in try parser.parseStatement(ends) }
                try expectBlockEnd()
            default: throw unexpected("text or a tag")
            }
        }
    }

    private mutating func expectBlockEnd() throws(TemplateFailure) {
        guard current.kind == .blockEnd else { throw unexpected("'%}'") }
        advance()
    }

    /// The rest of a tag that opens a block, and the block up to a tag of `ends`, whose name is consumed.
    private mutating func parseBlock(
        until ends: [String]
    ) throws(TemplateFailure) -> (body: [TemplateStatement], end: String) {
        _ = skip(.colon)
        try expectBlockEnd()
        return try parseBody(until: ends)
    }

    private mutating func parseStatement(_ ends: [String]) throws(TemplateFailure) -> [TemplateStatement] {
        let offset = current.offset
        let name = try expectName("the name of a statement")
        let kind: TemplateStatement.Kind
        switch name {
        case "set": kind = try parseSet()
        case "if": kind = try parseIf()
        case "for": kind = try parseFor()
        case "with": kind = try parseWith()
        case "macro": kind = try parseMacro()
        case "call": kind = try parseCallBlock(offset)
        case "filter": kind = try parseFilterBlock()
        case "generation":
            kind = .scope(
                try function { (parser) throws(TemplateFailure) in
                    try parser.parseBlock(until: ["endgeneration"]).body
                }.body)
        case "print": return try parsePrint()
        case "break", "continue":
            guard loopDepth > 0 else { throw TemplateFailure("'\(name)' is outside of a loop", offset: offset) }
            kind = name == "break" ? .leaveLoop : .nextIteration
        default:
            throw TemplateFailure(
                "there is no statement '\(name)'",
                expected: ends.isEmpty ? nil : ends.map { "'\($0)'" }.joined(separator: " or ") + " or a statement",
                offset: offset)
        }
        return [TemplateStatement(kind: kind, offset: offset)]
    }

    private mutating func parseSet() throws(TemplateFailure) -> TemplateStatement.Kind {
        let target = try parseTarget(allowsAttributes: true)
        if skip(.assign) { return .set(target, try parseTuple()) }
        return try conditional(false) { (parser) throws(TemplateFailure) in
            var filter: TemplateExpression?
            if parser.isSymbol(.pipe) {
                let text = TemplateExpression(kind: .blockText, offset: parser.current.offset, depth: 1)
                filter = try parser.parseFilters(text)
            }
            let (body, _) = try parser.parseBlock(until: ["endset"])
            return .setBlock(target, filter: filter, body: body)
        }
    }

    private mutating func parseIf() throws(TemplateFailure) -> TemplateStatement.Kind {
        try conditional { (parser) throws(TemplateFailure) in
            var branches: [(condition: TemplateExpression, body: [TemplateStatement])] = []
            while true {
                let condition = try parser.parseTuple(allowsConditional: false)
                let (body, end) = try parser.parseBlock(until: ["elif", "else", "endif"])
                branches.append((condition, body))
                if end == "elif" { continue }
                let otherwise = end == "else" ? try parser.parseBlock(until: ["endif"]).body : []
                return .branches(branches, otherwise: otherwise)
            }
        }
    }

    private mutating func parseFor() throws(TemplateFailure) -> TemplateStatement.Kind {
        let target = try parseTarget(allowsAttributes: false, end: "in")
        guard skip(name: "in") else { throw unexpected("'in'") }
        let iterable = try parseTuple(allowsConditional: false, end: "recursive")
        return try conditional(false) { (parser) throws(TemplateFailure) in
            let condition = parser.skip(name: "if") ? try parser.parseExpression() : nil
            let isRecursive = parser.skip(name: "recursive")
            parser.loopDepth += 1
            parser.forDepth += 1
            let (body, end) = try parser.parseBlock(until: ["endfor", "else"])
            parser.loopDepth -= 1
            let otherwise = end == "else" ? try parser.parseBlock(until: ["endfor"]).body : []
            parser.forDepth -= 1
            return .loop(
                LoopSyntax(
                    target: target, iterable: iterable, condition: condition, isRecursive: isRecursive, body: body,
                    otherwise: otherwise))
        }
    }

    private mutating func parseWith() throws(TemplateFailure) -> TemplateStatement.Kind {
        var values: [(AssignmentTarget, TemplateExpression)] = []
        while current.kind != .blockEnd {
            if !values.isEmpty { try expect(.comma) }
            let target = try parseTarget(allowsAttributes: false)
            try expect(.assign)
            values.append((target, try parseExpression()))
        }
        let body = try conditional(false) { (parser) throws(TemplateFailure) in
            try parser.parseBlock(until: ["endwith"]).body
        }
        return .with(values, body: body)
    }

    private mutating func parsePrint() throws(TemplateFailure) -> [TemplateStatement] {
        var statements: [TemplateStatement] = []
        while current.kind != .blockEnd {
            if !statements.isEmpty { try expect(.comma) }
            let expression = try parseExpression()
            statements.append(TemplateStatement(kind: .output(expression), offset: expression.offset))
        }
        return statements
    }

    // MARK: Macros

    /// Parses a body that is a function of its own, and collects the special names in it.
    private mutating func function(
        _ parse: (inout TemplateParser) throws(TemplateFailure) -> [TemplateStatement]
    ) throws(TemplateFailure) -> (body: [TemplateStatement], specials: Set<String>) {
        let loops = loopDepth
        loopDepth = 0
        specials.append([])
        let body = try conditional(false, parse)
        loopDepth = loops
        return (body, specials.popLast() ?? [])
    }

    private mutating func parseSignature() throws(TemplateFailure) -> (
        parameters: [(name: String, id: Int)], defaults: [TemplateExpression]
    ) {
        var parameters: [(name: String, id: Int)] = []
        var defaults: [TemplateExpression] = []
        try expect(.leftParenthesis)
        while !isSymbol(.rightParenthesis) {
            if !parameters.isEmpty { try expect(.comma) }
            let offset = current.offset
            let name = try assignableName()
            guard !parameters.contains(where: { $0.name == name }) else {
                throw TemplateFailure("two parameters are called '\(name)'", offset: offset)
            }
            if skip(.assign) {
                defaults.append(try parseExpression())
            } else if !defaults.isEmpty {
                throw TemplateFailure("a parameter without a default follows one with a default", offset: offset)
            }
            parameters.append((name, id(of: name)))
        }
        try expect(.rightParenthesis)
        return (parameters, defaults)
    }

    private mutating func parseMacro() throws(TemplateFailure) -> TemplateStatement.Kind {
        let name = try assignableName()
        let id = id(of: name)
        let (parameters, defaults) = try conditional(false) { (parser) throws(TemplateFailure) in
            try parser.parseSignature()
        }
        let (body, specials) = try function { (parser) throws(TemplateFailure) in
            try parser.parseBlock(until: ["endmacro"]).body
        }
        return .macro(
            MacroSyntax(
                name: name, nameID: id, parameters: parameters, defaults: defaults, body: body, specials: specials))
    }

    private mutating func parseCallBlock(_ offset: Int) throws(TemplateFailure) -> TemplateStatement.Kind {
        let (parameters, defaults) =
            isSymbol(.leftParenthesis) ? try parseSignature() : (parameters: [], defaults: [])
        let call = try parseExpression()
        guard case .call = call.kind else { throw TemplateFailure("a call block needs a call", offset: offset) }
        let (body, specials) = try function { (parser) throws(TemplateFailure) in
            try parser.parseBlock(until: ["endcall"]).body
        }
        let callerID = id(of: "caller")
        return .call(
            MacroSyntax(
                name: nil, nameID: callerID, parameters: parameters, defaults: defaults, body: body,
                specials: specials), call)
    }

    private mutating func parseFilterBlock() throws(TemplateFailure) -> TemplateStatement.Kind {
        let text = TemplateExpression(kind: .blockText, offset: current.offset, depth: 1)
        let filter = try parseFilters(try parseFilter(text))
        let body = try conditional(false) { (parser) throws(TemplateFailure) in
            try parser.parseBlock(until: ["endfilter"]).body
        }
        return .filterBlock(filter, body: body)
    }
}
