import TensorCore

/// What becomes of the parts of a text that match a step's pattern.
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
struct SplitCutter {
    let text: UnsafeBufferPointer<UInt8>
    let isAtStart: Bool
    let behavior: SplitBehavior
    let invert: Bool
    /// Where the last match ended.
    private var end = 0
    /// The piece that may still grow.
    private var pending: Range<Int>?
    private var previousIsMatch = false

    init(text: UnsafeBufferPointer<UInt8>, isAtStart: Bool, behavior: SplitBehavior, invert: Bool) {
        self.text = text
        self.isAtStart = isAtStart
        self.behavior = behavior
        self.invert = invert
    }

    /// Takes the next match.
    @inline(__always)
    mutating func add(_ match: Range<Int>, _ emit: PreTokenizer.Sink) throws(LaminaError) {
        if match.lowerBound > end { try take(end..<match.lowerBound, isMatch: invert, emit) }
        try take(match, isMatch: !invert, emit)
        end = match.upperBound
    }

    /// Cuts what is left after the last match.
    mutating func finish(_ emit: PreTokenizer.Sink) throws(LaminaError) {
        if end < text.count { try take(end..<text.count, isMatch: invert, emit) }
        if let pending { try send(pending, emit) }
    }

    @inline(__always)
    private func send(_ range: Range<Int>, _ emit: PreTokenizer.Sink) throws(LaminaError) {
        if !range.isEmpty {
            try emit(UnsafeBufferPointer(rebasing: text[range]), isAtStart && range.lowerBound == 0)
        }
    }

    @inline(__always)
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
