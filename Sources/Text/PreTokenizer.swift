import TensorCore

/// One step that cuts text into the pieces a model encodes; pieces never merge across a cut.
enum PreTokenizer: Sendable {
    /// Cuts with GPT-2's pattern if `pattern` is given, after putting a space before text that lacks one. What the
    /// reference does besides, writing bytes as characters, happens in the model here.
    case byteLevel(addPrefixSpace: Bool, pattern: Pattern?)
    /// Cuts digits (general category N) off, each on its own or in runs.
    case digits(individual: Bool)
    /// Cuts where a pattern matches.
    case split(Pattern, SplitBehavior, invert: Bool)

    /// GPT-2's pattern, which ByteLevel has built in.
    static let byteLevelPattern =
        #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#

    /// Receives pieces of text.
    typealias Sink = (UnsafeBufferPointer<UInt8>) throws(LaminaError) -> Void

    /// Cuts `text`, valid UTF-8, into non-empty pieces by all `steps` in turn. Throws what `emit` throws, and `.limit`
    /// if a pattern takes too long.
    static func split(
        _ text: UnsafeBufferPointer<UInt8>, by steps: ArraySlice<PreTokenizer>, _ emit: Sink
    ) throws(LaminaError) {
        guard !text.isEmpty else { return }
        guard let step = steps.first else { return try emit(text) }
        try step.split(text) { (piece) throws(LaminaError) in
            try split(piece, by: steps.dropFirst(), emit)
        }
    }

    private func split(_ text: UnsafeBufferPointer<UInt8>, _ emit: Sink) throws(LaminaError) {
        switch self {
        case .byteLevel(let addPrefixSpace, let pattern):
            if addPrefixSpace, text.first != UInt8(ascii: " ") {
                let spaced = [UInt8(ascii: " ")] + text
                try spaced.withUnsafeBufferPointer { (spaced) throws(LaminaError) in
                    try PreTokenizer.isolate(spaced, pattern, emit)
                }
            } else {
                try PreTokenizer.isolate(text, pattern, emit)
            }
        case .digits(let individual):
            try Digits.split(text, individual: individual, emit)
        case .split(let pattern, let behavior, let invert):
            var cutter = SplitCutter(text: text, behavior: behavior, invert: invert)
            try pattern.forEachMatch(in: text) { (match) throws(LaminaError) in try cutter.add(match, emit) }
            try cutter.finish(emit)
        }
    }

    private static func isolate(
        _ text: UnsafeBufferPointer<UInt8>, _ pattern: Pattern?, _ emit: Sink
    ) throws(LaminaError) {
        guard let pattern else { return try emit(text) }
        var cutter = SplitCutter(text: text, behavior: .isolated, invert: false)
        try pattern.forEachMatch(in: text) { (match) throws(LaminaError) in try cutter.add(match, emit) }
        try cutter.finish(emit)
    }
}

/// What becomes of the parts of a text that match a Split's pattern.
enum SplitBehavior: String, CaseIterable, Sendable {
    /// Every match is a piece.
    case isolated = "Isolated"
    /// Matches are left out.
    case removed = "Removed"
    /// Every match ends the piece before it.
    case mergedWithPrevious = "MergedWithPrevious"
    /// Every match begins the piece after it.
    case mergedWithNext = "MergedWithNext"
    /// Adjacent matches are one piece.
    case contiguous = "Contiguous"
}

/// Cuts one text at matches, which arrive in order.
private struct SplitCutter {
    let text: UnsafeBufferPointer<UInt8>
    let behavior: SplitBehavior
    let invert: Bool
    /// Where the last match ended.
    private var end = 0
    /// The piece that may still grow.
    private var pending: Range<Int>?
    private var previousIsMatch = false

    init(text: UnsafeBufferPointer<UInt8>, behavior: SplitBehavior, invert: Bool) {
        self.text = text
        self.behavior = behavior
        self.invert = invert
    }

    mutating func add(_ match: Range<Int>, _ emit: PreTokenizer.Sink) throws(LaminaError) {
        if match.lowerBound > end { try take(end..<match.lowerBound, isMatch: invert, emit) }
        try take(match, isMatch: !invert, emit)
        end = match.upperBound
    }

    mutating func finish(_ emit: PreTokenizer.Sink) throws(LaminaError) {
        if end < text.count { try take(end..<text.count, isMatch: invert, emit) }
        if let pending { try send(pending, emit) }
    }

    private func send(_ range: Range<Int>, _ emit: PreTokenizer.Sink) throws(LaminaError) {
        if !range.isEmpty { try emit(UnsafeBufferPointer(rebasing: text[range])) }
    }

    private mutating func take(_ part: Range<Int>, isMatch: Bool, _ emit: PreTokenizer.Sink) throws(LaminaError) {
        defer { previousIsMatch = isMatch }
        let joins: Bool
        switch behavior {
        case .isolated: return try send(part, emit)
        case .removed: return isMatch ? () : try send(part, emit)
        case .contiguous: joins = isMatch == previousIsMatch
        case .mergedWithPrevious: joins = isMatch && !previousIsMatch
        case .mergedWithNext: joins = !isMatch && previousIsMatch
        }
        if joins, let pending {
            self.pending = pending.lowerBound..<part.upperBound
        } else {
            if let pending { try send(pending, emit) }
            pending = part
        }
    }
}

/// The Digits step.
private enum Digits {
    static func split(
        _ text: UnsafeBufferPointer<UInt8>, individual: Bool, _ emit: PreTokenizer.Sink
    ) throws(LaminaError) {
        var start = 0
        var position = 0
        var runIsDigits = false
        while position < text.count {
            let (isDigit, length) = classify(text, position)
            if position > start, isDigit != runIsDigits || (isDigit && individual) {
                try emit(UnsafeBufferPointer(rebasing: text[start..<position]))
                start = position
            }
            runIsDigits = isDigit
            position += length
        }
        if start < text.count { try emit(UnsafeBufferPointer(rebasing: text[start...])) }
    }

    /// Whether the character at `position` is numeric, and its length in bytes.
    @inline(__always)
    private static func classify(_ text: UnsafeBufferPointer<UInt8>, _ position: Int) -> (Bool, Int) {
        let byte = text[position]
        if byte < 0x80 { return (byte &- UInt8(ascii: "0") < 10, 1) }
        let length = min(byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4, text.count - position)
        var value = UInt32(byte) & (0x7F >> UInt32(length))
        for offset in 1..<length { value = value << 6 | UInt32(text[position + offset] & 0x3F) }
        guard let scalar = Unicode.Scalar(value) else { return (false, length) }
        switch scalar.properties.generalCategory {
        case .decimalNumber, .letterNumber, .otherNumber: return (true, length)
        default: return (false, length)
        }
    }
}
