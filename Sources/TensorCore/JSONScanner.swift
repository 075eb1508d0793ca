/// A strict pull parser for JSON (RFC 8259) out of untrusted files.
///
/// It refuses what lenient parsers let pass: duplicate keys (checked by `JSONValue` and by callers that stream),
/// lone surrogates, invalid UTF-8, leading zeros, trailing text, nesting beyond a limit. Numbers stay text until a
/// caller says what kind it wants, so `4.0` and `1e3` never pass as integers. Errors carry the byte offset.
public struct JSONScanner {
    /// What a value starts with.
    public enum Kind: Sendable { case object, array, string, number, bool, null }

    /// Bounds that hold whatever the input says.
    public struct Limits: Sendable {
        public var depth: Int
        public var stringBytes: Int

        public init(depth: Int = 64, stringBytes: Int = 1 << 20) {
            self.depth = depth
            self.stringBytes = stringBytes
        }
    }

    public let bytes: [UInt8]
    public private(set) var position = 0
    private let limits: Limits
    private var depth = 0

    /// Scans `bytes` from `start` on; offsets in errors count from the first byte.
    public init(_ bytes: [UInt8], from start: Int = 0, limits: Limits = Limits()) {
        self.bytes = bytes
        position = start
        self.limits = limits
    }

    /// An error at `offset` (default: here); the caller names the file.
    public func failure(_ problem: String, at offset: Int? = nil) -> LaminaError {
        LaminaError(.malformed, "", "invalid JSON at byte \(offset ?? position): \(problem)")
    }

    private var current: UInt8? { position < bytes.count ? bytes[position] : nil }

    public mutating func skipWhitespace() {
        while position < bytes.count {
            switch bytes[position] {
            case 0x20, 0x09, 0x0A, 0x0D: position += 1
            default: return
            }
        }
    }

    /// The kind of the value that starts here, after white space.
    public mutating func peekKind() throws(LaminaError) -> Kind {
        skipWhitespace()
        guard let byte = current else { throw failure("the text ends where a value should start") }
        switch byte {
        case UInt8(ascii: "{"): return .object
        case UInt8(ascii: "["): return .array
        case UInt8(ascii: "\""): return .string
        case UInt8(ascii: "t"), UInt8(ascii: "f"): return .bool
        case UInt8(ascii: "n"): return .null
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return .number
        default: throw failure("no value can start with this character")
        }
    }

    /// Calls `member` for every member, the scanner standing before its value, which `member` must consume.
    public mutating func scanObject(
        _ member: (_ key: String, _ scanner: inout JSONScanner) throws(LaminaError) -> Void
    ) throws(LaminaError) {
        try scanMembers { (scanner) throws(LaminaError) in
            let key = try scanner.scanString()
            try scanner.scanColon()
            try member(key, &scanner)
        }
    }

    /// Calls `member` for every member, the scanner standing before its key.
    private mutating func scanMembers(
        _ member: (_ scanner: inout JSONScanner) throws(LaminaError) -> Void
    ) throws(LaminaError) {
        try enter("{")
        skipWhitespace()
        if consume("}") {
            depth -= 1
            return
        }
        while true {
            skipWhitespace()
            try member(&self)
            skipWhitespace()
            if consume(",") { continue }
            guard consume("}") else { throw failure("expected ',' or '}'") }
            depth -= 1
            return
        }
    }

    private mutating func scanColon() throws(LaminaError) {
        skipWhitespace()
        guard consume(":") else { throw failure("expected ':' after a key") }
    }

    /// Calls `element` for every element, which it must consume.
    public mutating func scanArray(
        _ element: (_ scanner: inout JSONScanner) throws(LaminaError) -> Void
    ) throws(LaminaError) {
        try enter("[")
        skipWhitespace()
        if consume("]") {
            depth -= 1
            return
        }
        while true {
            try element(&self)
            skipWhitespace()
            if consume(",") { continue }
            guard consume("]") else { throw failure("expected ',' or ']'") }
            depth -= 1
            return
        }
    }

    private mutating func enter(_ bracket: Unicode.Scalar) throws(LaminaError) {
        skipWhitespace()
        guard consume(bracket) else { throw failure("expected '\(bracket)'") }
        depth += 1
        guard depth <= limits.depth else { throw failure("nesting is deeper than \(limits.depth)") }
    }

