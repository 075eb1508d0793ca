/// Text out of ids that arrive one at a time, never cutting a character: what may still change with the next id is
/// held back. The parts in order, with what `finish` returns, are the text of all ids.
///
/// The rule is that of the reference implementation's stream: a part comes out when the text has grown and does not
/// end in U+FFFD. It decodes a window of the last ids rather than single ids, which is right for decoders that look
/// at neighbours, too.
public struct StreamingDetokenizer: Sendable {
    /// Most ids held back: text that never becomes whole characters comes out as it is, so that the work per id is
    /// bounded. No character has so many bytes, and no byte more than one id.
    private static let mostHeldBack = 256

    private let tokenizer: Tokenizer
    private let skipSpecialTokens: Bool
    /// The ids of the last part that came out, then those held back.
    private var window: [Int] = []
    /// How many of `window` came out already.
    private var emittedCount = 0
    /// The text of those.
    private var emittedText: [UInt8] = []

    /// A stream that starts empty.
    public init(_ tokenizer: Tokenizer, skipSpecialTokens: Bool) {
        self.tokenizer = tokenizer
        self.skipSpecialTokens = skipSpecialTokens
    }

    /// Takes the next id. Returns the text that is final now, or `nil` if there is none yet.
    public mutating func append(_ id: Int) -> String? {
        if emittedText.isEmpty, emittedCount < window.count, decodedWindow().isEmpty {
            // Ids without text need not be looked at again.
            emittedCount = window.count
        }
        window.append(id)
        let text = decodedWindow()
        let isWhole = !text.suffix(3).elementsEqual([0xEF, 0xBF, 0xBD])
        let isFull = window.count - emittedCount > StreamingDetokenizer.mostHeldBack
        guard text.count > emittedText.count, isWhole || isFull else {
            if isFull { window.removeLast(window.count - emittedCount) }
            return nil
        }
        let part = newPart(of: text)
        window.removeFirst(emittedCount)
        emittedCount = window.count
        emittedText = decodedWindow()
        return part
    }

    /// Returns what was held back, incomplete characters replaced by U+FFFD, and starts again.
    public mutating func finish() -> String {
        let part = newPart(of: decodedWindow())
        window = []
        emittedCount = 0
        emittedText = []
        return part
    }

    private func decodedWindow() -> [UInt8] {
        Array(tokenizer.decode(window[...], skipSpecialTokens: skipSpecialTokens).utf8)
    }

    /// What `text` has beyond what came out. A decoder that takes back what it made of earlier ids, as the one for byte
    /// tokens does when they turn out to be no character, makes this start where the two part.
    private func newPart(of text: [UInt8]) -> String {
        if text.starts(with: emittedText) { return String(decoding: text[emittedText.count...], as: UTF8.self) }
        var common = zip(text, emittedText).prefix { $0 == $1 }.count
        while common > 0, common < text.count, text[common] & 0xC0 == 0x80 { common -= 1 }
        return String(decoding: text[common...], as: UTF8.self)
    }
}
