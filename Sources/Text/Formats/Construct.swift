import TensorCore

/// An object of tokenizer.json read strictly: every key must be asked for or the object is refused, so that an option
/// this version does not know never changes a tokenization silently.
struct Construct {
    /// Where it is, for messages: `pre_tokenizer.pretokenizers[1]`.
    let path: String
    private let object: JSONObject

    /// Throws `.malformed` if `value` is not an object, or has keys other than `keys`.
    init(_ value: JSONValue, _ path: String, keys: [String]) throws(LaminaError) {
        self.init(try Construct.object(value, path), path)
        try allow(keys)
    }

    private init(_ object: JSONObject, _ path: String) {
        self.path = path
        self.object = object
    }

    private static func object(_ value: JSONValue, _ path: String) throws(LaminaError) -> JSONObject {
        guard let object = value.object else {
            throw LaminaError(.malformed, "", "\(path) is not an object", found: value.summary)
        }
        return object
    }

    /// An object with a `type`, and that type, which must be a key of `supported`; the values there are the other
    /// keys it may have. Throws `.malformed`, naming what is supported.
    static func typed(
        _ value: JSONValue, _ path: String, supported: [(type: String, keys: [String])]
    ) throws(LaminaError) -> (type: String, construct: Construct) {
        let construct = Construct(try object(value, path), path)
        let type = try construct.string("type")
        guard let entry = supported.first(where: { $0.type.utf8.elementsEqual(type.utf8) }) else {
            throw LaminaError(
                .malformed, "", "\(path).type \(quoted(type)) is not supported",
                expected: supported.map(\.type).joined(separator: ", "))
        }
        try construct.allow(entry.keys + ["type"])
        return (type, construct)
    }

    private func allow(_ keys: [String]) throws(LaminaError) {
        for (key, value) in object.members where !keys.contains(where: { $0.utf8.elementsEqual(key.utf8) }) {
            throw LaminaError(
                .malformed, "", "\(path).\(escapedForDisplay(key, limit: 80)) = \(value.summary) is not supported",
                expected: "only " + keys.sorted().joined(separator: ", "))
        }
    }

    /// The value of a key; null counts as absent.
    func value(_ key: String) -> JSONValue? {
        guard let value = object[key], !value.isNull else { return nil }
        return value
    }

    private func wrong(_ key: String, _ expected: String) -> LaminaError {
        LaminaError(
            .malformed, "", "\(path).\(key) has the wrong kind of value", expected: expected,
            found: value(key)?.summary ?? "nothing")
    }

    func string(_ key: String) throws(LaminaError) -> String {
        guard let string = value(key)?.string else { throw wrong(key, "a string") }
        return string
    }

    func bool(_ key: String, default fallback: Bool? = nil) throws(LaminaError) -> Bool {
        guard let value = value(key) ?? fallback.map(JSONValue.bool), let bool = value.bool else {
            throw wrong(key, "true or false")
        }
        return bool
    }

    func integer(_ key: String) throws(LaminaError) -> Int {
        guard let integer = value(key)?.integer else { throw wrong(key, "an integer") }
        return integer
    }

    func array(_ key: String) throws(LaminaError) -> [JSONValue] {
        guard let array = value(key)?.array else { throw wrong(key, "an array") }
        return array
    }

    /// A string of one character.
    func character(_ key: String) throws(LaminaError) -> UInt32 {
        let scalars = try string(key).unicodeScalars
        guard let scalar = scalars.first, scalars.count == 1 else { throw wrong(key, "one character") }
        return scalar.value
    }

    /// The elements of an array with their paths.
    func elements(_ key: String) throws(LaminaError) -> [(JSONValue, String)] {
        try array(key).enumerated().map { ($0.element, "\(path).\(key)[\($0.offset)]") }
    }

    /// How deep Sequences may nest; published tokenizers nest them once.
    private static let maximumDepth = 8

    /// Fails if Sequences nest too deep.
    static func checkDepth(_ depth: Int, _ path: String) throws(LaminaError) {
        guard depth <= maximumDepth else {
            throw LaminaError(.malformed, "", "\(path): Sequences nest deeper than \(maximumDepth)")
        }
    }

    /// The members of an object whose keys are names rather than options.
    func members(_ key: String) throws(LaminaError) -> [(key: String, value: JSONValue)] {
        guard let object = value(key)?.object else { throw wrong(key, "an object") }
        return object.members
    }

    /// Fails unless the value is absent or one of those that change nothing.
    func requireNeutral(_ key: String, _ isNeutral: (JSONValue) -> Bool) throws(LaminaError) {
        guard let value = value(key), !isNeutral(value) else { return }
        throw LaminaError(.malformed, "", "\(path).\(key) = \(value.summary) is not supported", expected: "null")
    }
}
