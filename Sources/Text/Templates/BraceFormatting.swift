/// `'{} and {name:>8}'.format(values)`.
extension TemplateInterpreter {
    func formatted(_ text: TextValue, _ arguments: CallArguments) throws(TemplateFailure) -> TemplateValue {
        var formatter = BraceFormatter(interpreter: self, isMarkup: text.isMarkup, arguments: arguments)
        return try string(try formatter.run(text.scalars, nesting: 0), isMarkup: text.isMarkup)
    }

    func formattedByMap(_ text: TextValue, _ arguments: CallArguments) throws(TemplateFailure) -> TemplateValue {
        guard case .dictionary(let dictionary) = try arguments.only("format_map") else {
            throw TemplateFailure("'format_map' needs a dictionary")
        }
        var named = CallArguments()
        for (key, value) in dictionary.members {
            if let name = key.scalars { named.named.append((String(name), value)) }
        }
        return try formatted(text, named)
    }
}

private struct BraceFormatter {
    let interpreter: TemplateInterpreter
    let isMarkup: Bool
    let arguments: CallArguments
    /// How many fields without a number there were.
    private var automatic = 0
    private var usesNumbers = false

    init(interpreter: TemplateInterpreter, isMarkup: Bool, arguments: CallArguments) {
        self.interpreter = interpreter
        self.isMarkup = isMarkup
        self.arguments = arguments
    }

    mutating func run(_ format: Scalars, nesting: Int) throws(TemplateFailure) -> Scalars {
        guard nesting <= 2 else { throw TemplateFailure("fields of a format are nested too deep") }
        var result: Scalars = []
        var index = 0
        while index < format.count {
            let scalar = format[index]
            index += 1
            if scalar == "{" || scalar == "}" {
                if index < format.count, format[index] == scalar {
                    result.append(scalar)
                    index += 1
                    continue
                }
                guard scalar == "{" else { throw TemplateFailure("a format has a single '}'") }
                let end = try BraceFormatter.fieldEnd(format, index)
                try interpreter.append(try field(Scalars(format[index..<end]), nesting), to: &result)
                index = end + 1
            } else {
                result.append(scalar)
            }
        }
        return result
    }

    private static func fieldEnd(_ format: Scalars, _ start: Int) throws(TemplateFailure) -> Int {
        var open = 1
        for index in start..<format.count {
            if format[index] == "{" { open += 1 }
            if format[index] == "}" { open -= 1 }
            if open == 0 { return index }
        }
        throw TemplateFailure("a field of a format does not end", expected: "'}'")
    }

    /// `name!conversion:specification`.
    private mutating func field(_ field: Scalars, _ nesting: Int) throws(TemplateFailure) -> Scalars {
        // A colon or an exclamation mark within brackets belongs to the name.
        var isInside = false
        let nameEnd =
            field.firstIndex { scalar in
                if scalar == "[" { isInside = true }
                if scalar == "]" { isInside = false }
                return !isInside && (scalar == ":" || scalar == "!")
            } ?? field.count
        var value = try self.value(Scalars(field[..<nameEnd]))
        var rest = field[nameEnd...]
        if rest.first == "!" {
            rest = rest.dropFirst()
            guard let conversion = rest.popFirst(), rest.isEmpty || rest.first == ":" else {
                throw TemplateFailure("a field of a format has a broken conversion")
            }
            switch conversion {
            case "s": value = try interpreter.string(try interpreter.text(of: value))
            case "r", "a": value = try interpreter.string(try interpreter.representation(of: value))
            default: throw TemplateFailure("a format has no conversion '!\(conversion)'")
            }
        }
        let specification = try run(Scalars(rest.dropFirst()), nesting: nesting + 1)
        return try text(of: value, specification)
    }

    private mutating func value(_ name: Scalars) throws(TemplateFailure) -> TemplateValue {
        let head = name.prefix { $0 != "." && $0 != "[" }
        var value = try first(Scalars(head))
        var rest = name[head.endIndex...]
        while let mark = rest.popFirst() {
            if mark == "." {
                let part = rest.prefix { $0 != "." && $0 != "[" }
                value = try interpreter.attribute(Scalars(part), of: value)
                rest = rest[part.endIndex...]
            } else {
                guard mark == "[", let end = rest.firstIndex(of: "]") else {
                    throw TemplateFailure("a field of a format has a broken name", found: String(name))
                }
                let key = Scalars(rest[..<end])
                let isNumber = !key.isEmpty && key.allSatisfy(\.isASCIIDigit)
                let index = isNumber ? PythonNumber.integer(key).map(TemplateValue.integer) : nil
                value = try interpreter.item(index ?? .text(key), of: value)
                rest = rest[(end + 1)...]
            }
        }
        return value
    }

