/// The methods of strings.
extension TemplateInterpreter {
    /// Units of work to look up a character's properties, the most that any method does with one.
    static let letterCost = 8

    func call(
        _ method: TemplateMethod, of text: TextValue, _ arguments: CallArguments
    ) throws(TemplateFailure) -> TemplateValue {
        try charge(text.scalars.count * TemplateInterpreter.letterCost)
        if let result = try caseMethod(method, text, arguments) { return result }
        if let result = try searchMethod(method, text, arguments) { return result }
        switch method {
        case .format: return try formatted(text, arguments)
        case .formatMap: return try formattedByMap(text, arguments)
        case .split, .rsplit: return try split(method, text, arguments)
        case .splitlines:
            let keepsEnds = try arguments.values(of: "splitlines", ["keepends"])[0]?.isTrue ?? false
            return try texts(text.scalars.lines(keepingEnds: keepsEnds), like: text)
        case .partition, .rpartition: return try partition(method, text, arguments)
        case .join: return try join(text, try arguments.only("join"))
        case .replace: return try replace(text, arguments)
        case .removeprefix, .removesuffix: return try withoutAffix(method, text, arguments)
        case .strip, .lstrip, .rstrip: return try strip(method, text, arguments)
        case .center, .ljust, .rjust, .zfill: return try pad(method, text, arguments)
        case .expandtabs:
            let size = try arguments.values(of: "expandtabs", ["tabsize"])[0]?.integer("the size of tabs") ?? 8
            return try expandTabs(text, size)
        default: throw TemplateFailure("'\(method.rawValue)' is no method of strings")
        }
    }

    /// A list of strings, as safe as `text`.
    private func texts(_ parts: [Scalars], like text: TextValue) throws(TemplateFailure) -> TemplateValue {
        try charge(characters: text.scalars.count)
        return try list(parts.map { .string(TextValue($0, isMarkup: text.isMarkup)) })
    }

    private func caseMethod(
        _ method: TemplateMethod, _ text: TextValue, _ arguments: CallArguments
    ) throws(TemplateFailure) -> TemplateValue? {
        let scalars = text.scalars
        let changed: Scalars? =
            switch method {
            case .upper: scalars.uppercasedScalars()
            case .lower: scalars.lowercasedScalars()
            case .casefold: scalars.foldedScalars()
            case .capitalize: scalars.capitalizedScalars()
            case .title: scalars.titlecasedScalars()
            case .swapcase: scalars.swappedCaseScalars()
            default: nil
            }
        if let changed {
            try arguments.requireNone(method.rawValue)
            return try string(changed, isMarkup: text.isMarkup)
        }
        guard let holds = TemplateInterpreter.holds(method, scalars) else { return nil }
        try arguments.requireNone(method.rawValue)
        return .bool(holds)
    }

    /// What the methods `is...` say; `nil` for other methods.
    private static func holds(_ method: TemplateMethod, _ text: Scalars) -> Bool? {
        func all(_ holds: (Unicode.Scalar) -> Bool) -> Bool { !text.isEmpty && text.allSatisfy(holds) }
        switch method {
        case .isalnum: return all(\.isPythonAlphanumeric)
        case .isalpha: return all(\.isPythonLetter)
        case .isascii: return text.allSatisfy(\.isASCII)
        case .isdecimal: return all(\.isPythonDecimal)
        case .isdigit: return all(\.isPythonDigit)
        case .isnumeric: return all { $0.properties.numericType != nil }
        case .isspace: return all(\.isPythonSpace)
        case .isprintable: return text.allSatisfy(\.isPythonPrintable)
        case .islower: return text.isPythonLower
        case .isupper: return text.isPythonUpper
        case .istitle: return text.isPythonTitle
        case .isidentifier:
            guard let first = text.first, first == "_" || first.properties.isXIDStart else { return false }
            return text.allSatisfy(\.properties.isXIDContinue)
        default: return nil
        }
    }

    private func searchMethod(
        _ method: TemplateMethod, _ text: TextValue, _ arguments: CallArguments
    ) throws(TemplateFailure) -> TemplateValue? {
        switch method {
        case .startswith, .endswith, .find, .rfind, .index, .rindex, .count: break
        default: return nil
        }
        let values = try arguments.byPlace(method, 1, 3)
        let scalars = text.scalars
        let bounds = try TemplateInterpreter.bounds(values.dropFirst(), count: scalars.count)
        if method == .startswith || method == .endswith {
            return .bool(try hasAffix(scalars, bounds, values[0], method))
        }
        let needle = try values[0].text("what '\(method.rawValue)' looks for")
        try charge(needle.count)
        if method == .count {
            guard bounds.lowerBound <= scalars.count else { return .integer(0) }
            let part = Scalars(scalars[bounds])
            return .integer(needle.isEmpty ? part.count + 1 : part.ranges(of: needle).count)
        }
        var place: Int?
        if bounds.lowerBound <= scalars.count {
            place =
                method == .find || method == .index
                ? Scalars(scalars[bounds]).firstRange(of: needle).map { $0 + bounds.lowerBound }
                : scalars.lastRange(of: needle, from: bounds.lowerBound, to: bounds.upperBound)
        }
        if place == nil, method == .index || method == .rindex {
            throw TemplateFailure("'\(method.rawValue)' does not find the text")
        }
        return .integer(place ?? -1)
    }

