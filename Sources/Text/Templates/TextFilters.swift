/// Filters that take a text and give one.
extension TemplateInterpreter {
    func textFilter(
        _ filter: TemplateFilter, _ value: TemplateValue, _ arguments: CallArguments
    ) throws(TemplateFailure) -> TemplateValue? {
        switch filter {
        case .upper, .lower, .capitalize:
            try arguments.requireNone(filter.rawValue)
            guard let method = TemplateMethod(rawValue: filter.rawValue) else { return nil }
            return try call(method, of: try soft(value), CallArguments())
        case .title:
            try arguments.requireNone("title")
            let text = try soft(value)
            try charge(text.scalars.count * TemplateInterpreter.letterCost)
            return try string(TemplateInterpreter.titled(text.scalars))
        case .trim:
            let dropped = try arguments.values(of: "trim", ["chars"])[0]
            return try stripped(try soft(value), dropped)
        case .string:
            try arguments.requireNone("string")
            return .string(try soft(value))
        case .replace: return try replaced(value, arguments)
        case .center:
            let width = try arguments.values(of: "center", ["width"])[0] ?? .integer(80)
            return try pad(.center, try soft(value), CallArguments(positional: [width]))
        case .format: return try formatted(value, arguments)
        case .indent: return try indented(value, arguments)
        case .truncate: return try truncated(value, arguments)
        case .wordcount:
            try arguments.requireNone("wordcount")
            let text = try soft(value).scalars
            let words = text.split { !($0 == "_" || $0.isPythonAlphanumeric) }
            return .integer(words.count)
        default: return try markupFilter(filter, value, arguments)
        }
    }

    private func markupFilter(
        _ filter: TemplateFilter, _ value: TemplateValue, _ arguments: CallArguments
    ) throws(TemplateFailure) -> TemplateValue? {
        switch filter {
        case .safe:
            try arguments.requireNone("safe")
            return try string(try text(of: value), isMarkup: true)
        case .e, .escape:
            try arguments.requireNone(filter.rawValue)
            let text = try soft(value)
            return try string(text.markup, isMarkup: true)
        case .forceescape:
            try arguments.requireNone("forceescape")
            return try string(PythonText.escapedForHTML(try text(of: value)), isMarkup: true)
        case .striptags:
            try arguments.requireNone("striptags")
            let text = TemplateInterpreter.withoutTags(try text(of: value))
            let line = TemplateInterpreter.words(text, most: .max).joined(by: [" "])
            return try string(TemplateInterpreter.unescaped(line))
        case .urlencode:
            try arguments.requireNone("urlencode")
            return try urlEncoded(value)
        default: return nil
        }
    }

    /// A string as it is, other values as text.
    func soft(_ value: TemplateValue) throws(TemplateFailure) -> TextValue {
        if case .string(let text) = value { return text }
        return TextValue(try text(of: value))
    }

    /// Every part between spaces, hyphens and opening brackets with its first character in upper case.
    private static func titled(_ text: Scalars) -> Scalars {
        var result: Scalars = []
        var part: Scalars = []
        func flush() {
            guard let first = part.first else { return }
            result += [first].uppercasedScalars()
            result += Scalars(part.dropFirst()).lowercasedScalars()
            part = []
        }
        for scalar in text {
            if scalar.isPythonSpace || ("-({[<" as String).unicodeScalars.contains(scalar) {
                flush()
                result.append(scalar)
            } else {
                part.append(scalar)
            }
        }
        flush()
        return result
    }

    private func replaced(_ value: TemplateValue, _ arguments: CallArguments) throws(TemplateFailure) -> TemplateValue {
        let values = try arguments.values(of: "replace", ["old", "new", "count"], required: 2)
        let limit = try values[2].given?.integer("the number of replacements") ?? -1
        let old = try text(of: values[0] ?? .none)
        let new = try text(of: values[1] ?? .none)
        return try replaced(TextValue(try text(of: value)), old, new, limit: limit)
    }

    private func formatted(_ value: TemplateValue, _ arguments: CallArguments) throws(TemplateFailure) -> TemplateValue
    {
        guard arguments.positional.isEmpty || arguments.named.isEmpty else {
            throw TemplateFailure("'format' takes values or named values, not both")
        }
        let values =
            arguments.named.isEmpty
            ? try tuple(arguments.positional)
            : try dictionary(arguments.named.map { (key: .text($0.name), value: $0.value) })
        return try percentFormatted(try soft(value), values)
    }