    private mutating func consume(_ character: Unicode.Scalar) -> Bool {
        guard current == UInt8(ascii: character) else { return false }
        position += 1
        return true
    }

    /// A number's text, exactly as written.
    public mutating func scanNumber() throws(LaminaError) -> String {
        String(decoding: try scanNumberBytes(), as: UTF8.self)
    }

    /// The same as bytes.
    public mutating func scanNumberBytes() throws(LaminaError) -> ArraySlice<UInt8> {
        skipWhitespace()
        let start = position
        if current == UInt8(ascii: "-") { position += 1 }
        guard let first = current, isDigit(first) else { throw failure("expected a number") }
        position += 1
        if first == UInt8(ascii: "0") {
            if let next = current, isDigit(next) { throw failure("a number has a leading zero") }
        } else {
            skipDigits()
        }
        if current == UInt8(ascii: ".") {
            position += 1
            try requireDigits()
        }
        if current == UInt8(ascii: "e") || current == UInt8(ascii: "E") {
            position += 1
            if current == UInt8(ascii: "+") || current == UInt8(ascii: "-") { position += 1 }
            try requireDigits()
        }
        return bytes[start..<position]
    }

    private func isDigit(_ byte: UInt8) -> Bool { byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9") }

    private mutating func skipDigits() {
        while let byte = current, isDigit(byte) { position += 1 }
    }

    private mutating func requireDigits() throws(LaminaError) {
        guard let byte = current, isDigit(byte) else { throw failure("expected a digit") }
        skipDigits()
    }

    /// `true` or `false`.
    public mutating func scanBool() throws(LaminaError) -> Bool {
        if try scanLiteral("true") { return true }
        if try scanLiteral("false") { return false }
        throw failure("expected true or false")
    }

    public mutating func scanNull() throws(LaminaError) {
        guard try scanLiteral("null") else { throw failure("expected null") }
    }

    private mutating func scanLiteral(_ literal: StaticString) throws(LaminaError) -> Bool {
        skipWhitespace()
        let count = literal.utf8CodeUnitCount
        guard bytes.count - position >= count else { return false }
        for index in 0..<count where bytes[position + index] != literal.utf8Start[index] { return false }
        position += count
        return true
    }

    /// Fails unless only white space is left.
    public mutating func finish() throws(LaminaError) {
        skipWhitespace()
        guard position == bytes.count else { throw failure("text after the end of the document") }
    }

    /// Consumes one value of any kind, checking its syntax.
    public mutating func skipValue() throws(LaminaError) {
        switch try peekKind() {
        case .object:
            try scanObjectBytes { (_, scanner) throws(LaminaError) in try scanner.skipValue() }
        case .array:
            try scanArray { (scanner) throws(LaminaError) in try scanner.skipValue() }
        case .string: try skipString()
        case .number: _ = try scanNumberBytes()
        case .bool: _ = try scanBool()
        case .null: try scanNull()
        }
    }
}

extension JSONScanner {
    /// A string's value.
    public mutating func scanString() throws(LaminaError) -> String {
        skipWhitespace()
        return String(decoding: try scanStringBytes(), as: UTF8.self)
    }

    /// Appends the bytes of a string's value, which are valid UTF-8, to `output`: for files with a great many strings,
    /// whose `String`s would cost more than reading them.
    public mutating func scanString(into output: inout [UInt8]) throws(LaminaError) {
        skipWhitespace()
        output.append(contentsOf: try scanStringBytes())
    }

    private mutating func skipString() throws(LaminaError) {
        skipWhitespace()
        _ = try scanStringBytes()
    }

    /// The bytes of the string that starts here; they are copied only if there are escapes.
    private mutating func scanStringBytes() throws(LaminaError) -> ArraySlice<UInt8> {
        guard let plain = try scanPlainString() else { return try scanEscapedString()[...] }
        try checkUTF8(plain)
        return bytes[plain]
    }

    /// Like `scanObject` with the bytes of every key, which are valid UTF-8, instead of a `String`.
    public mutating func scanObjectBytes(
        _ member: (_ key: ArraySlice<UInt8>, _ scanner: inout JSONScanner) throws(LaminaError) -> Void
    ) throws(LaminaError) {
        try scanMembers { (scanner) throws(LaminaError) in
            let key = try scanner.scanStringBytes()
            try scanner.scanColon()
            try member(key, &scanner)
        }
    }

