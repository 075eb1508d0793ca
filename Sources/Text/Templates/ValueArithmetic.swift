/// Python's operators.
extension TemplateInterpreter {
    func negate(
        _ value: TemplateValue, _ symbol: TemplateToken.Symbol
    ) throws(TemplateFailure) -> TemplateValue {
        if case .undefined(let undefined) = value { throw undefined.failure }
        if let integer = value.asInteger {
            guard symbol == .subtract else { return .integer(integer) }
            guard integer != .min else { throw PythonNumber.overflow }
            return .integer(-integer)
        }
        guard case .float(let double) = value else {
            throw TemplateFailure("'\(symbol.rawValue)' needs a number", found: value.typeName)
        }
        return .float(symbol == .subtract ? -double : double)
    }

    func combine(
        _ left: TemplateValue, _ symbol: TemplateToken.Symbol, _ right: TemplateValue
    ) throws(TemplateFailure) -> TemplateValue {
        if symbol == .modulo, case .string(let format) = left {
            return try percentFormatted(format, right)
        }
        if case .undefined(let value) = left { throw value.failure }
        if case .undefined(let value) = right { throw value.failure }
        if left.isNumber, right.isNumber { return try arithmetic(left, symbol, right) }
        switch symbol {
        case .add: if let sum = try sum(left, right) { return sum }
        case .multiply:
            if let count = right.asInteger, let repeated = try repeated(left, count) { return repeated }
            if let count = left.asInteger, let repeated = try repeated(right, count) { return repeated }
        default: break
        }
        throw TemplateFailure("'\(symbol.rawValue)' does not go with \(left.typeName) and \(right.typeName)")
    }

    /// Two sequences of the same kind, one after the other.
    private func sum(_ left: TemplateValue, _ right: TemplateValue) throws(TemplateFailure) -> TemplateValue? {
        switch (left, right) {
        case (.string(let left), .string(let right)):
            guard left.isMarkup || right.isMarkup else { return try string(left.scalars + right.scalars) }
            return try string(left.markup + right.markup, isMarkup: true)
        case (.list(let left), .list(let right)): return try list(left.elements + right.elements)
        case (.tuple(let left), .tuple(let right)): return try tuple(left.elements + right.elements)
        default: return nil
        }
    }

    /// A sequence `count` times. The length is checked before anything is made.
    private func repeated(_ value: TemplateValue, _ count: Int) throws(TemplateFailure) -> TemplateValue? {
        guard let length = sequenceLength(value) else { return nil }
        let (total, overflows) = length.multipliedReportingOverflow(by: max(0, count))
        let isText = value.scalars != nil
        guard !overflows else { throw .limit("a repetition is too long") }
        if isText { try charge(characters: total) } else { try charge(elements: total) }
        let places = total == 0 ? 0 : count
        switch value {
        case .string(let text):
            return .string(
                TextValue(Scalars(repeatElement(text.scalars, count: places).joined()), isMarkup: text.isMarkup))
        case .list(let list):
            return .list(try ListValue(Array(repeatElement(list.elements, count: places).joined())))
        case .tuple(let list):
            return .tuple(try ListValue(Array(repeatElement(list.elements, count: places).joined())))
        default: return nil
        }
    }

    private func sequenceLength(_ value: TemplateValue) -> Int? {
        switch value {
        case .string, .list, .tuple: length(of: value)
        default: nil
        }
    }

    private func arithmetic(
        _ left: TemplateValue, _ symbol: TemplateToken.Symbol, _ right: TemplateValue
    ) throws(TemplateFailure) -> TemplateValue {
        if let left = left.asInteger, let right = right.asInteger {
            return try arithmetic(left, symbol, right)
        }
        let left = left.asDouble ?? 0
        let right = right.asDouble ?? 0
        switch symbol {
        case .add: return .float(left + right)
        case .subtract: return .float(left - right)
        case .multiply: return .float(left * right)
        case .divide:
            guard right != 0 else { throw TemplateFailure("division by zero") }
            return .float(left / right)
        case .floorDivide: return .float(try PythonNumber.floorDivide(left, right))
        case .modulo: return .float(try PythonNumber.modulo(left, right))
        default: return .float(try PythonNumber.power(left, right))
        }
    }

    private func arithmetic(
        _ left: Int, _ symbol: TemplateToken.Symbol, _ right: Int
    ) throws(TemplateFailure) -> TemplateValue {
        func checked(_ result: (partialValue: Int, overflow: Bool)) throws(TemplateFailure) -> TemplateValue {
            guard !result.overflow else { throw PythonNumber.overflow }
            return .integer(result.partialValue)
        }
        switch symbol {
        case .add: return try checked(left.addingReportingOverflow(right))
        case .subtract: return try checked(left.subtractingReportingOverflow(right))
        case .multiply: return try checked(left.multipliedReportingOverflow(by: right))
        case .divide:
            guard right != 0 else { throw TemplateFailure("division by zero") }
            return .float(Double(left) / Double(right))
        case .floorDivide: return .integer(try PythonNumber.floorDivide(left, right))
        case .modulo: return .integer(try PythonNumber.modulo(left, right))
        default:
            guard right < 0 else { return .integer(try PythonNumber.power(left, right)) }
            return .float(try PythonNumber.power(Double(left), Double(right)))
        }
    }
}

extension TextValue {
    /// The text as part of text in HTML.
    var markup: Scalars { isMarkup ? scalars : PythonText.escapedForHTML(scalars) }
}
