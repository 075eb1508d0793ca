/// Numbers and strings in expressions.
extension TemplateLexer {
    /// The end of digits that begin at `index`, single underscores between them; `nil` if there is no digit.
    private func digitsEnd(_ index: Int, _ isDigit: (Unicode.Scalar) -> Bool = \.isASCIIDigit) -> Int? {
        guard let first = scalar(at: index), isDigit(first) else { return nil }
        var end = index + 1
        while let next = scalar(at: end) {
            if isDigit(next) {
                end += 1
            } else if next == "_", let after = scalar(at: end + 1), isDigit(after) {
                end += 2
            } else {
                break
            }
        }
        return end
    }

    mutating func scanNumber() throws(TemplateFailure) -> TemplateToken.Kind {
        if let end = floatEnd() {
            let text = withoutUnderscores(position..<end)
            move(to: end)
            return .float(Double(text) ?? .infinity)
        }
        let start = position
        var end = start + 1
        var radix = 10
        var digits = start
        if source[start] == "0" {
            let prefixes: [(Unicode.Scalar, Int)] = [("b", 2), ("o", 8), ("x", 16)]
            let mark = scalar(at: start + 1)?.properties.lowercaseMapping.unicodeScalars.first
            end = digitsEnd(start) { $0 == "0" } ?? end
            for (letter, base) in prefixes where mark == letter {
                let isDigit = { (scalar: Unicode.Scalar) in
                    scalar.isASCII && Character(scalar).hexDigitValue.map { $0 < base } == true
                }
                let first = start + (scalar(at: start + 2) == "_" ? 3 : 2)
                guard let last = digitsEnd(first, isDigit) else { continue }
                (radix, digits, end) = (base, first, last)
            }
        } else {
            end = digitsEnd(start) ?? end
        }
        guard let value = Int(withoutUnderscores(digits..<end), radix: radix) else {
            throw TemplateFailure("a whole number does not fit into 64 bits", offset: start)
        }
        move(to: end)
        return .integer(value)
    }

    private func withoutUnderscores(_ range: Range<Int>) -> String { String(source[range].filter { $0 != "_" }) }

    /// The end of a number with a fraction or an exponent; `nil` if it is a whole number. After a dot, as in `a.0.1`,
    /// there are only whole numbers.
    private func floatEnd() -> Int? {
        guard position == 0 || source[position - 1] != ".", let whole = digitsEnd(position) else { return nil }
        var end = whole
        var isFloat = false
        if scalar(at: end) == ".", let fraction = digitsEnd(end + 1) {
            end = fraction
            isFloat = true
        }
        if let mark = scalar(at: end), mark == "e" || mark == "E" {
            let sign = scalar(at: end + 1)
            if let exponent = digitsEnd(end + (sign == "+" || sign == "-" ? 2 : 1)) {
                end = exponent
                isFloat = true
            }
        }
        return isFloat ? end : nil
    }

    mutating func scanString(_ quote: Unicode.Scalar) throws(TemplateFailure) -> Scalars {
        let start = position
        var text: Scalars = []
        var index = start + 1
        while let scalar = scalar(at: index) {
            if scalar == quote {
                move(to: index + 1)
                return text
            }
            if scalar == "\\" {
                index = try scanEscape(index + 1, into: &text)
            } else {
                text.append(scalar)
                index += 1
            }
        }
        throw TemplateFailure("a string does not end", expected: "'\(quote)'", offset: start)
    }

    /// Python's escapes; a backslash before any other character stays. Returns the index behind the escape.
    private func scanEscape(_ index: Int, into text: inout Scalars) throws(TemplateFailure) -> Int {
        let simple: [Unicode.Scalar: Unicode.Scalar] = [
            "\\": "\\", "'": "'", "\"": "\"", "a": "\u{7}", "b": "\u{8}", "f": "\u{C}", "n": "\n", "r": "\r",
            "t": "\t", "v": "\u{B}",
        ]
        guard let mark = scalar(at: index) else { return index }
        if let value = simple[mark] {
            text.append(value)
            return index + 1
        }
        switch mark {
        case "\n": return index + 1
        case "x": return try scanCodePoint(index, digits: 2, into: &text)
        case "u": return try scanCodePoint(index, digits: 4, into: &text)
        case "U": return try scanCodePoint(index, digits: 8, into: &text)
        case "N": throw TemplateFailure("characters by name are not supported", found: "\\N", offset: index - 1)
        case "0"..."7": return try scanOctal(index, into: &text)
        default:
            text.append("\\")
            // Jinja spells characters outside of ASCII out before it looks for escapes.
            text += mark.isASCII ? [mark] : PythonText.spelledOut(mark)
            return index + 1
        }
    }

    private func scanCodePoint(_ mark: Int, digits: Int, into text: inout Scalars) throws(TemplateFailure) -> Int {
        let end = mark + 1 + digits
        guard end <= source.count, source[(mark + 1)..<end].allSatisfy({ $0.isASCII && $0.properties.isASCIIHexDigit }),
            let value = UInt32(String(source[(mark + 1)..<end]), radix: 16), let scalar = Unicode.Scalar(value)
        else {
            throw TemplateFailure(
                "a string has a broken escape", expected: "\(digits) hexadecimal digits of a character",
                offset: mark - 1)
        }
        text.append(scalar)
        return end
    }

    private func scanOctal(_ start: Int, into text: inout Scalars) throws(TemplateFailure) -> Int {
        var value: UInt32 = 0
        var index = start
        while index < start + 3, let digit = scalar(at: index), ("0"..."7").contains(digit) {
            value = value * 8 + digit.value - 0x30
            index += 1
        }
        if let scalar = Unicode.Scalar(value) { text.append(scalar) }
        return index
    }
}