    /// Fails at the first byte that is not UTF-8. Escapes are ASCII and stand for whole characters, so a string's text
    /// may be checked as written.
    private func checkUTF8(_ range: Range<Int>) throws(LaminaError) {
        let isASCII = bytes.withUnsafeBufferPointer { bytes in
            range.allSatisfy { bytes[$0] < 0x80 }
        }
        if isASCII || String(validating: bytes[range], as: UTF8.self) != nil { return }
        var position = range.lowerBound
        while position < range.upperBound {
            let lead = bytes[position]
            let end = position + (lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4)
            guard end <= range.upperBound, String(validating: bytes[position..<end], as: UTF8.self) != nil else {
                break
            }
            position = end
        }
        throw failure("a string is not valid UTF-8", at: position)
    }

    /// Where the value of a string without escapes is; `nil`, before the string, if it has some.
    private mutating func scanPlainString() throws(LaminaError) -> Range<Int>? {
        let opening = position
        guard consume("\"") else { throw failure("expected a string") }
        let start = position
        let end = bytes.withUnsafeBufferPointer { bytes in
            var end = start
            while end < bytes.count, bytes[end] != UInt8(ascii: "\""), bytes[end] != UInt8(ascii: "\\"),
                bytes[end] >= 0x20
            { end += 1 }
            return end
        }
        position = end
        guard end - start <= limits.stringBytes else {
            throw failure("a string is longer than \(limits.stringBytes) bytes", at: start)
        }
        if consume("\"") { return start..<end }
        if let byte = current, byte < 0x20 { throw failure("a string has an unescaped control character") }
        position = opening
        return nil
    }

    private mutating func scanEscapedString() throws(LaminaError) -> [UInt8] {
        position += 1
        let start = position
        var text: [UInt8] = []
        while let byte = current {
            position += 1
            switch byte {
            case UInt8(ascii: "\""):
                try checkUTF8(start..<(position - 1))
                return text
            case UInt8(ascii: "\\"):
                try scanEscape(into: &text)
            default:
                guard byte >= 0x20 else { throw failure("a string has an unescaped control character") }
                text.append(byte)
            }
            guard text.count <= limits.stringBytes else {
                throw failure("a string is longer than \(limits.stringBytes) bytes", at: start)
            }
        }
        throw failure("a string does not end", at: start)
    }

    private mutating func scanEscape(into text: inout [UInt8]) throws(LaminaError) {
        guard let byte = current else { throw failure("a string does not end") }
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(byte)
        case UInt8(ascii: "b"): text.append(0x08)
        case UInt8(ascii: "f"): text.append(0x0C)
        case UInt8(ascii: "n"): text.append(0x0A)
        case UInt8(ascii: "r"): text.append(0x0D)
        case UInt8(ascii: "t"): text.append(0x09)
        case UInt8(ascii: "u"): try scanUnicodeEscape(into: &text)
        default: throw failure("unknown escape", at: position - 1)
        }
    }

    private mutating func scanUnicodeEscape(into text: inout [UInt8]) throws(LaminaError) {
        let start = position - 2
        var code = try scanHexadecimal()
        if (0xD800...0xDBFF).contains(code) {
            guard consume("\\"), consume("u") else { throw failure("lone surrogate in a string", at: start) }
            let low = try scanHexadecimal()
            guard (0xDC00...0xDFFF).contains(low) else { throw failure("lone surrogate in a string", at: start) }
            code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
        }
        guard let scalar = Unicode.Scalar(code) else { throw failure("lone surrogate in a string", at: start) }
        text.append(contentsOf: UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter)
    }

    private mutating func scanHexadecimal() throws(LaminaError) -> UInt32 {
        var code: UInt32 = 0
        for _ in 0..<4 {
            let digit: UInt8
            switch current {
            case .some(let byte) where isDigit(byte): digit = byte - UInt8(ascii: "0")
            case .some(let byte) where (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte | 0x20):
                digit = (byte | 0x20) - UInt8(ascii: "a") + 10
            default: throw failure("expected four hexadecimal digits")
            }
            code = code << 4 | UInt32(digit)
            position += 1
        }
        return code
    }
}
