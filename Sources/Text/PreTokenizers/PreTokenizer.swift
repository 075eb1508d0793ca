import TensorCore

/// One step that cuts text into the pieces a model encodes; pieces never merge across a cut.
enum PreTokenizer: Sendable {
    /// Cuts with a pattern if one is given, after putting a space before text that lacks one. With `encodes` it then
    /// writes bytes as the characters that stand for them; a byte-level model spares that.
    case byteLevel(addsPrefixSpace: Bool, pattern: TextPattern?, encodes: Bool)
    /// Cuts where a pattern matches.
    case split(TextPattern, SplitBehavior, invert: Bool)
    /// Cuts at characters of some kind.
    case characters(CharacterKind, SplitBehavior)
    case metaspace(Metaspace)
    /// Leaves white space out, and makes every punctuation mark a piece.
    case bert
    /// Words, and what stands between them and white space.
    case wordsAndSymbols

    /// Receives pieces of text, and whether they stand at the start of the whole text.
    typealias Sink = (UnsafeBufferPointer<UInt8>, Bool) throws(LaminaError) -> Void

    /// Cuts `text`, valid UTF-8, into non-empty pieces by all `steps` in turn. Throws what `emit` throws, and `.limit`
    /// if a pattern takes too long.
    static func split(
        _ text: UnsafeBufferPointer<UInt8>, _ isAtStart: Bool, by steps: ArraySlice<PreTokenizer>, _ emit: Sink
    ) throws(LaminaError) {
        guard !text.isEmpty else { return }
        guard let step = steps.first else { return try emit(text, isAtStart) }
        let rest = steps.dropFirst()
        try step.split(text, isAtStart) { (piece, isAtStart) throws(LaminaError) in
            try split(piece, isAtStart, by: rest, emit)
        }
    }

    private func split(
        _ text: UnsafeBufferPointer<UInt8>, _ isAtStart: Bool, _ emit: Sink
    ) throws(LaminaError) {
        switch self {
        case .byteLevel(let addsPrefixSpace, let pattern, let encodes):
            try PreTokenizer.splitByteLevel(text, isAtStart, addsPrefixSpace, pattern, encodes, emit)
        case .split(let pattern, let behavior, let invert):
            try PreTokenizer.cut(text, isAtStart, pattern, behavior, invert: invert, emit)
        case .characters(let kind, let behavior):
            var cutter = SplitCutter(text: text, isAtStart: isAtStart, behavior: behavior, invert: false)
            try kind.forEachMatch(in: text) { (match) throws(LaminaError) in try cutter.add(match, emit) }
            try cutter.finish(emit)
        case .metaspace(let metaspace):
            try metaspace.split(text, isAtStart, emit)
        case .bert:
            let steps: [PreTokenizer] = [.characters(.whitespace, .removed), .characters(.punctuation, .isolated)]
            try PreTokenizer.split(text, isAtStart, by: steps[...], emit)
        case .wordsAndSymbols:
            try PreTokenizer.splitWords(text, isAtStart, emit)
        }
    }

    private static func splitByteLevel(
        _ text: UnsafeBufferPointer<UInt8>, _ isAtStart: Bool, _ addsPrefixSpace: Bool, _ pattern: TextPattern?,
        _ encodes: Bool, _ emit: Sink
    ) throws(LaminaError) {
        if addsPrefixSpace, text.first != UInt8(ascii: " ") {
            let spaced = [UInt8(ascii: " ")] + text
            return try spaced.withUnsafeBufferPointer { (spaced) throws(LaminaError) in
                try splitByteLevel(spaced, isAtStart, false, pattern, encodes, emit)
            }
        }
        func write(_ piece: UnsafeBufferPointer<UInt8>, _ isAtStart: Bool) throws(LaminaError) {
            guard encodes else { return try emit(piece, isAtStart) }
            let encoded = ByteLevelAlphabet.encoded(piece)
            try encoded.withUnsafeBufferPointer { (encoded) throws(LaminaError) in try emit(encoded, isAtStart) }
        }
        guard let pattern else { return try write(text, isAtStart) }
        try cut(text, isAtStart, pattern, .isolated, invert: false, write)
    }

    private static func cut(
        _ text: UnsafeBufferPointer<UInt8>, _ isAtStart: Bool, _ pattern: TextPattern, _ behavior: SplitBehavior,
        invert: Bool, _ emit: Sink
    ) throws(LaminaError) {
        var cutter = SplitCutter(text: text, isAtStart: isAtStart, behavior: behavior, invert: invert)
        try pattern.forEachMatch(in: text) { (match) throws(LaminaError) in try cutter.add(match, emit) }
        try cutter.finish(emit)
    }

    /// Runs of word characters, and runs of characters that are neither that nor white space.
    private static func splitWords(
        _ text: UnsafeBufferPointer<UInt8>, _ isAtStart: Bool, _ emit: Sink
    ) throws(LaminaError) {
        func kind(_ scalar: UInt32) -> Int {
            TextEdges.isWord(scalar) ? 0 : CharacterSet.whitespace.contains(scalar: scalar) ? 1 : 2
        }
        var position = 0
        while position < text.count {
            let start = position
            let (first, length) = UTF8Text.scalar(text, at: position)
            position += length
            while position < text.count {
                let (scalar, length) = UTF8Text.scalar(text, at: position)
                guard kind(scalar) == kind(first) else { break }
                position += length
            }
            if kind(first) != 1 {
                try emit(UnsafeBufferPointer(rebasing: text[start..<position]), isAtStart && start == 0)
            }
        }
    }
}

/// Characters that a step cuts at, one by one.
enum CharacterKind: Sendable {
    case numbers
    case punctuation
    case whitespace
    case only(UInt32)

    private func contains(_ scalar: UInt32) -> Bool {
        switch self {
        case .numbers: CharacterSet.numbers.contains(scalar: scalar)
        case .whitespace: CharacterSet.whitespace.contains(scalar: scalar)
        case .only(let wanted): scalar == wanted
        case .punctuation: StepKinds.punctuation.contains(scalar: scalar)
        }
    }

    /// Calls `body` with every such character of `text`. Throws what `body` throws.
    func forEachMatch(
        in text: UnsafeBufferPointer<UInt8>, _ body: (Range<Int>) throws(LaminaError) -> Void
    ) throws(LaminaError) {
        var position = 0
        while position < text.count {
            let (scalar, length) = UTF8Text.scalar(text, at: position)
            if contains(scalar) { try body(position..<(position + length)) }
            position += length
        }
    }
}
