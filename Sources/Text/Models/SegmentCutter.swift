/// Cuts text where no token reaches across, which changes nothing in what a model makes of it but lets short segments
/// be looked up: vocabularies made from words need not search through sentences.
///
/// The two characters of every place inside a token are noted in a bitmap; where the text has two others, every merge
/// ends. Pairs that share a bit only lose an opportunity.
struct SegmentCutter: Sendable {
    private static let bitCount = 1 << 21

    private var bits = [UInt64](repeating: 0, count: SegmentCutter.bitCount / 64)

    /// Notes the places inside `token`, valid UTF-8.
    mutating func note(_ token: UnsafeBufferPointer<UInt8>) {
        var previous: UInt32?
        UTF8Text.forEachScalar(token) { scalar, _ in
            if let previous {
                let bit = SegmentCutter.bit(previous, scalar)
                bits[bit >> 6] |= 1 << UInt64(bit & 63)
            }
            previous = scalar
        }
    }

    @inline(__always)
    private static func bit(_ left: UInt32, _ right: UInt32) -> Int {
        let hash = (UInt64(left) << 32 | UInt64(right)) &* 0x9E37_79B9_7F4A_7C15
        return Int(truncatingIfNeeded: hash >> 43) & (bitCount - 1)
    }

    /// Calls `body` with the segments of `text`, valid UTF-8. Only what `starts` says may start a segment does.
    @inline(__always)
    func forEachSegment(
        of text: UnsafeBufferPointer<UInt8>, starts: (UInt32) -> Bool, _ body: (UnsafeBufferPointer<UInt8>) -> Void
    ) {
        guard !text.isEmpty else { return }
        var start = 0
        var (previous, position) = UTF8Text.scalar(text, at: 0)
        while position < text.count {
            let (scalar, length) = UTF8Text.scalar(text, at: position)
            let bit = SegmentCutter.bit(previous, scalar)
            if bits[bit >> 6] >> UInt64(bit & 63) & 1 == 0, starts(scalar) {
                body(UnsafeBufferPointer(rebasing: text[start..<position]))
                start = position
            }
            previous = scalar
            position += length
        }
        body(UnsafeBufferPointer(rebasing: text[start...]))
    }
}
