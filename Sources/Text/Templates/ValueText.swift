/// Python's `str` and `repr`.
extension TemplateInterpreter {
    /// `str(value)`.
    func text(of value: TemplateValue) throws(TemplateFailure) -> Scalars {
        switch value {
        case .string(let text): return text.scalars
        case .undefined: return []
        default: return try representation(of: value)
        }
    }

    /// `repr(value)`.
    func representation(of value: TemplateValue) throws(TemplateFailure) -> Scalars {
        var result: Scalars = []
        try appendRepresentation(of: value, to: &result)
        return result
    }

    private func append(_ text: String, to result: inout Scalars) throws(TemplateFailure) {
        try append(Scalars(text), to: &result)
    }

    private func appendRepresentation(of value: TemplateValue, to result: inout Scalars) throws(TemplateFailure) {
        try charge(TemplateLimits.elementCost)
        switch value {
        case .undefined: try append("Undefined", to: &result)
        case .none: try append("None", to: &result)
        case .bool(let flag): try append(flag ? "True" : "False", to: &result)
        case .integer(let integer): try append("\(integer)", to: &result)
        case .float(let double): try append(PythonNumber.text(double), to: &result)
        case .string(let text):
            let quoted = PythonText.quoted(text.scalars)
            try append(text.isMarkup ? Scalars("Markup(") + quoted + [")"] : quoted, to: &result)
        case .list(let list): try appendElements("[", list.elements, "]", to: &result)
        case .tuple(let list):
            try appendElements("(", list.elements, list.elements.count == 1 ? ",)" : ")", to: &result)
        case .dictionary(let dictionary): try appendMembers(dictionary, to: &result)
        case .view(let view):
            var elements: [TemplateValue] = []
            for index in 0..<view.dictionary.count { elements.append(try view.element(index)) }
            try appendElements("\(view.kind.typeName)([", elements, "])", to: &result)
        case .range(let range):
            let step = range.step == 1 ? "" : ", \(range.step)"
            try append("range(\(range.start), \(range.stop)\(step))", to: &result)
        case .iterator(let iterator): try append("<\(iterator.kind) object>", to: &result)
        case .namespace(let namespace):
            try append("<Namespace ", to: &result)
            // A namespace may hold itself.
            try deeper { () throws(TemplateFailure) in try appendMembers(try namespace.members(), to: &result) }
            try append(">", to: &result)
        case .loop(let loop): try append("<LoopContext \(loop.index0 + 1)/\(try loop.length())>", to: &result)
        case .macro(let macro):
            try append(macro.syntax.name.map { "<Macro '\($0)'>" } ?? "<Macro anonymous>", to: &result)
        case .function(let function): try append("<function \(function.rawValue)>", to: &result)
        case .method(let method): try append("<method \(method.method.rawValue)>", to: &result)
        case .cycler: try append("<Cycler object>", to: &result)
        case .joiner: try append("<Joiner object>", to: &result)
        }
    }

    private func appendElements(
        _ opening: String, _ elements: [TemplateValue], _ closing: String, to result: inout Scalars
    ) throws(TemplateFailure) {
        try append(opening, to: &result)
        for (index, element) in elements.enumerated() {
            if index > 0 { try append(", ", to: &result) }
            try appendRepresentation(of: element, to: &result)
        }
        try append(closing, to: &result)
    }

    private func appendMembers(_ dictionary: DictionaryValue, to result: inout Scalars) throws(TemplateFailure) {
        try append("{", to: &result)
        for (index, member) in dictionary.members.enumerated() {
            if index > 0 { try append(", ", to: &result) }
            try appendRepresentation(of: member.key, to: &result)
            try append(": ", to: &result)
            try appendRepresentation(of: member.value, to: &result)
        }
        try append("}", to: &result)
    }
}

/// Texts as Python and HTML write them.
enum PythonText {
    /// `repr` of a string: in single quotes, or in double quotes if it has only single ones.
    static func quoted(_ text: Scalars) -> Scalars {
        let quote: Unicode.Scalar = text.contains("'") && !text.contains("\"") ? "\"" : "'"
        var result: Scalars = [quote]
        for scalar in text {
            switch scalar {
            case quote, "\\": result += ["\\", scalar]
            case "\n": result += ["\\", "n"]
            case "\r": result += ["\\", "r"]
            case "\t": result += ["\\", "t"]
            default:
                result += scalar.isPythonPrintable ? [scalar] : ["\\"] + spelledOut(scalar)
            }
        }
        return result + [quote]
    }

    /// What stands behind the backslash of a character's escape.
    static func spelledOut(_ scalar: Unicode.Scalar) -> Scalars {
        let (mark, digits) = scalar.value < 0x100 ? ("x", 2) : scalar.value < 0x10000 ? ("u", 4) : ("U", 8)
        return Scalars(mark + hexadecimal(scalar.value, digits: digits))
    }

    /// At least `digits` hexadecimal digits in lower case.
    static func hexadecimal(_ value: UInt32, digits: Int) -> String {
        let text = String(value, radix: 16)
        return String(repeating: "0", count: max(0, digits - text.count)) + text
    }

    /// The text with the five characters escaped that mean something in HTML.
    static func escapedForHTML(_ text: Scalars) -> Scalars {
        var result: Scalars = []
        for scalar in text {
            switch scalar {
            case "&": result += "&amp;".unicodeScalars
            case "<": result += "&lt;".unicodeScalars
            case ">": result += "&gt;".unicodeScalars
            case "'": result += "&#39;".unicodeScalars
            case "\"": result += "&#34;".unicodeScalars
            default: result.append(scalar)
            }
        }
        return result
    }
}
