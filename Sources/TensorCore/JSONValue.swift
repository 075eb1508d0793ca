/// A parsed JSON document, for files small enough to hold as a tree (configs, manifests, tokenizers).
public enum JSONValue: Sendable {
    case null
    case bool(Bool)
    /// The number's text; `integer` and `double` interpret it.
    case number(String)
    case string(String)
    case array([JSONValue])
    case object(JSONObject)

    /// Parses a whole document. Errors name the byte offset; the caller adds the file (`LaminaError.about`).
    public static func parse(
        _ bytes: [UInt8], limits: JSONScanner.Limits = JSONScanner.Limits()
    ) throws(LaminaError) -> JSONValue {
        var scanner = JSONScanner(bytes, limits: limits)
        let value = try JSONValue(scanning: &scanner)
        try scanner.finish()
        return value
    }

    /// The value that starts where `scanner` stands.
    public init(scanning scanner: inout JSONScanner) throws(LaminaError) {
        switch try scanner.peekKind() {
        case .object:
            var object = JSONObject()
            var names: Set<[UInt8]> = []
            try scanner.scanObject { (key, scanner) throws(LaminaError) in
                guard names.insert(Array(key.utf8)).inserted else {
                    throw scanner.failure("duplicate key \"\(escapedForDisplay(key, limit: 100))\"")
                }
                object.members.append((key, try JSONValue(scanning: &scanner)))
            }
            self = .object(object)
        case .array:
            var elements: [JSONValue] = []
            try scanner.scanArray { (scanner) throws(LaminaError) in
                elements.append(try JSONValue(scanning: &scanner))
            }
            self = .array(elements)
        case .string: self = .string(try scanner.scanString())
        case .number: self = .number(try scanner.scanNumber())
        case .bool: self = .bool(try scanner.scanBool())
        case .null:
            try scanner.scanNull()
            self = .null
        }
    }

    public var string: String? { if case .string(let value) = self { value } else { nil } }
    public var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
    public var array: [JSONValue]? { if case .array(let value) = self { value } else { nil } }
    public var object: JSONObject? { if case .object(let value) = self { value } else { nil } }
    public var isNull: Bool { if case .null = self { true } else { false } }
    /// An integer, if the number is written as one (`4`, not `4.0` or `4e0`) and fits.
    public var integer: Int? { if case .number(let text) = self { Int(text) } else { nil } }
    public var unsignedInteger: UInt64? { if case .number(let text) = self { UInt64(text) } else { nil } }
    /// Any finite number.
    public var double: Double? {
        guard case .number(let text) = self, let value = Double(text), value.isFinite else { return nil }
        return value
    }

    /// What it is, for messages: `string "abc"`, `number 4`, `array`.
    public var summary: String {
        switch self {
        case .null: "null"
        case .bool(let value): String(value)
        case .number(let text): escapedForDisplay(text, limit: 40)
        case .string(let text): "\"" + escapedForDisplay(text, limit: 80) + "\""
        case .array: "an array"
        case .object: "an object"
        }
    }
}

/// A JSON object's members in the order of the file. Keys compare by their UTF-8 bytes: `String`'s own equality
/// follows canonical equivalence and would merge names that a file keeps apart.
public struct JSONObject: Sendable {
    public var members: [(key: String, value: JSONValue)] = []

    public init() {}

    public init(_ members: [(key: String, value: JSONValue)]) {
        self.members = members
    }

    /// The value under `key`, found by a linear search: meant for small objects.
    public subscript(key: String) -> JSONValue? {
        members.first { $0.key.utf8.elementsEqual(key.utf8) }?.value
    }
}
