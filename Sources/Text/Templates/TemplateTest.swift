/// Tests by their names in Jinja.
enum TemplateTest: String, Sendable {
    case boolean, callable, defined, divisibleby, eq, equalto, escaped, even, `false`, filter, float, ge, greaterthan
    case gt, `in`, integer, iterable, le, lessthan, lower, lt, mapping, ne, none, number, odd, sameas, sequence, string
    case test, `true`, undefined, upper
    case equalSign = "=="
    case unequalSign = "!="
    case greaterSign = ">"
    case atLeastSign = ">="
    case lessSign = "<"
    case atMostSign = "<="

    static func unknown(_ name: String) -> TemplateFailure { TemplateFailure("there is no test '\(name)'") }

    /// The comparison it stands for, if it is one.
    fileprivate var comparison: TemplateExpression.Comparison? {
        switch self {
        case .eq, .equalto, .equalSign: .equal
        case .ne, .unequalSign: .unequal
        case .gt, .greaterthan, .greaterSign: .greater
        case .ge, .atLeastSign: .atLeast
        case .lt, .lessthan, .lessSign: .less
        case .le, .atMostSign: .atMost
        case .in: .contained
        default: nil
        }
    }
}

extension TemplateInterpreter {
    func holds(
        _ test: TemplateTest, for value: TemplateValue, _ arguments: CallArguments
    ) throws(TemplateFailure) -> Bool {
        if let comparison = test.comparison { return try compare(value, comparison, try arguments.only(test.rawValue)) }
        switch test {
        case .divisibleby:
            let divisor = try arguments.only(test.rawValue)
            return try equal(try combine(value, .modulo, divisor), .integer(0))
        case .sameas: return isSame(value, try arguments.only(test.rawValue))
        default: try arguments.requireNone(test.rawValue)
        }
        switch test {
        case .even: return try equal(try combine(value, .modulo, .integer(2)), .integer(0))
        case .odd: return try equal(try combine(value, .modulo, .integer(2)), .integer(1))
        case .filter, .test:
            _ = try DictionaryKey(value)
            guard let name = value.scalars.map({ String($0) }) else { return false }
            return test == .filter ? TemplateFilter(rawValue: name) != nil : TemplateTest(rawValue: name) != nil
        case .lower: return try text(of: value).isPythonLower
        case .upper: return try text(of: value).isPythonUpper
        default: return isOfKind(test, value)
        }
    }

    private func isOfKind(_ test: TemplateTest, _ value: TemplateValue) -> Bool {
        switch (test, value) {
        case (.defined, _): !value.isUndefined
        case (.undefined, _): value.isUndefined
        case (.none, .none), (.boolean, .bool), (.integer, .integer), (.float, .float), (.string, .string),
            (.mapping, .dictionary):
            true
        case (.true, .bool(let flag)): flag
        case (.false, .bool(let flag)): !flag
        case (.number, _): value.isNumber
        case (.sequence, .string), (.sequence, .list), (.sequence, .tuple), (.sequence, .dictionary),
            (.sequence, .range), (.sequence, .undefined):
            true
        case (.iterable, _): isIterable(value)
        case (.callable, .macro), (.callable, .function), (.callable, .method), (.callable, .loop),
            (.callable, .joiner), (.callable, .undefined):
            true
        case (.escaped, .string(let text)): text.isMarkup
        default: false
        }
    }

    /// `left is right` as Python understands it: the same object, where values are objects.
    private func isSame(_ left: TemplateValue, _ right: TemplateValue) -> Bool {
        switch (left, right) {
        case (.none, .none): return true
        case (.bool(let left), .bool(let right)): return left == right
        case (.integer(let left), .integer(let right)): return left == right
        case (.float(let left), .float(let right)): return left == right
        case (.string(let left), .string(let right)):
            return left.isMarkup == right.isMarkup && left.scalars == right.scalars
        case (.undefined(let left), .undefined(let right)): return left === right
        default: return left.identity != nil && left.identity == right.identity
        }
    }
}
