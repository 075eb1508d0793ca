/// Values of expressions.
extension TemplateInterpreter {
    func evaluate(
        _ expression: TemplateExpression, in scope: TemplateScope
    ) throws(TemplateFailure) -> TemplateValue {
        do throws(TemplateFailure) {
            return try deeper { () throws(TemplateFailure) in try value(of: expression, in: scope) }
        } catch {
            throw error.located(expression.offset)
        }
    }

    private func value(
        of expression: TemplateExpression, in scope: TemplateScope
    ) throws(TemplateFailure) -> TemplateValue {
        switch expression.kind {
        case .constant(let literal): return TemplateValue(literal)
        case .name(let id): return scope.value(of: id) ?? .undefined(name: names[id])
        case .attribute(let owner, let name): return try attribute(name, of: try evaluate(owner, in: scope))
        case .item(let owner, let key):
            let owner = try evaluate(owner, in: scope)
            return try item(try evaluate(key, in: scope), of: owner)
        case .slice(let owner, let bounds): return try slice(owner, bounds, in: scope)
        case .call(let callee, let arguments):
            let callee = try evaluate(callee, in: scope)
            return try call(callee, try values(of: arguments, in: scope))
        case .filter(let input, let filter, let name, let arguments):
            let input = try evaluate(input, in: scope)
            guard let filter else { throw TemplateFilter.unknown(name) }
            return try apply(filter, to: input, try values(of: arguments, in: scope))
        case .test(let input, let test, let name, let arguments):
            let input = try evaluate(input, in: scope)
            guard let test else { throw TemplateTest.unknown(name) }
            return .bool(try holds(test, for: input, try values(of: arguments, in: scope)))
        case .blockText: return try string(blockTexts.last ?? [])
        default: return try operatorValue(of: expression, in: scope)
        }
    }

    private func operatorValue(
        of expression: TemplateExpression, in scope: TemplateScope
    ) throws(TemplateFailure) -> TemplateValue {
        switch expression.kind {
        case .negation(let operand): return .bool(!(try evaluate(operand, in: scope).isTrue))
        case .unary(let symbol, let operand): return try negate(try evaluate(operand, in: scope), symbol)
        case .binary(let symbol, let left, let right):
            let left = try evaluate(left, in: scope)
            return try combine(left, symbol, try evaluate(right, in: scope))
        case .comparison(let first, let rest): return try comparison(first, rest, in: scope)
        case .both(let left, let right):
            let left = try evaluate(left, in: scope)
            return left.isTrue ? try evaluate(right, in: scope) : left
        case .either(let left, let right):
            let left = try evaluate(left, in: scope)
            return left.isTrue ? left : try evaluate(right, in: scope)
        case .conditional(let condition, let then, let otherwise):
            if try evaluate(condition, in: scope).isTrue { return try evaluate(then, in: scope) }
            guard let otherwise else {
                return .undefined(UndefinedValue("an inline if is false and has no else"))
            }
            return try evaluate(otherwise, in: scope)
        default: return try container(expression, in: scope)
        }
    }

    private func container(
        _ expression: TemplateExpression, in scope: TemplateScope
    ) throws(TemplateFailure) -> TemplateValue {
        switch expression.kind {
        case .concatenation(let parts):
            var text: Scalars = []
            for part in try evaluate(parts, in: scope) { try append(try self.text(of: part), to: &text) }
            return try string(text)
        case .list(let elements): return try list(try evaluate(elements, in: scope))
        case .tuple(let elements): return try tuple(try evaluate(elements, in: scope))
        case .dictionary(let members):
            var values: [(key: TemplateValue, value: TemplateValue)] = []
            for (key, value) in members {
                let key = try evaluate(key, in: scope)
                values.append((key, try evaluate(value, in: scope)))
            }
            return try dictionary(values)
        default: throw TemplateFailure("an expression of no known kind", kind: .unexpected)
        }
    }

    /// A new dictionary.
    func dictionary(_ members: [(key: TemplateValue, value: TemplateValue)]) throws(TemplateFailure) -> TemplateValue {
        try charge(elements: 4 * members.count)
        for member in members { try charge(key: member.key) }
        return .dictionary(try DictionaryValue(members))
    }

    func evaluate(
        _ expressions: [TemplateExpression], in scope: TemplateScope
    ) throws(TemplateFailure) -> [TemplateValue] {
        var values: [TemplateValue] = []
        for expression in expressions { values.append(try evaluate(expression, in: scope)) }
        return values
    }

    private func comparison(
        _ first: TemplateExpression, _ rest: [(TemplateExpression.Comparison, TemplateExpression)],
        in scope: TemplateScope
    ) throws(TemplateFailure) -> TemplateValue {
        var left = try evaluate(first, in: scope)
        for (comparison, right) in rest {
            let right = try evaluate(right, in: scope)
            guard try compare(left, comparison, right) else { return .bool(false) }
            left = right
        }
        return .bool(true)
    }

    func values(
        of arguments: CallSyntax, in scope: TemplateScope
    ) throws(TemplateFailure) -> CallArguments {
        var values = CallArguments(positional: try evaluate(arguments.positional, in: scope))
        for (name, value) in arguments.named { values.named.append((name, try evaluate(value, in: scope))) }
        if let unpacked = arguments.unpacked {
            values.positional += try elements(of: try evaluate(unpacked, in: scope))
        }
        if let unpacked = arguments.unpackedNamed {
            let value = try evaluate(unpacked, in: scope)
            guard case .dictionary(let dictionary) = value else {
                throw TemplateFailure("what ** unpacks is no dictionary", found: value.typeName)
            }
            for (key, value) in dictionary.members {
                let name = String(try key.text("a name that ** unpacks"))
                guard !values.named.contains(where: { $0.name == name }) else {
                    throw TemplateFailure("the argument '\(name)' is given twice")
                }
                values.named.append((name, value))
            }
        }
        return values
    }

