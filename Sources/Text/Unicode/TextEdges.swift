/// White space and word characters beside a place in a text.
enum TextEdges {
    /// Whether a word character stands right before or after `range`.
    static func touchesWord(_ text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>) -> Bool {
        if range.lowerBound > 0, isWord(UTF8Text.scalar(text, before: range.lowerBound).value) { return true }
        return range.upperBound < text.count && isWord(UTF8Text.scalar(text, at: range.upperBound).value)
    }

    /// Where the white space that ends at `end` starts.
    static func spaceStart(_ text: UnsafeBufferPointer<UInt8>, before end: Int) -> Int {
        var position = end
        while position > 0 {
            let (scalar, length) = UTF8Text.scalar(text, before: position)
            guard CharacterSet.whitespace.contains(scalar: scalar) else { break }
            position -= length
        }
        return position
    }

    /// Where the white space that starts at `start` ends.
    static func spaceEnd(_ text: UnsafeBufferPointer<UInt8>, after start: Int) -> Int {
        var position = start
        while position < text.count {
            let (scalar, length) = UTF8Text.scalar(text, at: position)
            guard CharacterSet.whitespace.contains(scalar: scalar) else { break }
            position += length
        }
        return position
    }

    /// `\w` of Unicode's regular expressions (UTS #18).
    static func isWord(_ scalar: UInt32) -> Bool {
        if scalar < 0x80 {
            let letter = scalar | 0x20
            return letter >= 0x61 && letter <= 0x7A || scalar >= 0x30 && scalar <= 0x39 || scalar == 0x5F
        }
        // Swift may know characters that the reference does not.
        guard let value = Unicode.Scalar(scalar), !CharacterSet.unassigned.contains(scalar: scalar) else {
            return false
        }
        switch value.properties.generalCategory {
        case .nonspacingMark, .spacingMark, .enclosingMark, .decimalNumber, .connectorPunctuation: return true
        default: return value.properties.isAlphabetic || value.properties.isJoinControl
        }
    }
}
