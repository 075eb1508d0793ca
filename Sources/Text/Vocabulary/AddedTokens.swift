import TensorCore

/// A token that is found in the text before the pre-tokenizer and the model see it.
struct AddedToken: Sendable {
    var id: Int
    var content: String
    /// Only where no word character touches it.
    var singleWord = false
    /// Takes white space before it along.
    var stripsLeft = false
    /// Takes white space after it along.
    var stripsRight = false
    /// Whether it is looked for in the normalized text rather than in the original.
    var isNormalized = false
    /// Left out when decoding without special tokens.
    var isSpecial = false
}

/// Finds added tokens in text: at the leftmost place the longest, then on from its end.
struct AddedTokens: Sendable {
    /// Longest added token accepted, in bytes: bounds the work at every position of a text.
    static let maximumLength = 512

    /// A part of a text: an added token, or normalized text between.
    enum Part {
        case text(UnsafeBufferPointer<UInt8>, isAtStart: Bool)
        case token(Int)
    }

    /// Receives the parts of a text in order.
    typealias Sink = (Part) throws(LaminaError) -> Void

    private let tokens: [AddedToken]
    /// Indices into `tokens` by id.
    private var indices: [Int: Int] = [:]
    private var ids: [[UInt8]: Int] = [:]
    private let normalizers: [Normalizer]
    private var specialIDs: Set<Int> = []
    /// Those that decoding leaves out: special tokens that decode to the content of a special token.
    private var skippedIDs: Set<Int> = []
    /// What decoding takes for tokens that normalizing changes: the reference implementation decodes what it looks for.
    private var normalizedContents: [Int: [UInt8]] = [:]
    /// Indices into `tokens` by content.
    private var original = ByteTrie()
    /// Indices into `tokens` by normalized content.
    private var normalized = ByteTrie()

    /// `normalizers` are applied to the text between tokens, and to tokens that are looked for in it. Throws `.limit`.
    init(_ tokens: [AddedToken], normalizers: [Normalizer]) throws(LaminaError) {
        self.tokens = tokens
        self.normalizers = normalizers
        for (index, token) in tokens.enumerated() {
            if token.isSpecial { specialIDs.insert(token.id) }
            if indices[token.id] == nil { indices[token.id] = index }
            ids[Array(token.content.utf8)] = token.id
            guard token.isNormalized else {
                original.insert(token.content.utf8, value: index)
                continue
            }
            var text = PipelineText(bytes: Array(token.content.utf8), isAtStart: true)
            for normalizer in normalizers { try normalizer.apply(to: &text) }
            normalized.insert(text.bytes, value: index)
            if !text.bytes.elementsEqual(token.content.utf8) { normalizedContents[token.id] = text.bytes }
        }
        let specialContents = Set(tokens.filter(\.isSpecial).map { Array($0.content.utf8) })
        for token in tokens where specialContents.contains(normalizedContents[token.id] ?? Array(token.content.utf8)) {
            skippedIDs.insert(token.id)
        }
    }

    /// The content of the added token with an id.
    func content(of id: Int) -> String? { indices[id].map { tokens[$0].content } }

    /// The id of an added token.
    func id(of content: String) -> Int? { ids[Array(content.utf8)] }

    /// Whether `id` is a special token.
    func isSpecial(_ id: Int) -> Bool { specialIDs.contains(id) }

    /// Whether decoding without special tokens leaves `id` out.
    func isSkipped(_ id: Int) -> Bool { skippedIDs.contains(id) }

    /// What decoding takes for `id` instead of its token, if that is something else.
    func normalizedContent(of id: Int) -> [UInt8]? {
        normalizedContents.isEmpty ? nil : normalizedContents[id]
    }

    /// Cuts `text`, valid UTF-8, at the added tokens and normalizes what is between. With `specialsAsText`, special
    /// tokens stay text. Throws what `body` throws, and `.limit` if a pattern takes too many steps.
    func split(
        _ text: UnsafeBufferPointer<UInt8>, specialsAsText: Bool, _ body: Sink
    ) throws(LaminaError) {
        try split(text, isAtStart: true, original, specialsAsText) { (part) throws(LaminaError) in
            guard case .text(let text, let isAtStart) = part else { return try body(part) }
            guard !normalizers.isEmpty else {
                return try split(text, isAtStart: isAtStart, normalized, specialsAsText, body)
            }
            var changed = PipelineText(bytes: Array(text), isAtStart: isAtStart)
            for normalizer in normalizers { try normalizer.apply(to: &changed) }
            let isStillAtStart = changed.isAtStart
            try changed.bytes.withUnsafeBufferPointer { (text) throws(LaminaError) in
                try split(text, isAtStart: isStillAtStart, normalized, specialsAsText, body)
            }
        }
    }

    private func split(
        _ text: UnsafeBufferPointer<UInt8>, isAtStart: Bool, _ trie: ByteTrie, _ specialsAsText: Bool, _ body: Sink
    ) throws(LaminaError) {
        guard !text.isEmpty else { return }
        guard !trie.isEmpty else { return try body(.text(text, isAtStart: isAtStart)) }
        var done = 0
        var position = 0
        func send(upTo end: Int) throws(LaminaError) {
            guard done < end else { return }
            try body(.text(UnsafeBufferPointer(rebasing: text[done..<end]), isAtStart: isAtStart && done == 0))
        }
        while let (index, range) = AddedTokens.firstMatch(of: trie, in: text, from: position) {
            position = range.upperBound
            let token = tokens[index]
            if specialsAsText, token.isSpecial { continue }
            if token.singleWord, TextEdges.touchesWord(text, range) { continue }
            var (start, end) = (range.lowerBound, range.upperBound)
            if token.stripsLeft { start = max(TextEdges.spaceStart(text, before: start), done) }
            if token.stripsRight { end = TextEdges.spaceEnd(text, after: end) }
            try send(upTo: start)
            // White space that the token before took along may have been all of it.
            if start < end { try body(.token(token.id)) }
            done = end
        }
        try send(upTo: text.count)
    }

    /// The leftmost match at or after `start`, and of those the longest.
    private static func firstMatch(
        of trie: ByteTrie, in text: UnsafeBufferPointer<UInt8>, from start: Int
    ) -> (index: Int, range: Range<Int>)? {
        var position = start
        while position < text.count {
            if trie.starts(with: text[position]), let (index, end) = trie.longestPrefix(of: text, at: position) {
                return (index, position..<end)
            }
            position += 1
        }
        return nil
    }
}
