import CommandLineSupport
import TensorCore

/// A file of JSON objects, one per line. Errors name file and line, and what is wrong there.
struct JSONLines {
    /// Largest input accepted, in bytes: a bound on memory, far above any set of prompts.
    private static let maximumBytes = 1 << 28
    private static let limits = JSONScanner.Limits(depth: 16, stringBytes: maximumBytes)

    /// The only keys that may occur.
    let keys: [String]
    /// What a line holds, in the plural, and one such line, for people who gave an empty file.
    let contents: String
    let example: String

    /// What `parse` makes of each line of `path`, or of standard input for `-`; empty lines count for nothing. Throws
    /// `.malformed`, also for whatever `parse` calls `.usage`, since it is wrong with the file, not with the command;
    /// `.missing`, `.io`, `.limit`.
    func values<Value>(
        of path: String, _ parse: (JSONObject, _ place: String) throws(LaminaError) -> Value
    ) throws(LaminaError) -> [Value] {
        let name = path == "-" ? "standard input" : path
        var values: [Value] = []
        for (index, line) in try bytes(of: path).split(separator: 0x0A, omittingEmptySubsequences: false).enumerated()
        where !line.allSatisfy({ $0 == 0x20 || $0 == 0x09 || $0 == 0x0D }) {
            let place = "\(name): line \(index + 1)"
            do throws(LaminaError) {
                values.append(try parse(try object(Array(line)), place))
            } catch {
                var error = error
                if error.kind == .usage { error.kind = .malformed }
                throw error.kind == .malformed ? error.about(place) : error
            }
        }
        guard !values.isEmpty else {
            throw LaminaError(
                .malformed, name, "there are no \(contents)", expected: "one JSON object per line",
                hint: "a line is, for example, \(example)")
        }
        return values
    }

    private func bytes(of path: String) throws(LaminaError) -> [UInt8] {
        guard path == "-" else {
            return try RealFileSystem().readWhole(path, limit: JSONLines.maximumBytes)
        }
        return try Console.readAll(limit: JSONLines.maximumBytes)
    }

    private func object(_ bytes: [UInt8]) throws(LaminaError) -> JSONObject {
        let value = try JSONValue.parse(bytes, limits: JSONLines.limits)
        guard let object = value.object else {
            throw LaminaError(.malformed, "", "not a JSON object", found: value.summary)
        }
        // A misspelt key would change what is computed, silently and for hours.
        for (key, _) in object.members where !keys.contains(where: { $0.utf8.elementsEqual(key.utf8) }) {
            throw LaminaError(
                .malformed, "", "unknown key", expected: keys.joined(separator: ", "),
                found: JSONValue.string(key).summary)
        }
        return object
    }
}

extension JSONObject {
    /// What `kind` makes of a member; `nil` if it is not there. Throws `.malformed` if it is of another kind.
    func member<Value>(
        _ key: String, _ expected: String, _ kind: (JSONValue) -> Value?
    ) throws(LaminaError) -> Value? {
        guard let value = self[key] else { return nil }
        guard let result = kind(value) else {
            throw LaminaError(.malformed, "", "bad value for \"\(key)\"", expected: expected, found: value.summary)
        }
        return result
    }

    /// `id`, which is echoed.
    func echoedID() throws(LaminaError) -> JSONValue? {
        try member("id", "a string or a number") { $0.isStringOrNumber ? $0 : nil }
    }

    /// A member that is a list of token ids. Throws `.malformed`.
    func tokenIDs(_ key: String) throws(LaminaError) -> [Int]? {
        try member(key, "an array of token ids") { value -> [Int]? in
            let ids = value.array?.compactMap(\.integer)
            return ids?.count == value.array?.count && ids?.contains { $0 < 0 } == false ? ids : nil
        }
    }
}

extension JSONValue {
    fileprivate var isStringOrNumber: Bool {
        switch self {
        case .string, .number: true
        case .null, .bool, .array, .object: false
        }
    }
}
