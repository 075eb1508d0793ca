/// `'%s and %d' % values`.
extension TemplateInterpreter {
    /// Throws for values that do not fit the format, like Python.
    func percentFormatted(_ format: TextValue, _ value: TemplateValue) throws(TemplateFailure) -> TemplateValue {
        var formatter = PercentFormatter(interpreter: self, format: format, value: value)
        return try string(try formatter.run(), isMarkup: format.isMarkup)
    }
}

private struct PercentFormatter {
    let interpreter: TemplateInterpreter
    let format: TextValue
    /// What is formatted, one after the other.
    private let values: [TemplateValue]
    /// What named values are taken from.
    private let mapping: TemplateValue?
    private var used = 0
    private var index = 0

    init(interpreter: TemplateInterpreter, format: TextValue, value: TemplateValue) {
        self.interpreter = interpreter
        self.format = format
        switch value {
        case .tuple(let tuple): (values, mapping) = (tuple.elements, nil)
        case .dictionary, .list, .undefined, .range: (values, mapping) = ([value], value)
        default: (values, mapping) = ([value], nil)
        }
    }

    private var current: Unicode.Scalar? { index < format.scalars.count ? format.scalars[index] : nil }

    mutating func run() throws(TemplateFailure) -> Scalars {
        var result: Scalars = []
        while let scalar = current {
            index += 1
            if scalar != "%" {
                result.append(scalar)
                continue
            }
            try interpreter.append(try conversion(), to: &result)
        }
        guard used >= values.count || mapping != nil else {
            throw TemplateFailure("a format does not use all its values", found: "\(values.count - used) left over")
        }
        return result
    }

    private mutating func conversion() throws(TemplateFailure) -> Scalars {
        var specification = FormatSpecification()
        var named: TemplateValue?
        if current == "(" { named = try namedValue() }
        scanFlags(&specification)
        if let width = try number(named) {
            // A negative width after a star aligns to the left.
            if width < 0 { specification.alignment = .left }
            specification.width = try checked(
                width < 0 ? 0 - max(width, -.max) : width, FormatSpecification.maximumWidth)
        }
        if current == "." {
            index += 1
            let precision = try number(named) ?? 0
            specification.precision = try checked(max(0, precision), FormatSpecification.maximumPrecision)
        }
        while let scalar = current, scalar == "l" || scalar == "h" || scalar == "L" { index += 1 }
        guard let kind = current else { throw TemplateFailure("a format ends within a conversion") }
        index += 1
        if kind == "%" { return ["%"] }
        let value: TemplateValue
        if let named { value = named } else { value = try next() }
        return try text(of: value, kind, specification)
    }

    private func checked(_ value: Int, _ limit: Int) throws(TemplateFailure) -> Int {
        guard value <= limit else { throw .limit("a field of a format is wider than \(limit)") }
        return value
    }

    private mutating func scanFlags(_ specification: inout FormatSpecification) {
        while let scalar = current {
            switch scalar {
            case "-": specification.alignment = .left
            case "+": specification.sign = "+"
            case " ": if specification.sign != "+" { specification.sign = " " }
            case "#": specification.isAlternate = true
            case "0":
                specification.fill = "0"
            default:
                if specification.alignment == .left { specification.fill = " " }
                return
            }
            index += 1
        }
    }

    /// Digits, or a star, which stands for the next value.
    private mutating func number(_ named: TemplateValue?) throws(TemplateFailure) -> Int? {
        if current == "*" {
            index += 1
            return try next().integer("a star in a format")
        }
        var digits = ""
        while let scalar = current, scalar.isASCIIDigit {
            digits.unicodeScalars.append(scalar)
            index += 1
        }
        return digits.isEmpty ? nil : Int(digits) ?? .max
    }

    private mutating func next() throws(TemplateFailure) -> TemplateValue {
        guard used < values.count else { throw TemplateFailure("a format has too few values") }
        used += 1
        return values[used - 1]
    }

    private mutating func namedValue() throws(TemplateFailure) -> TemplateValue {
        guard let mapping else { throw TemplateFailure("a format with names needs a dictionary") }
        let start = index + 1
        var open = 0
        repeat {
            if current == "(" { open += 1 }
            if current == ")" { open -= 1 }
            guard current != nil else { throw TemplateFailure("a name in a format does not end", expected: "')'") }
            index += 1
        } while open > 0
        let name = Scalars(format.scalars[start..<(index - 1)])
        guard case .dictionary(let dictionary) = mapping, let value = dictionary.value(of: name) else {
            throw TemplateFailure("a format names a value that is not there", found: String(name))
        }
        return value
    }

    private func text(
        of value: TemplateValue, _ kind: Unicode.Scalar, _ specification: FormatSpecification
    ) throws(TemplateFailure) -> Scalars {
        var specification = specification
        switch kind {
        case "s", "r", "a":
            specification.fill = " "
            var text = kind == "s" ? try interpreter.text(of: value) : try interpreter.representation(of: value)
            if format.isMarkup, kind == "s", case .string(let part) = value { text = part.markup }
            if kind == "a" { text = PythonText.escapedToASCII(text) }
            return specification.padded(Scalars(text.prefix(specification.precision ?? .max)), default: .right)
        case "c":
            specification.fill = " "
            return specification.padded([try character(value)], default: .right)
        case "d", "i", "u", "x", "X", "o":
            if specification.fill == "0" { specification.alignment = .afterSign }
            specification.type = kind
            if case .float(let double) = value, kind != "x", kind != "X", kind != "o" {
                guard let integer = Int(exactly: double.rounded(.towardZero)) else { throw PythonNumber.overflow }
                return try specification.formatted(integer)
            }
            guard value.isUndefined || value.asInteger != nil else {
                throw TemplateFailure("'%\(kind)' needs a number", found: value.typeName)
            }
            return try specification.formatted(try value.integer("a value in a format"))
        case "e", "E", "f", "F", "g", "G":
            if specification.fill == "0" { specification.alignment = .afterSign }
            specification.type = kind
            if case .undefined(let undefined) = value { throw undefined.failure }
            guard let double = value.asDouble else {
                throw TemplateFailure("'%\(kind)' needs a number", found: value.typeName)
            }
            return try specification.formatted(double)
        default: throw TemplateFailure("a format has no conversion '%\(kind)'")
        }
    }

    private func character(_ value: TemplateValue) throws(TemplateFailure) -> Unicode.Scalar {
        if let text = value.scalars, text.count == 1 { return text[0] }
        guard let code = value.asInteger, let bits = UInt32(exactly: code), let scalar = Unicode.Scalar(bits) else {
            throw TemplateFailure("'%c' needs a character", found: value.typeName)
        }
        return scalar
    }
}

extension PythonText {
    /// The text with everything outside of ASCII escaped, as `ascii()` does.
    fileprivate static func escapedToASCII(_ text: Scalars) -> Scalars {
        text.flatMap { $0.isASCII ? [$0] : ["\\"] + spelledOut($0) }
    }
}
