/// The normalizer of BERT's vocabularies.
struct BertNormalizer: Sendable {
    var cleansText: Bool
    var separatesIdeographs: Bool
    var stripsAccents: Bool
    var lowercases: Bool

    func apply(to text: inout PipelineText) {
        if cleansText { clean(&text) }
        if separatesIdeographs { separate(&text) }
        if stripsAccents {
            if let decomposed = text.bytes.withUnsafeBufferPointer({ NormalizationForm.nfd.applied(to: $0) }) {
                text.bytes = decomposed
            }
            text.keep { !StepKinds.nonspacingMark.contains(scalar: $0) }
        }
        if lowercases { text.lowercase() }
    }

    /// Leaves out control characters and writes all white space as spaces.
    private func clean(_ text: inout PipelineText) {
        text.keep { !StepKinds.control.contains(scalar: $0) }
        text.mapScalars { scalar, output in
            UTF8Text.append(CharacterSet.whitespace.contains(scalar: scalar) ? 0x20 : scalar, to: &output)
        }
    }

    /// Puts spaces around ideographs.
    private func separate(_ text: inout PipelineText) {
        text.mapScalars { scalar, output in
            let isIdeograph = BertNormalizer.isIdeograph(scalar)
            if isIdeograph { output.append(0x20) }
            UTF8Text.append(scalar, to: &output)
            if isIdeograph { output.append(0x20) }
        }
    }

    private static func isIdeograph(_ scalar: UInt32) -> Bool {
        switch scalar {
        case 0x4E00...0x9FFF, 0x3400...0x4DBF, 0x20000...0x2A6DF, 0x2A700...0x2B73F, 0x2B740...0x2B81F,
            0x2B920...0x2CEAF, 0xF900...0xFAFF, 0x2F800...0x2FA1F:
            true
        default: false
        }
    }
}
