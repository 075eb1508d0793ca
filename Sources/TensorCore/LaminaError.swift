/// What went wrong, where, and what to do about it: fields first, rendered once at the edge of a program.
public struct LaminaError: Error, Sendable, Equatable {
    /// The class of a failure; each has one exit code.
    public enum Kind: Int32, Sendable {
        /// A bug in Lamina.
        case unexpected = 1
        /// A store's bytes are not what they were when it was written.
        case damaged = 3
        /// The command line asks for something impossible.
        case usage = 64
        /// Input that is malformed, contradictory or not supported.
        case malformed = 65
        /// Input that is not there.
        case missing = 66
        /// More memory, or larger sizes, than allowed.
        case limit = 70
        /// The output cannot be created, or exists already.
        case cannotCreate = 73
        /// An operating-system call failed.
        case io = 74
        /// Somebody else holds the destination.
        case locked = 75

        /// The process exit status, after sysexits(3).
        public var exitCode: Int32 { rawValue }
    }

    public var kind: Kind
    /// The file, folder or option concerned; empty if there is none.
    public var subject: String
    /// What is wrong, lower-case, without a full stop.
    public var problem: String
    public var expected: String?
    public var found: String?
    /// One action that helps.
    public var hint: String?
    /// Where inside the file, if known.
    public var tensor: String?
    public var layer: String?
    /// Offsets into the file, in bytes.
    public var bytes: ByteRange?

    public init(
        _ kind: Kind, _ subject: String, _ problem: String, expected: String? = nil, found: String? = nil,
        hint: String? = nil, layer: String? = nil, tensor: String? = nil, bytes: ByteRange? = nil
    ) {
        self.kind = kind
        self.subject = subject
        self.problem = problem
        self.expected = expected
        self.found = found
        self.hint = hint
        self.layer = layer
        self.tensor = tensor
        self.bytes = bytes
    }

    /// The same error, said of `subject`.
    public func about(_ subject: String) -> LaminaError {
        var error = self
        error.subject = subject
        return error
    }
}

extension LaminaError: CustomStringConvertible {
    /// `FILE: layer L: tensor T: what (bytes a..<b); expected X, found Y`, control characters escaped, without the hint.
    public var description: String {
        var parts: [String] = []
        if !subject.isEmpty { parts.append(escapedForDisplay(subject)) }
        if let layer { parts.append("layer \(escapedForDisplay(layer))") }
        if let tensor { parts.append("tensor \(escapedForDisplay(tensor))") }
        var text = escapedForDisplay(problem)
        if let bytes { text += " (bytes \(bytes.lowerBound)..<\(bytes.upperBound))" }
        if let expected { text += "; expected \(escapedForDisplay(expected))" }
        if let found { text += (expected == nil ? "; found " : ", found ") + escapedForDisplay(found) }
        parts.append(text)
        return parts.joined(separator: ": ")
    }
}

/// `text` with control characters as `\u{..}` and at most `limit` characters, so that names out of untrusted files
/// cannot steer a terminal or flood a log.
public func escapedForDisplay(_ text: String, limit: Int = 600) -> String {
    var result = ""
    var count = 0
    for scalar in text.unicodeScalars {
        if count == limit {
            return result + "…"
        }
        count += 1
        let isControl = scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value)
        // Bidirectional overrides and line separators can hide what a name really is.
        let isDeceptive =
            (0x202A...0x202E).contains(scalar.value) || (0x2066...0x2069).contains(scalar.value)
            || (0x2028...0x2029).contains(scalar.value)
        if isControl || isDeceptive {
            result += "\\u{" + String(scalar.value, radix: 16) + "}"
        } else {
            result.unicodeScalars.append(scalar)
        }
    }
    return result
}