    // MARK: Parts of values

    /// `owner.name`: a method or a property of the type first, as in Python, then an element with that key.
    func attribute(_ name: Scalars, of owner: TemplateValue) throws(TemplateFailure) -> TemplateValue {
        if name == Scalars("__class__") {
            // Every object of Python has it, even one that is undefined; the sandbox hides it.
            return .undefined(UndefinedValue("the attribute '__class__' is not safe"))
        }
        if case .undefined(let value) = owner { throw value.failure }
        if let property = try property(name, of: owner) { return property }
        if case .dictionary(let dictionary) = owner, let value = dictionary.value(of: name) { return value }
        return .undefined(UndefinedValue("\(owner.typeName) has no attribute '\(String(name))'"))
    }

    /// `owner[key]`: an element first, then, for a string, an attribute; undefined if there is neither.
    func item(_ key: TemplateValue, of owner: TemplateValue) throws(TemplateFailure) -> TemplateValue {
        if case .undefined(let value) = owner { throw value.failure }
        if let element = try element(key, of: owner) { return element }
        if let name = key.scalars, let property = try property(name, of: owner) { return property }
        let shown = String(try representation(of: key).prefix(80))
        return .undefined(UndefinedValue("\(owner.typeName) has no element \(shown)"))
    }

    private func element(_ key: TemplateValue, of owner: TemplateValue) throws(TemplateFailure) -> TemplateValue? {
        switch owner {
        case .dictionary(let dictionary):
            // A key that no dictionary can have is as good as one that this does not have.
            switch key {
            case .list, .dictionary: return nil
            default:
                try charge(key: key)
                return try dictionary.value(of: key)
            }
        case .list(let list), .tuple(let list):
            return key.asInteger.flatMap { TemplateInterpreter.index($0, count: list.elements.count) }
                .map { list.elements[$0] }
        case .string(let text):
            guard let index = key.asInteger.flatMap({ TemplateInterpreter.index($0, count: text.scalars.count) })
            else { return nil }
            return .string(TextValue([text.scalars[index]], isMarkup: text.isMarkup))
        case .range(let range):
            return key.asInteger.flatMap { TemplateInterpreter.index($0, count: range.count) }
                .map { .integer(range[$0]) }
        default: return nil
        }
    }

    private static func index(_ index: Int, count: Int) -> Int? {
        let index = index < 0 ? index + count : index
        return (0..<count).contains(index) ? index : nil
    }

    private func slice(
        _ owner: TemplateExpression, _ bounds: [TemplateExpression?], in scope: TemplateScope
    ) throws(TemplateFailure) -> TemplateValue {
        let owner = try evaluate(owner, in: scope)
        var values: [Int?] = []
        for bound in bounds {
            guard let bound else {
                values.append(nil)
                continue
            }
            let value = try evaluate(bound, in: scope)
            values.append(value.isNone ? nil : try value.integer("the bound of a slice"))
        }
        values += [Int?](repeating: nil, count: 3 - values.count)
        switch owner {
        case .undefined(let value): throw value.failure
        case .string(let text):
            let places = try TemplateInterpreter.places(values, count: text.scalars.count)
            return try string(places.map { text.scalars[$0] }, isMarkup: text.isMarkup)
        case .list(let list):
            return try self.list(
                try TemplateInterpreter.places(values, count: list.elements.count).map { list.elements[$0] })
        case .tuple(let list):
            return try tuple(
                try TemplateInterpreter.places(values, count: list.elements.count).map { list.elements[$0] })
        case .range(let range):
            let places = try TemplateInterpreter.stride(values, count: range.count)
            let (step, overflows) = range.step.multipliedReportingOverflow(by: values[2] ?? 1)
            guard !overflows else { throw PythonNumber.overflow }
            return .range(
                RangeValue(
                    start: range[places.start], stop: range[places.stop], step: step,
                    count: Array(Swift.stride(from: places.start, to: places.stop, by: places.step)).count))
        default: throw TemplateFailure("a \(owner.typeName) has no slices")
        }
    }

    /// The indices that a slice takes out of `count` elements.
    static func places(_ bounds: [Int?], count: Int) throws(TemplateFailure) -> [Int] {
        let (start, stop, step) = try stride(bounds, count: count)
        return Array(Swift.stride(from: start, to: stop, by: step))
    }

    private static func stride(
        _ bounds: [Int?], count: Int
    ) throws(TemplateFailure) -> (start: Int, stop: Int, step: Int) {
        let step = bounds[2] ?? 1
        guard step != 0 else { throw TemplateFailure("the step of a slice is zero") }
        let lowest = step < 0 ? -1 : 0
        let highest = step < 0 ? count - 1 : count
        func clamped(_ bound: Int?, _ fallback: Int) -> Int {
            guard let bound else { return fallback }
            let index = bound < 0 ? max(bound, -count - 1) + count : bound
            return min(max(index, lowest), highest)
        }
        let start = clamped(bounds[0], step < 0 ? highest : lowest)
        let stop = clamped(bounds[1], step < 0 ? lowest : highest)
        // A step beyond the count takes at most one element; so far a stride cannot overflow.
        return (start, stop, min(max(step, -count - 1), count + 1))
    }
}
