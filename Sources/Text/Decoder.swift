import TensorCore

/// Turns ids back into text: the bytes of the tokens one after the other, what is not UTF-8 replaced by U+FFFD.
struct Decoder: Sendable {
    /// The bytes of all tokens, one after the other by rising id.
    private var contents: [UInt8] = []
    /// Where the bytes of each id start, and one more.
    private var starts: [Int] = [0]

    /// Reads `decoder`: a ByteLevel, or a Sequence of just one. Throws `.malformed` for anything else.
    init(_ value: JSONValue?, _ vocabulary: Vocabulary) throws(LaminaError) {
        guard let value else {
            throw LaminaError(.malformed, "", "decoder is missing, which is not supported", expected: "ByteLevel")
        }
        try Decoder.requireByteLevel(value, "decoder", isNested: false)
        starts.reserveCapacity(vocabulary.size + 1)
        for id in 0..<vocabulary.size {
            if let bytes = vocabulary.withToken(of: id, { ByteLevelAlphabet.decoded($0) }) {
                contents.append(contentsOf: bytes)
            }
            starts.append(contents.count)
        }
    }

    private static func requireByteLevel(
        _ value: JSONValue, _ path: String, isNested: Bool
    ) throws(LaminaError) {
        let byteLevel = (type: "ByteLevel", keys: ["add_prefix_space", "trim_offsets", "use_regex"])
        let sequence = (type: "Sequence", keys: ["decoders"])
        let (type, construct) = try Construct.typed(
            value, path, supported: isNested ? [byteLevel] : [byteLevel, sequence])
        guard type == "Sequence" else { return }
        let decoders = try construct.array("decoders")
        guard decoders.count == 1 else {
            throw LaminaError(
                .malformed, "", "\(path).decoders with \(decoders.count) decoders is not supported",
                expected: "one ByteLevel")
        }
        try requireByteLevel(decoders[0], path + ".decoders[0]", isNested: true)
    }

    /// The bytes of a token; none if there is no such id.
    func bytes(of id: Int) -> ArraySlice<UInt8> {
        guard id >= 0, id < starts.count - 1 else { return [] }
        return contents[starts[id]..<starts[id + 1]]
    }
}
