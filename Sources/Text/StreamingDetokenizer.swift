/// Text out of ids that arrive one at a time, never cutting a character: what may still change with the next id is
/// held back. The parts in order, with what `finish` returns, are the text of all ids.
///
/// The rule is that of the reference implementation's stream: a part comes out when the text has grown and does not
/// end in U+FFFD. It decodes a window of the last ids rather than single ids, which is right for decoders that look
/// at neighbours, too.
public struct StreamingDetokenizer: Sendable {
    private let tokenizer: Tokenizer
    private let skipSpecialTokens: Bool
    /// The ids of the last part that came out, then those held back.
    private var window: [Int] = []
    /// How many of `window` came out already.
    private var emittedCount = 0
    /// The text of those.
    private var emittedText = ""

    /// A stream that starts empty.
    public init(_ tokenizer: Tokenizer, skipSpecialTokens: Bool) {
        self.tokenizer = tokenizer
        self.skipSpecialTokens = skipSpecialTokens
    }

    /// Takes the next id. Returns the text that is final now, or `nil` if there is none yet.
    public mutating func append(_ id: Int) -> String? {
        window.append(id)
        let text = tokenizer.decode(window[...], skipSpecialTokens: skipSpecialTokens)
        guard text.utf8.count > emittedText.utf8.count, text.unicodeScalars.last != "\u{FFFD}" else { return nil }
        let part = newPart(of: text)
        window.removeFirst(emittedCount)
        emittedCount = window.count
        emittedText = tokenizer.decode(window[...], skipSpecialTokens: skipSpecialTokens)
        return part
    }

    /// Returns what was held back, incomplete characters replaced by U+FFFD, and starts again.
    public mutating func finish() -> String {
        let part = newPart(of: tokenizer.decode(window[...], skipSpecialTokens: skipSpecialTokens))
        window = []
        emittedCount = 0
        emittedText = ""
        return part
    }

    private func newPart(of text: String) -> String {
        String(decoding: text.utf8.dropFirst(emittedText.utf8.count), as: UTF8.self)
    }
}