    private mutating func first(_ name: Scalars) throws(TemplateFailure) -> TemplateValue {
        var place: Int?
        if name.isEmpty {
            guard !usesNumbers else { throw TemplateFailure("a format mixes fields with and without numbers") }
            place = automatic
            automatic += 1
        } else if name.allSatisfy(\.isASCIIDigit) {
            guard automatic == 0 else { throw TemplateFailure("a format mixes fields with and without numbers") }
            usesNumbers = true
            place = Int(String(name)) ?? .max
        }
        if let place {
            guard place < arguments.positional.count else { throw TemplateFailure("a format has too few values") }
            return arguments.positional[place]
        }
        let text = String(name)
        guard let value = arguments.named.first(where: { $0.name == text })?.value else {
            throw TemplateFailure("a format names a value that is not there", found: text)
        }
        return value
    }

    private func text(of value: TemplateValue, _ format: Scalars) throws(TemplateFailure) -> Scalars {
        if format.isEmpty || value.isUndefined {
            guard format.isEmpty else { throw TemplateFailure("an undefined value has no format") }
            if isMarkup, case .string(let part) = value { return part.markup }
            return try interpreter.text(of: value)
        }
        let specification = try FormatSpecification(parsing: format)
        switch value {
        case .string(let text):
            guard specification.type == nil || specification.type == "s" else {
                throw TemplateFailure("a string has no format '\(String(format))'")
            }
            let shown = Scalars(text.scalars.prefix(specification.precision ?? .max))
            return specification.padded(shown, default: .left)
        case .float(let double): return try specification.formatted(double)
        case .integer, .bool:
            let isFloatType = specification.type.map { ("eEfFgG%" as String).unicodeScalars.contains($0) } == true
            if isFloatType { return try specification.formatted(value.asDouble ?? 0) }
            guard specification.precision == nil else { throw TemplateFailure("a whole number has no precision") }
            return try specification.formatted(try value.integer("a value in a format"))
        default: throw TemplateFailure("a \(value.typeName) has no format '\(String(format))'")
        }
    }
}

extension FormatSpecification {
    /// `[[fill]align][sign][#][0][width][grouping][.precision][type]`.
    init(parsing text: Scalars) throws(TemplateFailure) {
        let alignments: [Unicode.Scalar: Alignment] = ["<": .left, ">": .right, "^": .center, "=": .afterSign]
        var rest = text[...]
        if rest.count > 1, let alignment = alignments[rest[1]] {
            (fill, self.alignment) = (rest[0], alignment)
            rest = rest.dropFirst(2)
        } else if let first = rest.first, let alignment = alignments[first] {
            self.alignment = alignment
            rest = rest.dropFirst()
        }
        if let first = rest.first, first == "+" || first == "-" || first == " " {
            sign = first
            rest = rest.dropFirst()
        }
        if rest.first == "#" {
            isAlternate = true
            rest = rest.dropFirst()
        }
        if rest.first == "0", self.alignment == nil {
            (fill, self.alignment) = ("0", .afterSign)
            rest = rest.dropFirst()
        }
        width = try FormatSpecification.number(&rest, FormatSpecification.maximumWidth) ?? 0
        if let first = rest.first, first == "," || first == "_" {
            grouping = first
            rest = rest.dropFirst()
        }
        if rest.first == "." {
            rest = rest.dropFirst()
            precision = try FormatSpecification.number(&rest, FormatSpecification.maximumPrecision)
            guard precision != nil else { throw TemplateFailure("a format has a point without a precision") }
        }
        type = rest.popFirst()
        guard rest.isEmpty else { throw TemplateFailure("a field has a broken format", found: String(text)) }
    }

    private static func number(_ rest: inout ArraySlice<Unicode.Scalar>, _ limit: Int) throws(TemplateFailure) -> Int? {
        let digits = rest.prefix { $0.isASCIIDigit }
        guard !digits.isEmpty else { return nil }
        rest = rest.dropFirst(digits.count)
        guard let value = Int(String(digits)), value <= limit else {
            throw .limit("a field of a format is wider than \(limit)")
        }
        return value
    }
}
