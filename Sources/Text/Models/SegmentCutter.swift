/// Cuts text where no token reaches across, which changes nothing in what a model makes of it but lets short segments
/// be looked up: vocabularies made from words need not search through sentences.
///
/// The two characters of every place inside a token are noted in a bitmap; where the text has two others, every merge
/// ends. Pairs that share a bit only lose an opportunity.
struct SegmentCutter: Sendable {
    private static let bitCount = 1 << 21

    /// Whether text may be cut at all: not if other symbols than characters merge.
    var isUsable = true
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

    /// Calls `body` with the segments of `text`, valid UTF-8. Next to a character that is not `known` there is no cut:
    /// what becomes of it may depend on what follows.
    @inline(__always)
    func forEachSegment(
        of text: UnsafeBufferPointer<UInt8>, known: (UInt32) -> Bool, body: (UnsafeBufferPointer<UInt8>) -> Void
    ) {
        guard !text.isEmpty else { return }
        guard isUsable else { return body(text) }
        var start = 0
        var (previous, position) = UTF8Text.scalar(text, at: 0)
        var previousIsKnown = known(previous)
        while position < text.count {
            let (scalar, length) = UTF8Text.scalar(text, at: position)
            let bit = SegmentCutter.bit(previous, scalar)
            let isKnown = known(scalar)
            if isKnown, previousIsKnown, bits[bit >> 6] >> UInt64(bit & 63) & 1 == 0 {
                body(UnsafeBufferPointer(rebasing: text[start..<position]))
                start = position
            }
            previous = scalar
            previousIsKnown = isKnown
            position += length
        }
        body(UnsafeBufferPointer(rebasing: text[start...]))
    }
}
