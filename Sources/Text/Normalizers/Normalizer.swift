import TensorCore

/// Text on its way through the steps of a tokenizer.
struct PipelineText {
    /// Valid UTF-8.
    var bytes: [UInt8]
    /// Whether the first character stands where the whole text begins: some steps treat that place differently.
    var isAtStart: Bool
}

/// One step that changes text before it is cut.
enum Normalizer: Sendable {
    case form(NormalizationForm)
    case lowercase
    /// Takes white space off the ends.
    case strip(left: Bool, right: Bool)
    /// Leaves out all combining marks.
    case stripAccents
    /// Puts text in front of text that is not empty.
    case prepend([UInt8])
    case replace(TextPattern, with: [UInt8])
    /// SentencePiece's tidying of control characters and white space for machine translation.
    case machineTranslation
    case bert(BertNormalizer)
    /// Writes bytes as the characters that stand for them.
    case byteLevel
    case sentencePiece(SentencePieceNormalizer)

    /// Changes `text`. Throws `.limit` if a pattern takes too many steps.
    func apply(to text: inout PipelineText) throws(LaminaError) {
        guard !text.bytes.isEmpty else { return }
        switch self {
        case .form(let form):
            if let changed = text.bytes.withUnsafeBufferPointer({ form.applied(to: $0) }) { text.bytes = changed }
        case .lowercase: text.mapScalars(Normalizer.lowercase)
        case .strip(let left, let right): text.strip(left: left, right: right)
        case .stripAccents: text.keep { !StepKinds.mark.contains(scalar: $0) }
        case .prepend(let prefix): text.bytes.insert(contentsOf: prefix, at: 0)
        case .replace(let pattern, let replacement): try text.replace(pattern, with: replacement)
        case .machineTranslation: text.tidyForMachineTranslation()
        case .bert(let normalizer): normalizer.apply(to: &text)
        case .byteLevel:
            text.bytes = text.bytes.withUnsafeBufferPointer { ByteLevelAlphabet.encoded($0) }
        case .sentencePiece(let normalizer):
            text.bytes = text.bytes.withUnsafeBufferPointer { normalizer.normalized($0) }
        }
    }

    /// Appends the lower-case form of a character whatever stands around it.
    fileprivate static func lowercase(_ scalar: UInt32, _ output: inout [UInt8]) {
        guard scalar >= 0x80, let value = Unicode.Scalar(scalar) else {
            let isUppercase = scalar >= 0x41 && scalar <= 0x5A
            return UTF8Text.append(isUppercase ? scalar + 0x20 : scalar, to: &output)
        }
        for scalar in value.properties.lowercaseMapping.unicodeScalars { UTF8Text.append(scalar.value, to: &output) }
    }
}

extension PipelineText {
    /// Replaces every character by what `body` appends.
    mutating func mapScalars(_ body: (UInt32, inout [UInt8]) -> Void) {
        var output: [UInt8] = []
        output.reserveCapacity(bytes.count + 16)
        bytes.withUnsafeBufferPointer { UTF8Text.forEachScalar($0) { scalar, _ in body(scalar, &output) } }
        bytes = output
    }

    /// Leaves out the characters that `isKept` is false for.
    mutating func keep(_ isKept: (UInt32) -> Bool) {
        if let first = bytes.withUnsafeBufferPointer({ $0.isEmpty ? nil : UTF8Text.scalar($0, at: 0).value }) {
            isAtStart = isAtStart && isKept(first)
        }
        mapScalars { scalar, output in if isKept(scalar) { UTF8Text.append(scalar, to: &output) } }
    }

    mutating func lowercase() { mapScalars(Normalizer.lowercase) }

    fileprivate mutating func strip(left: Bool, right: Bool) {
        bytes.withUnsafeBufferPointer { text in
            let start = left ? TextEdges.spaceEnd(text, after: 0) : 0
            let end = right ? max(TextEdges.spaceStart(text, before: text.count), start) : text.count
            return start == 0 && end == text.count ? nil : start..<end
        }.map { (range: Range<Int>) in
            isAtStart = isAtStart && range.lowerBound == 0
            bytes = Array(bytes[range])
        }
    }

    fileprivate mutating func replace(_ pattern: TextPattern, with replacement: [UInt8]) throws(LaminaError) {
        var output: [UInt8] = []
        output.reserveCapacity(bytes.count + 16)
        var end = 0
        var removesStart = false
        try bytes.withUnsafeBufferPointer { (text) throws(LaminaError) in
            try pattern.forEachMatch(in: text) { (match) throws(LaminaError) in
                output.append(contentsOf: text[end..<match.lowerBound])
                output.append(contentsOf: replacement)
                if match.lowerBound == 0, !match.isEmpty, replacement.isEmpty { removesStart = true }
                end = match.upperBound
            }
            output.append(contentsOf: text[end...])
        }
        isAtStart = isAtStart && !removesStart
        bytes = output
    }

    fileprivate mutating func tidyForMachineTranslation() {
        keep { scalar in
            switch scalar {
            case 0x01...0x08, 0x0B, 0x0E...0x1F, 0x7F, 0x8F, 0x9F: false
            default: true
            }
        }
        mapScalars { scalar, output in
            switch scalar {
            case 0x09, 0x0A, 0x0C, 0x0D, 0x1680, 0x200B...0x200F, 0x2028, 0x2029, 0x2581, 0xFEFF, 0xFFFD:
                output.append(0x20)
            default: UTF8Text.append(scalar, to: &output)
            }
        }
    }
}