    private func hasAffix(
        _ text: Scalars, _ bounds: Range<Int>, _ affix: TemplateValue, _ method: TemplateMethod
    ) throws(TemplateFailure) -> Bool {
        var affixes = [affix]
        if case .tuple(let tuple) = affix { affixes = tuple.elements }
        guard bounds.lowerBound <= text.count else { return false }
        let part = text[bounds]
        for affix in affixes {
            let affix = try affix.text("what '\(method.rawValue)' looks for")
            guard affix.count <= part.count else { continue }
            if method == .startswith ? part.starts(with: affix) : part.suffix(affix.count).elementsEqual(affix) {
                return true
            }
        }
        return false
    }

    private func partition(
        _ method: TemplateMethod, _ text: TextValue, _ arguments: CallArguments
    ) throws(TemplateFailure) -> TemplateValue {
        let scalars = text.scalars
        let separator = try arguments.byPlace(method, 1, 1)[0].text("a separator")
        guard !separator.isEmpty else { throw TemplateFailure("a separator is empty") }
        let place =
            method == .partition
            ? scalars.firstRange(of: separator) : scalars.lastRange(of: separator, from: 0, to: scalars.count)
        var parts: [Scalars] = method == .partition ? [scalars, [], []] : [[], [], scalars]
        if let place {
            parts = [Scalars(scalars[..<place]), separator, Scalars(scalars[(place + separator.count)...])]
        }
        try charge(characters: scalars.count)
        return try tuple(parts.map { .string(TextValue($0, isMarkup: text.isMarkup)) })
    }

    func join(_ separator: TextValue, _ values: TemplateValue) throws(TemplateFailure) -> TemplateValue {
        var result: Scalars = []
        for (index, element) in try elements(of: values).enumerated() {
            guard case .string(let part) = element else {
                throw TemplateFailure("'join' needs strings", found: "\(element.typeName) at \(index)")
            }
            let added = separator.isMarkup ? part.markup : part.scalars
            if index > 0 { try append(separator.scalars, to: &result) }
            try append(added, to: &result)
        }
        return .string(TextValue(result, isMarkup: separator.isMarkup))
    }

    private func replace(_ text: TextValue, _ arguments: CallArguments) throws(TemplateFailure) -> TemplateValue {
        let values = try arguments.byPlace(.replace, 2, 3)
        let old = try values[0].text("what is replaced")
        guard case .string(let new) = values[1] else {
            throw TemplateFailure("what replaces is no string", found: values[1].typeName)
        }
        let limit = values.count > 2 ? try values[2].integer("the number of replacements") : -1
        return try replaced(text, old, text.isMarkup ? new.markup : new.scalars, limit: limit)
    }

    /// `text` with `old` replaced, everywhere for a negative `limit`. The length is checked before.
    func replaced(
        _ text: TextValue, _ old: Scalars, _ new: Scalars, limit: Int
    ) throws(TemplateFailure) -> TemplateValue {
        let limit = limit < 0 ? Int.max : limit
        let count = old.isEmpty ? min(limit, text.scalars.count + 1) : text.scalars.ranges(of: old, limit: limit).count
        let (added, overflows) = count.multipliedReportingOverflow(by: new.count)
        guard !overflows else { throw .limit("a replacement is too long") }
        try charge(characters: text.scalars.count + added)
        let result = text.scalars.replacing(old, with: new, limit: limit)
        return .string(TextValue(result, isMarkup: text.isMarkup))
    }

    private func withoutAffix(
        _ method: TemplateMethod, _ text: TextValue, _ arguments: CallArguments
    ) throws(TemplateFailure) -> TemplateValue {
        let affix = try arguments.byPlace(method, 1, 1)[0].text("what is removed")
        var scalars = text.scalars
        if method == .removeprefix, scalars.starts(with: affix) { scalars.removeFirst(affix.count) }
        if method == .removesuffix, affix.count <= scalars.count, scalars.suffix(affix.count).elementsEqual(affix) {
            scalars.removeLast(affix.count)
        }
        return try string(scalars, isMarkup: text.isMarkup)
    }

    private func strip(
        _ method: TemplateMethod, _ text: TextValue, _ arguments: CallArguments
    ) throws(TemplateFailure) -> TemplateValue {
        let dropped = try arguments.byPlace(method, 0, 1).first
        return try stripped(text, dropped, leading: method != .rstrip, trailing: method != .lstrip)
    }

    /// `text` without white space, or without the characters of `dropped`, at its ends.
    func stripped(
        _ text: TextValue, _ dropped: TemplateValue?, leading: Bool = true, trailing: Bool = true
    ) throws(TemplateFailure) -> TemplateValue {
        var characters: Set<Unicode.Scalar>?
        if let dropped = dropped.given { characters = Set(try dropped.text("the characters to strip")) }
        let result = text.scalars.trimmed(leading: leading, trailing: trailing) {
            characters?.contains($0) ?? $0.isPythonSpace
        }
        return try string(result, isMarkup: text.isMarkup)
    }
}