    private func indented(_ value: TemplateValue, _ arguments: CallArguments) throws(TemplateFailure) -> TemplateValue {
        let values = try arguments.values(of: "indent", ["width", "first", "blank"])
        guard case .string(let text) = value else {
            if case .undefined(let undefined) = value { throw undefined.failure }
            throw TemplateFailure("'indent' needs a string", found: value.typeName)
        }
        let indentation: Scalars
        if let given = values[0]?.scalars {
            indentation = given
        } else {
            let width = try values[0]?.integer("a width") ?? 4
            try charge(characters: max(0, width))
            indentation = Scalars(repeating: " ", count: max(0, width))
        }
        let indentsBlank = values[2]?.isTrue ?? false
        let lines = (text.scalars + ["\n"]).lines()
        let (length, overflows) = lines.count.multipliedReportingOverflow(by: indentation.count)
        guard !overflows else { throw .limit("a text is too long") }
        try charge(characters: text.scalars.count + length)
        var result: Scalars = values[1]?.isTrue == true ? indentation : []
        for (index, line) in lines.enumerated() {
            if index > 0 {
                result.append("\n")
                if indentsBlank || !line.isEmpty { result += indentation }
            }
            result += line
        }
        return .string(TextValue(result, isMarkup: text.isMarkup))
    }

    private func truncated(_ value: TemplateValue, _ arguments: CallArguments) throws(TemplateFailure) -> TemplateValue
    {
        let values = try arguments.values(of: "truncate", ["length", "killwords", "end", "leeway"])
        let length = try values[0]?.integer("a length") ?? 255
        let end = try values[2]?.text("the end") ?? Scalars("...")
        let leeway = try values[3].given?.integer("the leeway") ?? 5
        guard length >= end.count, leeway >= 0 else { throw TemplateFailure("'truncate' has too small a length") }
        let (most, overflows) = length.addingReportingOverflow(leeway)
        if let count = self.length(of: value), overflows || count <= most { return value }
        guard case .string(let whole) = value else {
            throw TemplateFailure("'truncate' needs a string", found: value.typeName)
        }
        let text = Scalars(whole.scalars.prefix(length - end.count))
        if values[1]?.isTrue == true { return try string(text + end, isMarkup: whole.isMarkup) }
        return try string(text.prefix(text.lastIndex(of: " ") ?? text.count) + end, isMarkup: whole.isMarkup)
    }

    // MARK: HTML and addresses

    /// The text without comments and tags of HTML.
    private static func withoutTags(_ text: Scalars) -> Scalars {
        func removing(_ start: Scalars, _ end: Scalars, _ text: Scalars) -> Scalars {
            var result: Scalars = []
            var index = 0
            while let place = text.firstRange(of: start, from: index),
                let last = text.firstRange(of: end, from: place + start.count)
            {
                result += text[index..<place]
                index = last + end.count
            }
            return result + text[index...]
        }
        return removing(["<"], [">"], removing(Scalars("<!--"), Scalars("-->"), text))
    }

    /// The named and numbered characters that `escapedForHTML` and common texts have.
    private static func unescaped(_ text: Scalars) -> Scalars {
        let names: [(String, String)] = [
            ("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&#34;", "\""), ("&nbsp;", "\u{A0}"),
            ("&amp;", "&"),
        ]
        return names.reduce(text) { $0.replacing(Scalars($1.0), with: Scalars($1.1), limit: .max) }
    }

    private func urlEncoded(_ value: TemplateValue) throws(TemplateFailure) -> TemplateValue {
        if value.scalars != nil || !isIterable(value) {
            return try string(TemplateInterpreter.urlEncoded(try text(of: value), keeping: "/"))
        }
        var pairs: [TemplateValue] = []
        if case .dictionary(let dictionary) = value {
            for index in 0..<dictionary.count { pairs.append(try dictionary.item(index)) }
        } else {
            pairs = try elements(of: value)
        }
        var parts: [Scalars] = []
        for pair in pairs {
            let parts2 = try elements(of: pair)
            guard parts2.count == 2 else { throw TemplateFailure("'urlencode' needs pairs") }
            let key = TemplateInterpreter.urlEncoded(try text(of: parts2[0]), keeping: "")
            let value = TemplateInterpreter.urlEncoded(try text(of: parts2[1]), keeping: "")
            parts.append((key + ["="] + value).replacing(Scalars("%20"), with: ["+"], limit: .max))
        }
        return try string(parts.joined(by: ["&"]))
    }

    private static func urlEncoded(_ text: Scalars, keeping kept: String) -> Scalars {
        let plain = Set("-._~".unicodeScalars).union(kept.unicodeScalars)
        var result: Scalars = []
        for byte in String(text).utf8 {
            let scalar = Unicode.Scalar(byte)
            if scalar.isASCII, scalar.isPythonAlphanumeric || plain.contains(scalar) {
                result.append(scalar)
            } else {
                result += Scalars("%" + PythonText.hexadecimal(UInt32(byte), digits: 2).uppercased())
            }
        }
        return result
    }
}
