/// Cuts a template into tokens, with `trim_blocks` and `lstrip_blocks` on as `transformers` renders: the line feed after
/// a block goes, and so does the white space before a block that begins its line.
struct TemplateLexer {
    /// The text with all line ends as line feeds and without one at the end, which Jinja drops.
    let source: Scalars
    private(set) var position = 0
    private(set) var tokens: [TemplateToken] = []
    /// Whether the last tag ended with a line feed, so that what follows begins a line.
    private var isLineStart = true

    init(_ text: String) {
        var source: Scalars = []
        for scalar in text.unicodeScalars {
            if scalar == "\n", source.last == "\r" {
                source[source.count - 1] = "\n"
                // A further line feed must not join this one.
                continue
            }
            if source.last == "\r" { source[source.count - 1] = "\n" }
            source.append(scalar)
        }
        if source.last == "\r" { source[source.count - 1] = "\n" }
        if source.last == "\n" { source.removeLast() }
        self.source = source
    }

    /// All tokens, `.end` at the end.
    mutating func tokenize() throws(TemplateFailure) -> [TemplateToken] {
        while position < source.count {
            guard let start = nextTag() else {
                append(.data(Scalars(source[position...])), at: position)
                position = source.count
                break
            }
            try scanTag(start)
        }
        append(.end, at: source.count)
        return tokens
    }

    private mutating func append(_ kind: TemplateToken.Kind, at offset: Int) {
        tokens.append(TemplateToken(kind: kind, offset: offset))
    }

    func scalar(at index: Int) -> Unicode.Scalar? { index < source.count ? source[index] : nil }

    func matches(_ text: String, at index: Int) -> Bool {
        var index = index
        for scalar in text.unicodeScalars {
            guard self.scalar(at: index) == scalar else { return false }
            index += 1
        }
        return true
    }

    func skippingSpace(_ index: Int) -> Int {
        var index = index
        while let scalar = scalar(at: index), scalar.isPythonSpace { index += 1 }
        return index
    }

    /// Where the next `{{`, `{%` or `{#` is.
    private func nextTag() -> Int? {
        var index = position
        while index + 1 < source.count {
            if source[index] == "{", source[index + 1] == "{" || source[index + 1] == "%" || source[index + 1] == "#" {
                return index
            }
            index += 1
        }
        return nil
    }

    /// Scans the text up to the tag at `start`, and the tag.
    private mutating func scanTag(_ start: Int) throws(TemplateFailure) {
        let kind = source[start + 1]
        let sign = scalar(at: start + 2).flatMap { $0 == "-" || $0 == "+" ? $0 : nil }
        appendData(upTo: start, sign: sign, isBlock: kind != "{")
        position = start + (sign == nil ? 2 : 3)
        if kind == "#" {
            try skipComment(start)
        } else if kind == "{" {
            append(.variableBegin, at: start)
            try scanCode(isBlock: false)
        } else if let body = rawBody(position) {
            try scanRaw(start, body)
        } else {
            append(.blockBegin, at: start)
            try scanCode(isBlock: true)
        }
    }

    private mutating func appendData(upTo end: Int, sign: Unicode.Scalar?, isBlock: Bool) {
        var data = source[position..<end]
        if sign == "-" {
            while let last = data.last, last.isPythonSpace { data.removeLast() }
        } else if sign == nil, isBlock {
            let lineStart = data.lastIndex(of: "\n").map { $0 + 1 }
            if lineStart != nil || isLineStart {
                let line = data[(lineStart ?? data.startIndex)...]
                if line.allSatisfy(\.isPythonSpace) { data = data[..<line.startIndex] }
            }
        }
        if !data.isEmpty { append(.data(Scalars(data)), at: position) }
    }

