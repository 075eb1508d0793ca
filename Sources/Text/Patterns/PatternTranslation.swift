import TensorCore

/// Turns a pattern written for Oniguruma's Ruby syntax, which tokenizer.json uses, into the same pattern for PCRE2.
///
/// The dialects agree on what tokenizers use, with a few exceptions: white space (PCRE2's `\s` includes U+180E),
/// scripts (PCRE2 means script extensions unless told otherwise), `\uHHHH` and `\v`. Whatever else might differ is
/// refused by name.
struct PatternTranslation {
    private let scalars: [Unicode.Scalar]
    private var position = 0
    private var result = ""
    private let source: String

    /// The pattern for PCRE2. Throws `.malformed`, naming what is not supported.
    static func translated(_ source: String) throws(LaminaError) -> String {
        var translation = PatternTranslation(source)
        while let scalar = translation.next() { try translation.translate(scalar) }
        return translation.result
    }

    /// A pattern that matches exactly `text`.
    static func literal(_ text: String) -> String {
        var pattern = ""
        for scalar in text.unicodeScalars {
            if scalar.isASCII, !isAlphanumeric(scalar), scalar.value > 0x20 { pattern += "\\" }
            pattern.unicodeScalars.append(scalar)
        }
        return pattern
    }

    private init(_ source: String) {
        self.source = source
        scalars = Array(source.unicodeScalars)
    }

    private static func isAlphanumeric(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar {
        case "0"..."9", "a"..."z", "A"..."Z": true
        default: false
        }
    }

    private var current: Unicode.Scalar? { position < scalars.count ? scalars[position] : nil }

    private mutating func next() -> Unicode.Scalar? {
        guard let scalar = current else { return nil }
        position += 1
        return scalar
    }

    private func startsHere(_ text: String) -> Bool {
        scalars[position...].starts(with: text.unicodeScalars)
    }

    private func unsupported(_ construct: String) -> LaminaError {
        LaminaError(.malformed, "", "the pattern \(quoted(source)) uses \(construct), which is not supported")
    }

    private mutating func translate(_ scalar: Unicode.Scalar) throws(LaminaError) {
        switch scalar {
        case "\\": try translateEscape()
        case "[": try translateClass()
        case "(": try translateGroup()
        case "{": try translateInterval()
        default: result.unicodeScalars.append(scalar)
        }
    }

    private mutating func translateGroup() throws(LaminaError) {
        guard current == "?" else {
            if current == "*" { throw unsupported("(*") }
            result += "("
            return
        }
        for opening in ["?:", "?=", "?!", "?<=", "?<!", "?>", "?i:"] where startsHere(opening) {
            position += opening.unicodeScalars.count
            result += "(" + opening
            return
        }
        throw unsupported("a group of another kind than (?:, (?=, (?!, (?<=, (?<!, (?> or (?i:")
    }

    /// `{n}`, `{n,}` and `{n,m}`, which mean the same in both dialects unless a `+` follows.
    private mutating func translateInterval() throws(LaminaError) {
        var interval = "{"
        while let scalar = next() {
            interval.unicodeScalars.append(scalar)
            if scalar == "}" { break }
            guard ("0"..."9").contains(scalar) || (scalar == "," && interval != "{,") else {
                throw unsupported("'{' other than in {n}, {n,} or {n,m}")
            }
        }
        guard interval.hasSuffix("}"), interval != "{}" else { throw unsupported("'{' without a number") }
        if current == "+" { throw unsupported("{n}+") }
        result += interval
    }

    private mutating func translateClass() throws(LaminaError) {
        result += "["
        if current == "^" {
            position += 1
            result += "^"
        }
        if current == "]" { throw unsupported("']' at the start of a class") }
        while let scalar = next() {
            switch scalar {
            case "]":
                result += "]"
                return
            case "[": throw unsupported("a class inside a class")
            case "&" where current == "&": throw unsupported("an intersection of classes")
            case "\\": try translateEscape()
            default: result.unicodeScalars.append(scalar)
            }
        }
        throw unsupported("a class that does not end")
    }

    private mutating func translateEscape() throws(LaminaError) {
        guard let scalar = next() else { throw unsupported("a backslash at the end") }
        switch scalar {
        case "s": result += "\\p{wspace}"
        case "S": result += "\\P{wspace}"
        case "v": result += "\\x0b"
        case "d", "D", "r", "n", "t", "f", "a", "e": result += "\\" + String(scalar)
        case "p", "P": try translateProperty(scalar)
        case "u": result += "\\x{" + (try digits(4)) + "}"
        case "x": try translateHexadecimal()
        case _ where PatternTranslation.isAlphanumeric(scalar): throw unsupported("\\\(scalar)")
        default:
            // A backslash before anything but a letter or a digit takes its meaning away.
            if scalar.isASCII, scalar.value > 0x20 { result += "\\" }
            result.unicodeScalars.append(scalar)
        }
    }

    private mutating func translateProperty(_ letter: Unicode.Scalar) throws(LaminaError) {
        guard next() == "{" else { throw unsupported("\\\(letter) without braces") }
        var name = ""
        var negation = ""
        if current == "^" {
            position += 1
            negation = "^"
        }
        while let scalar = next(), scalar != "}" {
            guard PatternTranslation.isAlphanumeric(scalar) || scalar == "_" else {
                throw unsupported("a property with the character \(quoted(String(scalar)))")
            }
            name.unicodeScalars.append(scalar)
        }
        // General categories have one or two letters; every longer name is taken for a script.
        let isCategory = name.utf8.count <= 2
        result += "\\" + String(letter) + "{" + negation + (isCategory ? name : "sc:" + name) + "}"
    }

    private mutating func digits(_ count: Int) throws(LaminaError) -> String {
        var digits = ""
        for _ in 0..<count {
            guard let scalar = next(), scalar.properties.isASCIIHexDigit else { throw unsupported("a bad \\u or \\x") }
            digits.unicodeScalars.append(scalar)
        }
        return digits
    }

    private mutating func translateHexadecimal() throws(LaminaError) {
        if current == "{" {
            position += 1
            var digits = ""
            while let scalar = next(), scalar != "}" {
                guard scalar.properties.isASCIIHexDigit, digits.utf8.count < 8 else { throw unsupported("a bad \\x") }
                digits.unicodeScalars.append(scalar)
            }
            result += "\\x{" + digits + "}"
            return
        }
        let code = try digits(2)
        // Oniguruma means a byte, PCRE2 a character; below 0x80 that is the same.
        guard let value = UInt8(code, radix: 16), value < 0x80 else { throw unsupported("\\x above 7F") }
        result += "\\x" + code
    }
}
