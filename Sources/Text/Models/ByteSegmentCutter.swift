/// Cuts text where no token of a vocabulary of byte strings reaches across, as `SegmentCutter` does for one of
/// characters: writing without spaces comes in long pieces, of which few occur twice.
///
/// A token may begin or end inside a character, so at every boundary between characters all suffixes of the one before
/// and all prefixes of the one after are looked up.
struct ByteSegmentCutter: Sendable {
    private static let bitCount = 1 << 21

    private var bits = [UInt64](repeating: 0, count: ByteSegmentCutter.bitCount / 64)

    @inline(__always)
    private static func isContinuation(_ byte: UInt8) -> Bool { byte & 0xC0 == 0x80 }

    /// Notes the places inside `token` where a character starts.
    mutating func note(_ token: UnsafeBufferPointer<UInt8>) {
        for position in 1..<max(token.count, 1) where !ByteSegmentCutter.isContinuation(token[position]) {
            var left: UInt32 = 0
            var start = position
            repeat {
                start -= 1
                left = left << 8 | UInt32(token[start])
            } while start > 0 && position - start < 4 && ByteSegmentCutter.isContinuation(token[start])
            var right: UInt32 = 0
            let end = min(position + UTF8Text.length(token[position]), token.count)
            for index in position..<end { right = right << 8 | UInt32(token[index]) }
            let bit = ByteSegmentCutter.bit(left, right)
            bits[bit >> 6] |= 1 << UInt64(bit & 63)
        }
    }

    @inline(__always)
    private static func bit(_ left: UInt32, _ right: UInt32) -> Int {
        let hash = (UInt64(left) << 32 | UInt64(right)) &* 0x9E37_79B9_7F4A_7C15
        return Int(truncatingIfNeeded: hash >> 43) & (bitCount - 1)
    }

    /// Whether a token may reach across `boundary`, where a character starts.
    @inline(__always)
    private func mayCross(_ text: UnsafeBufferPointer<UInt8>, _ boundary: Int) -> Bool {
        let end = boundary + UTF8Text.length(text[boundary])
        var left: UInt32 = 0
        var start = boundary
        repeat {
            start -= 1
            left = left << 8 | UInt32(text[start])
            var right: UInt32 = 0
            for index in boundary..<end {
                right = right << 8 | UInt32(text[index])
                let bit = ByteSegmentCutter.bit(left, right)
                if bits[bit >> 6] >> UInt64(bit & 63) & 1 != 0 { return true }
            }
        } while start > 0 && ByteSegmentCutter.isContinuation(text[start])
        return false
    }

    /// Calls `body` with the segments of `text`, valid UTF-8.
    @inline(__always)
    func forEachSegment(of text: UnsafeBufferPointer<UInt8>, _ body: (UnsafeBufferPointer<UInt8>) -> Void) {
        guard !text.isEmpty else { return }
        var start = 0
        var position = UTF8Text.length(text[0])
        while position < text.count {
            if !mayCross(text, position) {
                body(UnsafeBufferPointer(rebasing: text[start..<position]))
                start = position
            }
            position += UTF8Text.length(text[position])
        }
        body(UnsafeBufferPointer(rebasing: text[start...]))
    }
}
