import TensorCore

extension Decoder {
    private static let options: [(type: String, keys: [String])] = [
        ("ByteLevel", ["add_prefix_space", "trim_offsets", "use_regex"]), ("ByteFallback", []), ("Fuse", []),
        ("Strip", ["content", "start", "stop"]), ("Replace", ["pattern", "content"]),
        ("Metaspace", ["replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep"]),
        ("Sequence", ["decoders"]),
    ]

    /// Reads `decoder`. Throws `.malformed` for what is not supported.
    init(_ value: JSONValue?) throws(LaminaError) {
        guard let value else {
            self = .spaced
            return
        }
        var steps: [DecoderStep] = []
        try Decoder.append(value, "decoder", to: &steps, depth: 0)
        self = .steps(steps)
    }

    private static func append(
        _ value: JSONValue, _ path: String, to steps: inout [DecoderStep], depth: Int
    ) throws(LaminaError) {
        try Construct.checkDepth(depth, path)
        let (type, construct) = try Construct.typed(value, path, supported: options)
        switch type {
        case "ByteLevel": steps.append(.byteLevel)
        case "ByteFallback": steps.append(.byteFallback)
        case "Fuse": steps.append(.fuse)
        case "Replace":
            steps.append(
                .replace(try TextPattern(construct), with: Array(try construct.string("content").utf8)))
        case "Metaspace":
            let metaspace = try Metaspace(construct)
            steps.append(
                .metaspace(replacement: metaspace.replacement, dropsFirst: metaspace.prependScheme != .never))
        case "Strip": steps.append(try strip(construct))
        default:
            for (element, path) in try construct.elements("decoders") {
                try append(element, path, to: &steps, depth: depth + 1)
            }
        }
    }

    private static func strip(_ construct: Construct) throws(LaminaError) -> DecoderStep {
        var content: [UInt8] = []
        UTF8Text.append(try construct.character("content"), to: &content)
        let (start, stop) = (try construct.integer("start"), try construct.integer("stop"))
        guard (0...Int(Int32.max)).contains(start), (0...Int(Int32.max)).contains(stop) else {
            throw LaminaError(
                .malformed, "", "\(construct.path) strips a number of characters that is out of range",
                found: "\(start) and \(stop)")
        }
        return .strip(content: content, start: start, stop: stop)
    }
}