    /// Consumes the end of a tag at `index`: its sign, its two characters, and the white space it takes with it.
    /// Returns whether there is one.
    mutating func consumeEnd(_ mark: String, at index: Int, isBlock: Bool) -> Bool {
        if matches("-" + mark, at: index) {
            position = skippingSpace(index + 3)
        } else if isBlock, matches("+" + mark, at: index) {
            position = index + 3
        } else if matches(mark, at: index) {
            position = index + 2
            if isBlock, scalar(at: position) == "\n" { position += 1 }
        } else {
            return false
        }
        isLineStart = source[position - 1] == "\n"
        return true
    }

    private mutating func skipComment(_ start: Int) throws(TemplateFailure) {
        var index = position
        while index < source.count {
            if consumeEnd("#}", at: index, isBlock: true) { return }
            index += 1
        }
        // Like in Jinja a comment that begins at the very end is none.
        if position == source.count { return }
        throw TemplateFailure("a comment does not end", expected: "'#}'", offset: start)
    }

    /// Where the text of a raw block begins, if `index` stands behind the `{%` of one.
    private func rawBody(_ index: Int) -> Int? {
        let name = skippingSpace(index)
        guard matches("raw", at: name) else { return nil }
        let end = skippingSpace(name + 3)
        if matches("-%}", at: end) { return skippingSpace(end + 3) }
        return matches("%}", at: end) ? end + 2 : nil
    }

    private mutating func scanRaw(_ start: Int, _ body: Int) throws(TemplateFailure) {
        isLineStart = source[body - 1] == "\n"
        position = body
        var index = body
        while index + 1 < source.count {
            if matches("{%", at: index) {
                let sign = scalar(at: index + 2).flatMap { $0 == "-" || $0 == "+" ? $0 : nil }
                let name = skippingSpace(index + (sign == nil ? 2 : 3))
                if matches("endraw", at: name) {
                    let end = skippingSpace(name + 6)
                    if matches("%}", at: end) || matches("-%}", at: end) || matches("+%}", at: end) {
                        appendData(upTo: index, sign: sign, isBlock: true)
                        _ = consumeEnd("%}", at: end, isBlock: true)
                        return
                    }
                }
            }
            index += 1
        }
        if position == source.count { return }
        throw TemplateFailure("a raw block does not end", expected: "'{% endraw %}'", offset: start)
    }

    /// Scans the inside of a tag and its end.
    private mutating func scanCode(isBlock: Bool) throws(TemplateFailure) {
        let mark = isBlock ? "%}" : "}}"
        var open: [TemplateToken.Symbol] = []
        while position < source.count {
            let start = position
            // Inside brackets the end of a tag is no end: `{{ {'a': {}} }}`.
            if open.isEmpty, consumeEnd(mark, at: start, isBlock: isBlock) {
                append(isBlock ? .blockEnd : .variableEnd, at: start)
                return
            }
            if source[start].isPythonSpace {
                position = skippingSpace(start)
                continue
            }
            let kind = try scanToken()
            append(kind, at: start)
            guard case .symbol(let symbol) = kind else { continue }
            if let closing = symbol.closing { open.append(closing) }
            if symbol.isClosing {
                let expected = open.popLast()
                guard expected == symbol else {
                    throw TemplateFailure(
                        "a bracket closes that was not opened", expected: expected.map { "'\($0.rawValue)'" },
                        found: "'\(symbol.rawValue)'", offset: start)
                }
            }
        }
    }

    private mutating func scanToken() throws(TemplateFailure) -> TemplateToken.Kind {
        let start = position
        let first = source[start]
        if first.isASCIIDigit { return try scanNumber() }
        if first == "'" || first == "\"" { return .string(try scanString(first)) }
        if first == "_" || first.properties.isXIDStart {
            while let next = scalar(at: position), next.properties.isXIDContinue { position += 1 }
            return .name(String(source[start..<position]))
        }
        for symbol in TemplateToken.Symbol.allCases where matches(symbol.rawValue, at: start) {
            position += symbol.rawValue.unicodeScalars.count
            return .symbol(symbol)
        }
        throw TemplateFailure("no expression has the character '\(first)'", offset: start)
    }

    /// Moves to `index`; for the scanners of numbers and strings.
    mutating func move(to index: Int) { position = index }
}
