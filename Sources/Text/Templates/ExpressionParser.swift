/// Reads expressions, from the loosest operator to the tightest.
extension TemplateParser {
    /// An expression, or several with commas between, which make a tuple; up to the word `end`, if given.
    mutating func parseTuple(
        allowsConditional: Bool = true, end: String? = nil, allowsEmpty: Bool = false
    ) throws(TemplateFailure) -> TemplateExpression {
        let offset = current.offset
        var elements: [TemplateExpression] = []
        var isTuple = false
        while true {
            if current.kind == .variableEnd || current.kind == .blockEnd || isSymbol(.rightParenthesis) { break }
            if let end, isName(end) { break }
            elements.append(allowsConditional ? try parseExpression() : try parseOr())
            guard skip(.comma) else { break }
            isTuple = true
        }
        if !isTuple {
            if let first = elements.first { return first }
            guard allowsEmpty else { throw unexpected("an expression") }
        }
        return try make(.tuple(elements), offset, elements)
    }

    /// A node over `parts`. Throws `.limit` if it is too deep.
    private func make(
        _ kind: TemplateExpression.Kind, _ offset: Int, _ parts: [TemplateExpression]
    ) throws(TemplateFailure) -> TemplateExpression {
        let depth = 1 + (parts.map(\.depth).max() ?? 0)
        guard depth <= 2 * TemplateLimits.syntaxDepth else {
            throw TemplateFailure(
                "an expression has more than \(2 * TemplateLimits.syntaxDepth) levels", kind: .limit, offset: offset)
        }
        return TemplateExpression(kind: kind, offset: offset, depth: depth)
    }

    mutating func parseExpression() throws(TemplateFailure) -> TemplateExpression {
        try nested { (parser) throws(TemplateFailure) in
            let offset = parser.current.offset
            let knownBefore = parser.unknownNames.count
            var value = try parser.parseOr()
            while parser.skip(name: "if") {
                let condition = try parser.parseOr()
                let otherwise = parser.skip(name: "else") ? try parser.parseExpression() : nil
                value = try parser.make(
                    .conditional(condition, then: value, otherwise: otherwise), offset,
                    [condition, value] + [otherwise].compactMap(\.self))
                parser.forgetUnknownNames(after: knownBefore)
            }
            return value
        }
    }

    mutating func parseOr() throws(TemplateFailure) -> TemplateExpression {
        let offset = current.offset
        var left = try parseAnd()
        while skip(name: "or") {
            let right = try parseAnd()
            left = try make(.either(left, right), offset, [left, right])
        }
        return left
    }

    private mutating func parseAnd() throws(TemplateFailure) -> TemplateExpression {
        let offset = current.offset
        var left = try parseNot()
        while skip(name: "and") {
            let right = try parseNot()
            left = try make(.both(left, right), offset, [left, right])
        }
        return left
    }

    private mutating func parseNot() throws(TemplateFailure) -> TemplateExpression {
        let offset = current.offset
        guard skip(name: "not") else { return try parseComparison() }
        let value = try nested { (parser) throws(TemplateFailure) in try parser.parseNot() }
        return try make(.negation(value), offset, [value])
    }

    private mutating func parseComparison() throws(TemplateFailure) -> TemplateExpression {
        let offset = current.offset
        let first = try parseSum()
        var rest: [(TemplateExpression.Comparison, TemplateExpression)] = []
        while let comparison = skipComparison() { rest.append((comparison, try parseSum())) }
        return rest.isEmpty ? first : try make(.comparison(first, rest), offset, [first] + rest.map(\.1))
    }

    private mutating func skipComparison() -> TemplateExpression.Comparison? {
        let symbols: [(TemplateToken.Symbol, TemplateExpression.Comparison)] = [
            (.equal, .equal), (.unequal, .unequal), (.less, .less), (.atMost, .atMost), (.greater, .greater),
            (.atLeast, .atLeast),
        ]
        for (symbol, comparison) in symbols where skip(symbol) { return comparison }
        if skip(name: "in") { return .contained }
        guard isName("not"), next.kind == .name("in") else { return nil }
        advance()
        advance()
        return .notContained
    }

    /// Operands that `parseOperand` reads, combined from the left while one of `symbols` follows.
    private mutating func parseChain(
        _ symbols: [TemplateToken.Symbol],
        _ parseOperand: (inout TemplateParser) throws(TemplateFailure) -> TemplateExpression
    ) throws(TemplateFailure) -> TemplateExpression {
        let offset = current.offset
        var left = try parseOperand(&self)
        while case .symbol(let symbol) = current.kind, symbols.contains(symbol) {
            advance()
            let right = try parseOperand(&self)
            left = try make(.binary(symbol, left, right), offset, [left, right])
        }
        return left
    }

