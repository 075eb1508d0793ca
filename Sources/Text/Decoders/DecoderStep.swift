import TensorCore

/// One step on the way from tokens to text; between steps there is a list of texts that are joined at the end.
enum DecoderStep: Sendable {
    /// Joins all tokens into the bytes they stand for.
    case byteLevel
    /// Joins adjacent tokens like `<0x0A>` into the characters their bytes make.
    case byteFallback
    /// Joins all texts into one.
    case fuse
    /// Takes up to so many of a character off the ends of every text.
    case strip(content: [UInt8], start: Int, stop: Int)
    case replace(TextPattern, with: [UInt8])
    /// Writes a character as a space, and leaves it out in the first text unless it is never put in front.
    case metaspace(replacement: [UInt8], dropsFirst: Bool)

    /// Replaces `texts` by what the step makes of them. Throws `.limit` if a pattern takes too many steps.
    func apply(to texts: inout [[UInt8]]) throws(LaminaError) {
        switch self {
        case .byteLevel:
            var bytes: [UInt8] = []
            for text in texts { text.withUnsafeBufferPointer { ByteLevelAlphabet.appendDecoded($0, to: &bytes) } }
            texts = [Array(String(decoding: bytes, as: UTF8.self).utf8)]
        case .byteFallback: texts = DecoderStep.joiningBytes(texts)
        case .fuse: texts = [Array(texts.joined())]
        case .strip(let content, let start, let stop):
            for index in texts.indices { DecoderStep.strip(&texts[index], content, start, stop) }
        case .replace(let pattern, let replacement):
            for index in texts.indices { try DecoderStep.replace(in: &texts[index], pattern, replacement) }
        case .metaspace(let replacement, let dropsFirst):
            for index in texts.indices {
                let written: [UInt8] = index == 0 && dropsFirst ? [] : [UInt8(ascii: " ")]
                try DecoderStep.replace(in: &texts[index], .literal(replacement), written)
            }
        }
    }

    private static func joiningBytes(_ texts: [[UInt8]]) -> [[UInt8]] {
        var output: [[UInt8]] = []
        var bytes: [UInt8] = []
        func flush() {
            guard !bytes.isEmpty else { return }
            if String(validating: bytes, as: UTF8.self) != nil {
                output.append(bytes)
            } else {
                // None of the bytes is kept, not even those that are characters by themselves.
                output += [[UInt8]](repeating: Array("\u{FFFD}".utf8), count: bytes.count)
            }
            bytes = []
        }
        for text in texts {
            if let byte = ByteTokens.byte(of: text) {
                bytes.append(byte)
            } else {
                flush()
                output.append(text)
            }
        }
        flush()
        return output
    }

    private static func strip(_ text: inout [UInt8], _ content: [UInt8], _ start: Int, _ stop: Int) {
        var rest = text[...]
        for _ in 0..<start {
            guard rest.starts(with: content) else { break }
            rest = rest.dropFirst(content.count)
        }
        for _ in 0..<stop {
            guard rest.count >= content.count, rest.suffix(content.count).elementsEqual(content) else { break }
            rest = rest.dropLast(content.count)
        }
        if rest.count < text.count { text = Array(rest) }
    }

    private static func replace(
        in text: inout [UInt8], _ pattern: TextPattern, _ replacement: [UInt8]
    ) throws(LaminaError) {
        var output = PipelineText(bytes: text, isAtStart: false)
        try Normalizer.replace(pattern, with: replacement).apply(to: &output)
        text = output.bytes
    }
}
