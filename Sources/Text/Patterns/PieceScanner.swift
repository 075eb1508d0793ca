import TensorCore

/// The patterns that published tokenizers cut text with, matched by hand: as exact as the reference whatever PCRE2's
/// Unicode version, linear in time, and quicker. Each is known by its exact text.
enum PieceScanner: Sendable {
    /// GPT-2, which `ByteLevel` has built in.
    case words
    /// Llama 3 and GLM-4 (`digits` 3), Qwen (`digits` 1).
    case wordsWithPrefix(digits: Int)
    /// GPT-4o and Phi-4-mini.
    case wordsByCase
    /// DeepSeek-V3, the last of its three.
    case wordsAfterPunctuation
    /// Runs of up to so many digits.
    case digits(Int)
    /// DeepSeek-V3's runs of Chinese and Japanese characters.
    case ideographs

    private static let contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    private static let spaces = #"\s*[\r\n]+|\s+(?!\S)|\s+"#
    private static let prefixed = contractions + #"|[^\r\n\p{L}\p{N}]?\p{L}+|"#

    private static let known: [(pattern: String, scanner: PieceScanner)] = [
        (#"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#, .words),
        (prefixed + #"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"# + spaces, .wordsWithPrefix(digits: 3)),
        (prefixed + #"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"# + spaces, .wordsWithPrefix(digits: 1)),
        (
            #"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"# + contractions
                + #"?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"# + contractions
                + #"?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|"# + spaces, .wordsByCase
        ),
        (
            ##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^"## + "\r\n"
                + #"\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+["# + "\r\n" + #"]*|\s*["# + "\r\n"
                + #"]+|\s+(?!\S)|\s+"#, .wordsAfterPunctuation
        ),
        (#"\p{N}{1,3}"#, .digits(3)), (#"\p{N}"#, .digits(1)),
        ("[\u{4E00}-\u{9FA5}\u{3040}-\u{309F}\u{30A0}-\u{30FF}]+", .ideographs),
    ]

    /// The scanner for a pattern; `nil` if it is not one of the known ones.
    init?(pattern: String) {
        let entry = PieceScanner.known.first { $0.pattern.utf8.elementsEqual(pattern.utf8) }
        guard let entry else { return nil }
        self = entry.scanner
    }

    /// Calls `body` with every match in `text`, valid UTF-8, in order. Throws what `body` throws.
    func forEachMatch(
        in text: UnsafeBufferPointer<UInt8>, _ body: (Range<Int>) throws(LaminaError) -> Void
    ) throws(LaminaError) {
        try CharacterSet.kinds.withUnsafeBufferPointer { (kinds) throws(LaminaError) in
            let reader = CharacterReader(text: text, kinds: kinds)
            var position = 0
            while position < text.count {
                let end = end(of: reader, at: position)
                if end > position {
                    try body(position..<end)
                    position = end
                } else {
                    position += UTF8Text.length(text[position])
                }
            }
        }
    }

    /// Where the match that starts at `position` ends; `position` itself if none does.
    @inline(__always)
    private func end(of reader: CharacterReader, at position: Int) -> Int {
        switch self {
        case .words: reader.endOfWord(at: position)
        case .wordsWithPrefix(let digits): reader.endOfPrefixedWord(at: position, digits: digits)
        case .wordsByCase: reader.endOfCasedWord(at: position)
        case .wordsAfterPunctuation: reader.endAfterPunctuation(at: position)
        case .digits(let count): reader.end(of: .numbers, from: position, atMost: count)
        case .ideographs: reader.endOfIdeographs(at: position)
        }
    }
}

/// Reads one text character by character.
private struct CharacterReader {
    let text: UnsafeBufferPointer<UInt8>
    let kinds: UnsafeBufferPointer<UInt8>

    /// The sets of the character at `position`, none at the end, and where it ends.
    @inline(__always)
    func character(at position: Int) -> (set: CharacterSet, end: Int) {
        guard position < text.count else { return ([], position) }
        let byte = text[position]
        if byte < 0x80 { return (CharacterSet(kind: kinds[Int(byte)]), position + 1) }
        let (scalar, length) = UTF8Text.scalar(text, at: position)
        return (CharacterSet(kind: kinds[Int(scalar)]), position + length)
    }

    /// The byte at `position`, 0 at the end.
    @inline(__always)
    func byte(at position: Int) -> UInt8 { position < text.count ? text[position] : 0 }

    /// Where the run of characters in `set` that starts at `start` ends.
    @inline(__always)
    func end(of set: CharacterSet, from start: Int, atMost limit: Int = .max) -> Int {
        var position = start
        var count = 0
        while count < limit {
            let (found, next) = character(at: position)
            guard found.meets(set) else { break }
            position = next
            count += 1
        }
        return position
    }

    /// Where the run of characters outside `set` ends.
    @inline(__always)
    func end(outside set: CharacterSet, from start: Int) -> Int {
        var position = start
        while position < text.count {
            let (found, next) = character(at: position)
            guard !found.meets(set) else { break }
            position = next
        }
        return position
    }

    @inline(__always)
    func endOfLineBreaks(from start: Int, orSlash: Bool = false) -> Int {
        var position = start
        while position < text.count {
            let byte = text[position]
            guard byte == 0x0A || byte == 0x0D || orSlash && byte == 0x2F else { break }
            position += 1
        }
        return position
    }

    /// `'s`, `'t`, `'re`, `'ve`, `'m`, `'ll` or `'d`; `ignoringCase` lets capitals and the long s match.
    @inline(__always)
    func endOfContraction(at position: Int, ignoringCase: Bool) -> Int {
        guard byte(at: position) == UInt8(ascii: "'") else { return position }
        let fold: UInt8 = ignoringCase ? 0x20 : 0
        let first = byte(at: position + 1) | fold
        switch first {
        case UInt8(ascii: "s"), UInt8(ascii: "t"), UInt8(ascii: "m"), UInt8(ascii: "d"): return position + 2
        case UInt8(ascii: "r"), UInt8(ascii: "v"):
            return byte(at: position + 2) | fold == UInt8(ascii: "e") ? position + 3 : position
        case UInt8(ascii: "l"):
            return byte(at: position + 2) | fold == UInt8(ascii: "l") ? position + 3 : position
        default:
            let isLongS = ignoringCase && byte(at: position + 1) == 0xC5 && byte(at: position + 2) == 0xBF
            return isLongS ? position + 3 : position
        }
    }

    /// `\s*[\r\n]+|\s+(?!\S)|\s+`, or without the first alternative.
    @inline(__always)
    func endOfSpaces(at start: Int, cutsAfterLineBreaks: Bool) -> Int {
        var position = start
        var lastStart = start
        var afterBreak = start
        while position < text.count {
            let (set, next) = character(at: position)
            guard set.meets(.whitespace) else { break }
            lastStart = position
            if text[position] == 0x0A || text[position] == 0x0D { afterBreak = next }
            position = next
        }
        if cutsAfterLineBreaks, afterBreak > start { return afterBreak }
        // The last space of several goes to what follows them.
        return position == text.count || lastStart == start ? position : lastStart
    }

    func endOfWord(at position: Int) -> Int {
        let contraction = endOfContraction(at: position, ignoringCase: false)
        if contraction > position { return contraction }
        let start = text[position] == 0x20 ? position + 1 : position
        let (set, next) = character(at: start)
        if start < text.count {
            if set.meets(.letters) { return end(of: .letters, from: next) }
            if set.meets(.numbers) { return end(of: .numbers, from: next) }
            if !set.meets(.whitespace) { return end(outside: [.whitespace, .letters, .numbers], from: next) }
        }
        return endOfSpaces(at: position, cutsAfterLineBreaks: false)
    }

    func endOfPrefixedWord(at position: Int, digits: Int) -> Int {
        let contraction = endOfContraction(at: position, ignoringCase: true)
        if contraction > position { return contraction }
        let (set, next) = character(at: position)
        if set.meets(.letters) { return end(of: .letters, from: next) }
        if set.meets(.numbers) { return end(of: .numbers, from: position, atMost: digits) }
        if text[position] != 0x0A, text[position] != 0x0D {
            let end = end(of: .letters, from: next)
            if end > next { return end }
        }
        return endOfPunctuation(at: position, set, next, orSlash: false)
    }

    /// ` ?[^\s\p{L}\p{N}]+[\r\n]*` and white space, for a character that is neither letter nor number.
    @inline(__always)
    private func endOfPunctuation(at position: Int, _ set: CharacterSet, _ next: Int, orSlash: Bool) -> Int {
        let start = text[position] == 0x20 ? next : position
        let end = end(outside: [.whitespace, .letters, .numbers], from: start)
        if end > start { return endOfLineBreaks(from: end, orSlash: orSlash) }
        return endOfSpaces(at: position, cutsAfterLineBreaks: true)
    }

    func endOfCasedWord(at position: Int) -> Int {
        let (set, next) = character(at: position)
        let isNumber = set.meets(.numbers)
        let mayPrefix = !set.meets(.letters) && !isNumber && text[position] != 0x0A && text[position] != 0x0D
        for endsInLowercase in [true, false] {
            if mayPrefix {
                let end = endOfLetters(from: next, endsInLowercase)
                if end > next { return endOfContraction(at: end, ignoringCase: true) }
            }
            let end = endOfLetters(from: position, endsInLowercase)
            if end > position { return endOfContraction(at: end, ignoringCase: true) }
        }
        if isNumber { return end(of: .numbers, from: position, atMost: 3) }
        return endOfPunctuation(at: position, set, next, orSlash: true)
    }

    private static let upper = CharacterSet.letters.union(.marks).subtracting(.lowercase)
    private static let lower = CharacterSet.letters.union(.marks).subtracting(.capitals)

    /// Upper-case letters and then lower-case ones; characters without case count as both. At least one of the latter
    /// if `endsInLowercase`, else of the former. `start` if there is none.
    @inline(__always)
    private func endOfLetters(from start: Int, _ endsInLowercase: Bool) -> Int {
        var position = start
        // Behind the last character that may also be one of the lower-case ones.
        var caseless = start
        while true {
            let (set, next) = character(at: position)
            guard set.meets(CharacterReader.upper) else { break }
            position = next
            if set.meets(CharacterReader.lower) { caseless = next }
        }
        let end = end(of: CharacterReader.lower, from: position)
        if endsInLowercase { return end > position ? end : caseless }
        return position > start ? end : start
    }

    func endAfterPunctuation(at position: Int) -> Int {
        let byte = text[position]
        let (set, next) = character(at: position)
        let isPunctuation = set.meets([.punctuation, .symbols])
        if byte < 0x80, isPunctuation {
            var end = next
            while end < text.count, (text[end] | 0x20) &- 0x61 < 26 { end += 1 }
            if end > next { return end }
        }
        let words = CharacterSet.letters.union(.marks)
        if set.meets(words) { return end(of: words, from: next) }
        if !isPunctuation, byte != 0x0A, byte != 0x0D {
            let end = end(of: words, from: next)
            if end > next { return end }
        }
        let start = byte == 0x20 ? next : position
        let end = end(of: [.punctuation, .symbols], from: start)
        if end > start { return endOfLineBreaks(from: end) }
        return set.meets(.whitespace) ? endOfSpaces(at: position, cutsAfterLineBreaks: true) : position
    }

    func endOfIdeographs(at start: Int) -> Int {
        var position = start
        while position < text.count, text[position] >= 0xE0 {
            let (scalar, length) = UTF8Text.scalar(text, at: position)
            guard (0x4E00...0x9FA5).contains(scalar) || (0x3040...0x30FF).contains(scalar) else { break }
            position += length
        }
        return position
    }
}