    private mutating func parseSum() throws(TemplateFailure) -> TemplateExpression {
        try parseChain([.add, .subtract]) { (parser) throws(TemplateFailure) in try parser.parseConcatenation() }
    }

    private mutating func parseConcatenation() throws(TemplateFailure) -> TemplateExpression {
        let offset = current.offset
        var parts = [try parseProduct()]
        while skip(.concatenate) { parts.append(try parseProduct()) }
        return parts.count == 1 ? parts[0] : try make(.concatenation(parts), offset, parts)
    }

    private mutating func parseProduct() throws(TemplateFailure) -> TemplateExpression {
        try parseChain([.multiply, .divide, .floorDivide, .modulo]) { (parser) throws(TemplateFailure) in
            // Powers combine from the left, too, other than in Python.
            try parser.parseChain([.power]) { (parser) throws(TemplateFailure) in try parser.parseUnary() }
        }
    }

    private mutating func parseUnary(withFilters: Bool = true) throws(TemplateFailure) -> TemplateExpression {
        let offset = current.offset
        var value: TemplateExpression
        if case .symbol(let symbol) = current.kind, symbol == .subtract || symbol == .add {
            advance()
            let operand = try nested { (parser) throws(TemplateFailure) in try parser.parseUnary(withFilters: false) }
            value = try make(.unary(symbol, operand), offset, [operand])
        } else {
            value = try parsePrimary()
        }
        value = try parsePostfix(value)
        return withFilters ? try parseFilters(value) : value
    }

    private mutating func parsePrimary() throws(TemplateFailure) -> TemplateExpression {
        let (kind, offset) = (current.kind, current.offset)
        switch kind {
        case .name(let name):
            advance()
            return try make(primary(name), offset, [])
        case .string(var text):
            advance()
            while case .string(let more) = current.kind {
                text += more
                advance()
            }
            return try make(.constant(.string(text)), offset, [])
        case .integer(let value):
            advance()
            return try make(.constant(.integer(value)), offset, [])
        case .float(let value):
            advance()
            return try make(.constant(.float(value)), offset, [])
        case .symbol(.leftParenthesis):
            advance()
            let value = try parseTuple(allowsEmpty: true)
            try expect(.rightParenthesis)
            return value
        case .symbol(.leftBracket): return try parseList()
        case .symbol(.leftBrace): return try parseDictionary()
        default: throw unexpected("an expression")
        }
    }

    private mutating func primary(_ name: String) -> TemplateExpression.Kind {
        switch name {
        case "true", "True": return .constant(.bool(true))
        case "false", "False": return .constant(.bool(false))
        case "none", "None": return .constant(.none)
        default:
            noteRead(name)
            return .name(id(of: name))
        }
    }

    private mutating func parseList() throws(TemplateFailure) -> TemplateExpression {
        let offset = current.offset
        var elements: [TemplateExpression] = []
        try expect(.leftBracket)
        while !isSymbol(.rightBracket) {
            elements.append(try parseExpression())
            guard skip(.comma) else { break }
        }
        try expect(.rightBracket)
        return try make(.list(elements), offset, elements)
    }

    private mutating func parseDictionary() throws(TemplateFailure) -> TemplateExpression {
        let offset = current.offset
        var members: [(TemplateExpression, TemplateExpression)] = []
        try expect(.leftBrace)
        while !isSymbol(.rightBrace) {
            let key = try parseExpression()
            try expect(.colon)
            members.append((key, try parseExpression()))
            guard skip(.comma) else { break }
        }
        try expect(.rightBrace)
        return try make(.dictionary(members), offset, members.flatMap { [$0.0, $0.1] })
    }

    // MARK: What follows a value

    private mutating func parsePostfix(_ value: TemplateExpression) throws(TemplateFailure) -> TemplateExpression {
        var value = value
        while case .symbol(let symbol) = current.kind {
            switch symbol {
            case .dot: value = try parseAttribute(value)
            case .leftBracket: value = try parseSubscript(value)
            case .leftParenthesis: value = try parseCall(value)
            default: return value
            }
        }
        return value
    }

    /// The filters, tests and calls after a value.
    mutating func parseFilters(_ value: TemplateExpression) throws(TemplateFailure) -> TemplateExpression {
        var value = value
        while true {
            if skip(.pipe) {
                value = try parseFilter(value)
            } else if isName("is") {
                value = try parseTest(value)
            } else if isSymbol(.leftParenthesis) {
                value = try parseCall(value)
            } else {
                return value
            }
        }
    }

    private mutating func parseAttribute(_ value: TemplateExpression) throws(TemplateFailure) -> TemplateExpression {
        let offset = current.offset
        try expect(.dot)
        if case .integer(let index) = current.kind {
            let position = try make(.constant(.integer(index)), current.offset, [])
            advance()
            return try make(.item(value, position), offset, [value])
        }
        return try make(.attribute(value, Scalars(try expectName("a name or a number"))), offset, [value])
    }

