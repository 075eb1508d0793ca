import TensorCore

/// The merges of a byte-pair encoding as the file lists them, in rising rank.
struct MergeList: Sendable {
    /// Both halves of every merge, one after the other.
    private var contents: [UInt8] = []
    private var merges: [(start: Int, middle: Int)] = []

    /// Where the tokens of a merge are.
    struct Merge {
        var left: Range<Int>
        var right: Range<Int>
        var joined: Range<Int>
    }

    var count: Int { merges.count }

    /// Reads `model.merges`: strings of two tokens with a space between, or lists of two tokens. Throws `.malformed`.
    init(scanning scanner: inout JSONScanner) throws(LaminaError) {
        guard try scanner.peekKind() == .array else {
            throw LaminaError(.malformed, "", "model.merges is not an array")
        }
        try scanner.scanArray { (scanner) throws(LaminaError) in
            switch try scanner.peekKind() {
            case .string: try appendLine(scanning: &scanner)
            case .array: try appendPair(scanning: &scanner)
            default: throw malformed("neither a string nor a list of two strings")
            }
        }
    }

    private func malformed(_ problem: String) -> LaminaError {
        LaminaError(.malformed, "", "model.merges[\(count)] is \(problem)")
    }

    private mutating func appendLine(scanning scanner: inout JSONScanner) throws(LaminaError) {
        let start = contents.count
        try scanner.scanString(into: &contents)
        if contents[start...].starts(with: "#version".utf8) { return contents.removeSubrange(start...) }
        var space: Int?
        for position in start..<contents.count where contents[position] == UInt8(ascii: " ") {
            guard space == nil else { throw notTwoTokens(start) }
            space = position
        }
        guard let space else { throw notTwoTokens(start) }
        contents.remove(at: space)
        try append(start, space)
    }

    private func notTwoTokens(_ start: Int) -> LaminaError {
        malformed("not two tokens with a space between: \(quoted(String(decoding: contents[start...], as: UTF8.self)))")
    }

    private mutating func appendPair(scanning scanner: inout JSONScanner) throws(LaminaError) {
        let start = contents.count
        var middle = start
        var count = 0
        try scanner.scanArray { (scanner) throws(LaminaError) in
            guard count < 2, try scanner.peekKind() == .string else {
                throw malformed("not a list of two strings")
            }
            if count == 1 { middle = contents.count }
            try scanner.scanString(into: &contents)
            count += 1
        }
        guard count == 2 else { throw malformed("not a list of two strings") }
        try append(start, middle)
    }

    private mutating func append(_ start: Int, _ middle: Int) throws(LaminaError) {
        // Joining nothing to a token would give the same token again, without end.
        guard start < middle, middle < contents.count else { throw malformed("a merge with an empty token") }
        merges.append((start, middle))
    }

    func merge(at rank: Int) -> Merge {
        let (start, middle) = merges[rank]
        let end = rank + 1 < merges.count ? merges[rank + 1].start : contents.count
        return Merge(left: start..<middle, right: middle..<end, joined: start..<end)
    }

    func withToken<Result>(_ range: Range<Int>, _ body: (UnsafeBufferPointer<UInt8>) -> Result) -> Result {
        contents.withUnsafeBufferPointer { body(UnsafeBufferPointer(rebasing: $0[range])) }
    }
}
