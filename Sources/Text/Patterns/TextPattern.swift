import TensorCore

/// What a step looks for in text: a regular expression, or a fixed text, which needs no regular expression.
enum TextPattern: Sendable {
    case literal([UInt8])
    case expression(Pattern)
    case scanner(PieceScanner)

    /// Calls `body` with every match in `text`, valid UTF-8, in order. Throws what `body` throws, and `.limit` if a
    /// match takes too many steps.
    func forEachMatch(
        in text: UnsafeBufferPointer<UInt8>, _ body: (Range<Int>) throws(LaminaError) -> Void
    ) throws(LaminaError) {
        switch self {
        case .expression(let pattern): try pattern.forEachMatch(in: text, body)
        case .scanner(let scanner): try scanner.forEachMatch(in: text, body)
        case .literal(let literal): try TextPattern.forEach(literal, in: text, body)
        }
    }

    private static func forEach(
        _ literal: [UInt8], in text: UnsafeBufferPointer<UInt8>, _ body: (Range<Int>) throws(LaminaError) -> Void
    ) throws(LaminaError) {
        let first = literal[0]
        let last = text.count - literal.count
        var position = 0
        while position <= last {
            if text[position] == first,
                literal.count == 1 || text[position..<(position + literal.count)].elementsEqual(literal)
            {
                try body(position..<(position + literal.count))
                position += literal.count
            } else {
                position += 1
            }
        }
    }
}