    private mutating func parseSubscript(_ value: TemplateExpression) throws(TemplateFailure) -> TemplateExpression {
        let offset = current.offset
        try expect(.leftBracket)
        if isSymbol(.rightBracket) {
            advance()
            let empty = try make(.tuple([]), offset, [])
            return try make(.item(value, empty), offset, [value, empty])
        }
        var first: TemplateExpression?
        if !isSymbol(.colon) {
            var keys = [try parseExpression()]
            first = keys[0]
            if !isSymbol(.colon) {
                while skip(.comma) { keys.append(try parseExpression()) }
                try expect(.rightBracket)
                let key = keys.count == 1 ? keys[0] : try make(.tuple(keys), offset, keys)
                return try make(.item(value, key), offset, [value, key])
            }
        }
        var bounds = [first]
        while bounds.count < 3, skip(.colon) {
            let isEmpty = isSymbol(.colon) || isSymbol(.rightBracket)
            bounds.append(isEmpty ? nil : try parseExpression())
        }
        try expect(.rightBracket)
        return try make(.slice(value, bounds), offset, [value] + bounds.compactMap(\.self))
    }

    private mutating func parseCall(_ value: TemplateExpression) throws(TemplateFailure) -> TemplateExpression {
        let offset = current.offset
        let arguments = try parseArguments()
        return try make(.call(value, arguments), offset, [value] + arguments.all)
    }

    mutating func parseArguments() throws(TemplateFailure) -> CallSyntax {
        var arguments = CallSyntax()
        let offset = current.offset
        try expect(.leftParenthesis)
        while !isSymbol(.rightParenthesis) {
            let isInOrder: Bool
            if skip(.multiply) {
                isInOrder = arguments.unpacked == nil && arguments.unpackedNamed == nil
                arguments.unpacked = try parseExpression()
            } else if skip(.power) {
                isInOrder = arguments.unpackedNamed == nil
                arguments.unpackedNamed = try parseExpression()
            } else if case .name(let name) = current.kind, next.kind == .symbol(.assign) {
                isInOrder = arguments.unpackedNamed == nil && !arguments.named.contains { $0.name == name }
                advance()
                advance()
                arguments.named.append((name, try parseExpression()))
            } else {
                isInOrder =
                    arguments.unpacked == nil && arguments.unpackedNamed == nil && arguments.named.isEmpty
                arguments.positional.append(try parseExpression())
            }
            guard isInOrder else {
                throw TemplateFailure("the arguments of a call are out of order or twice there", offset: offset)
            }
            guard skip(.comma) else { break }
        }
        try expect(.rightParenthesis)
        return arguments
    }

    /// A filter's name, which stands here, and arguments.
    mutating func parseFilter(_ value: TemplateExpression) throws(TemplateFailure) -> TemplateExpression {
        let offset = current.offset
        let name = try dottedName("the name of a filter")
        let filter = TemplateFilter(rawValue: name)
        if filter == nil { noteUnknown(TemplateFilter.unknown(name).located(offset)) }
        let arguments = isSymbol(.leftParenthesis) ? try parseArguments() : CallSyntax()
        return try make(.filter(value, filter, name, arguments), offset, [value] + arguments.all)
    }

    private mutating func dottedName(_ what: String) throws(TemplateFailure) -> String {
        var name = try expectName(what)
        while skip(.dot) { name += "." + (try expectName()) }
        return name
    }

    private mutating func parseTest(_ value: TemplateExpression) throws(TemplateFailure) -> TemplateExpression {
        let offset = current.offset
        advance()
        let isNegated = skip(name: "not")
        let name = try dottedName("the name of a test")
        let test = TemplateTest(rawValue: name)
        if test == nil { noteUnknown(TemplateTest.unknown(name).located(offset)) }
        var arguments = CallSyntax()
        if isSymbol(.leftParenthesis) {
            arguments = try parseArguments()
        } else if startsTestArgument {
            guard !isName("is") else { throw unexpected("no second test: tests do not chain") }
            arguments.positional = [try parsePostfix(try parsePrimary())]
        }
        let result = try make(.test(value, test, name, arguments), offset, [value] + arguments.all)
        return isNegated ? try make(.negation(result), offset, [result]) : result
    }

    /// Whether what follows is a test's argument without parentheses.
    private var startsTestArgument: Bool {
        switch current.kind {
        case .name(let name): name != "else" && name != "or" && name != "and"
        case .string, .integer, .float, .symbol(.leftBracket), .symbol(.leftBrace): true
        default: false
        }
    }
}
