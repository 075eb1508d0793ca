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
            case .string: try appendLine(try scanner.scanString())
            case .array: try appendPair(scanning: &scanner)
            default: throw malformed("neither a string nor a list of two strings")
            }
        }
    }

    private func malformed(_ problem: String) -> LaminaError {
        LaminaError(.malformed, "", "model.merges[\(count)] is \(problem)")
    }

    private mutating func appendLine(_ line: String) throws(LaminaError) {
        let halves = line.utf8.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
        guard halves.count == 2 else { throw malformed("not two tokens with a space between: \(quoted(line))") }
        try append(Array(halves[0]), Array(halves[1]))
    }

    private mutating func appendPair(scanning scanner: inout JSONScanner) throws(LaminaError) {
        var halves: [[UInt8]] = []
        try scanner.scanArray { (scanner) throws(LaminaError) in
            guard halves.count < 2, try scanner.peekKind() == .string else {
                throw malformed("not a list of two strings")
            }
            halves.append(Array(try scanner.scanString().utf8))
        }
        guard halves.count == 2 else { throw malformed("not a list of two strings") }
        try append(halves[0], halves[1])
    }

    private mutating func append(_ left: [UInt8], _ right: [UInt8]) throws(LaminaError) {
        // Joining nothing to a token would give the same token again, without end.
        guard !left.isEmpty, !right.isEmpty else { throw malformed("a merge with an empty token") }
        merges.append((contents.count, contents.count + left.count))
        contents.append(contentsOf: left)
        contents.append(contentsOf: right)
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
