/// Ends a text at the first of some strings, of which nothing comes out: what may still become one is held back.
///
/// It takes the parts of a text as a `StreamingDetokenizer` gives them. Where the text ends does not depend on how it is
/// divided: it is before the string that is complete first, of several at the same place before the longest.
public struct StopStrings: Sendable {
    private let strings: [[UInt8]]
    /// The end of the text so far that begins one of the strings.
    private var held: [UInt8] = []
    /// Whether one of the strings has come.
    public private(set) var hasStopped = false

    /// Empty strings never stop anything.
    public init(_ strings: [String]) {
        // The longest first, so that it wins.
        self.strings = strings.map { Array($0.utf8) }.filter { !$0.isEmpty }.sorted { $0.count > $1.count }
    }

    /// Takes the next part of the text. Returns what is final now; nothing after a stop.
    public mutating func append(_ part: String) -> String {
        guard !strings.isEmpty else { return part }
        var final: [UInt8] = []
        for byte in part.utf8 where !hasStopped {
            held.append(byte)
            if let string = strings.first(where: { held.suffix($0.count).elementsEqual($0) }) {
                hasStopped = true
                final += held.dropLast(string.count)
                held = []
            } else {
                let kept = longestBeginning()
                final += held.dropLast(kept)
                held.removeFirst(held.count - kept)
            }
        }
        // A string begins with a whole character, so what is held back does, too.
        return String(decoding: final, as: UTF8.self)
    }

    /// The length of the longest end of `held` that begins one of the strings.
    private func longestBeginning() -> Int {
        for count in stride(from: held.count, to: 0, by: -1) {
            let end = held.suffix(count)
            if strings.contains(where: { $0.count > count && $0.starts(with: end) }) { return count }
        }
        return 0
    }

    /// What was held back at the end of the text.
    public mutating func finish() -> String {
        defer { held = [] }
        return String(decoding: held, as: UTF8.self)
    }
}
