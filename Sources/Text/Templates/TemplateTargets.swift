/// What values are assigned to.
extension TemplateParser {
    private static let constants: Set<String> = ["true", "false", "none", "True", "False", "None"]

    /// A name that may be assigned to.
    mutating func assignableName() throws(TemplateFailure) -> String {
        let offset = current.offset
        let name = try expectName()
        guard !TemplateParser.constants.contains(name) else {
            throw TemplateFailure("cannot assign to '\(name)'", offset: offset)
        }
        return name
    }

    /// A name, an attribute of a namespace where `allowsAttributes`, or several with commas between; up to the word
    /// `end`, if given.
    mutating func parseTarget(
        allowsAttributes: Bool, end: String? = nil
    ) throws(TemplateFailure) -> AssignmentTarget {
        var targets: [AssignmentTarget] = []
        var isTuple = false
        while true {
            if let end, isName(end) { break }
            if current.kind == .blockEnd || isSymbol(.rightParenthesis) { break }
            targets.append(try parsePart(allowsAttributes, isInFor: forDepth > 0 || end != nil))
            guard skip(.comma) else { break }
            isTuple = true
        }
        guard let first = targets.first else { throw unexpected("a name to assign to") }
        return isTuple ? .tuple(targets) : first
    }

    private mutating func parsePart(
        _ allowsAttributes: Bool, isInFor: Bool
    ) throws(TemplateFailure) -> AssignmentTarget {
        if skip(.leftParenthesis) {
            let target = try nested { (parser) throws(TemplateFailure) in
                // As in an expression, attributes are not allowed here.
                try parser.parseTarget(allowsAttributes: false)
            }
            try expect(.rightParenthesis)
            return target
        }
        let offset = current.offset
        let name = try assignableName()
        if allowsAttributes, skip(.dot) { return .attribute(id(of: name), Scalars(try expectName())) }
        guard name != "loop" || !isInFor else {
            throw TemplateFailure("a loop cannot assign to its own 'loop'", offset: offset)
        }
        return .name(id(of: name))
    }
}
