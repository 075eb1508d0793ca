/// `tojson` as `transformers` defines it: Python's `json.dumps` with characters outside of ASCII as they are.
struct JSONTextWriter {
    let interpreter: TemplateInterpreter
    private(set) var output: Scalars = []
    private let indentation: Scalars?
    private let itemSeparator: Scalars
    private let keySeparator: Scalars
    private let isASCII: Bool
    private let isSorted: Bool

    /// Takes the parameters of the filter.
    init(_ interpreter: TemplateInterpreter, _ arguments: CallArguments) throws(TemplateFailure) {
        self.interpreter = interpreter
        let values = try arguments.values(of: "tojson", ["ensure_ascii", "indent", "separators", "sort_keys"])
        isASCII = values[0]?.isTrue ?? false
        isSorted = values[3]?.isTrue ?? false
        var indentation: Scalars?
        if let indent = values[1].given {
            if let text = indent.scalars {
                indentation = text
            } else {
                let width = max(0, try indent.integer("the indentation"))
                try interpreter.charge(characters: width)
                indentation = Scalars(repeating: " ", count: width)
            }
        }
        self.indentation = indentation
        if let separators = values[2].given {
            let parts = try interpreter.elements(of: separators)
            guard parts.count == 2 else { throw TemplateFailure("'separators' are not two") }
            itemSeparator = try parts[0].text("a separator")
            keySeparator = try parts[1].text("a separator")
        } else {
            itemSeparator = Scalars(indentation == nil ? ", " : ",")
            keySeparator = Scalars(": ")
        }
    }

    private mutating func append(_ text: Scalars) throws(TemplateFailure) {
        try interpreter.append(text, to: &output)
    }

    private mutating func append(_ text: String) throws(TemplateFailure) { try append(Scalars(text)) }

    /// Throws for values that JSON does not have.
    mutating func write(_ value: TemplateValue, level: Int = 0) throws(TemplateFailure) {
        try interpreter.charge(TemplateLimits.elementCost)
        switch value {
        case .none: try append("null")
        case .bool(let flag): try append(flag ? "true" : "false")
        case .integer(let integer): try append("\(integer)")
        case .float(let double): try append(JSONTextWriter.text(double))
        case .string(let text): try append(quoted(text.scalars))
        case .list(let list), .tuple(let list):
            try write("[", list.elements.count, "]", level) { (writer, index) throws(TemplateFailure) in
                try writer.write(list.elements[index], level: level + 1)
            }
        case .dictionary(let dictionary):
            var members = dictionary.members
            if isSorted { members = try interpreter.sorted(members) { $0.key } }
            try write("{", members.count, "}", level) { (writer, index) throws(TemplateFailure) in
                try writer.append(writer.quoted(try JSONTextWriter.key(members[index].key)))
                try writer.append(writer.keySeparator)
                try writer.write(members[index].value, level: level + 1)
            }
        case .undefined(let undefined):
            throw TemplateFailure("an undefined value has no JSON: \(undefined.problem)")
        default: throw TemplateFailure("a \(value.typeName) has no JSON")
        }
    }

    private mutating func write(
        _ opening: String, _ count: Int, _ closing: String, _ level: Int,
        _ element: (inout JSONTextWriter, Int) throws(TemplateFailure) -> Void
    ) throws(TemplateFailure) {
        try append(opening)
        for index in 0..<count {
            if index > 0 { try append(itemSeparator) }
            try breakLine(level + 1)
            try element(&self, index)
        }
        if count > 0 { try breakLine(level) }
        try append(closing)
    }

    private mutating func breakLine(_ level: Int) throws(TemplateFailure) {
        guard let indentation else { return }
        try append("\n")
        for _ in 0..<level { try append(indentation) }
    }

    private static func text(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value < 0 ? "-Infinity" : "Infinity" }
        return PythonNumber.text(value)
    }

    private static func key(_ key: TemplateValue) throws(TemplateFailure) -> Scalars {
        switch key {
        case .string(let text): return text.scalars
        case .none: return Scalars("null")
        case .bool(let flag): return Scalars(flag ? "true" : "false")
        case .integer(let integer): return Scalars("\(integer)")
        case .float(let double): return Scalars(text(double))
        default: throw TemplateFailure("a \(key.typeName) cannot be a key in JSON")
        }
    }

    private func quoted(_ text: Scalars) -> Scalars {
        var result: Scalars = ["\""]
        for scalar in text {
            switch scalar {
            case "\"", "\\": result += ["\\", scalar]
            case "\n": result += ["\\", "n"]
            case "\r": result += ["\\", "r"]
            case "\t": result += ["\\", "t"]
            case "\u{8}": result += ["\\", "b"]
            case "\u{C}": result += ["\\", "f"]
            default:
                guard scalar.value < 0x20 || (isASCII && scalar.value > 0x7E) else {
                    result.append(scalar)
                    continue
                }
                for unit in UTF16.encode(scalar) ?? .init() {
                    result += Scalars("\\u" + PythonText.hexadecimal(UInt32(unit), digits: 4))
                }
            }
        }
        return result + ["\""]
    }
}
