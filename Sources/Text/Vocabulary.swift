import TensorCore

/// Tokens and their ids. Tokens compare by their UTF-8 bytes: `String` would merge canonically equivalent ones,
/// which vocabularies keep apart.
struct Vocabulary: Sendable {
    /// Largest vocabulary accepted; the tables indexed by id are sized by it.
    static let maximumSize = 10_000_000

    private struct Entry {
        var start: Int
        var count: Int
        var id: Int
    }

    /// All tokens, one after the other.
    private var contents: [UInt8] = []
    private var entries: [Entry] = []
    /// Open addressing over `entries`: index + 1, or 0 for a free slot. The hash is seeded per process, so that a
    /// hostile file cannot make every token collide.
    private var slots: [Int32] = [Int32](repeating: 0, count: 1024)
    /// Index into `entries` of each id, -1 for none.
    private var entryOfID: [Int32] = []

    /// The number of tokens.
    var count: Int { entries.count }
    /// The highest id + 1.
    var size: Int { entryOfID.count }

    private func hash(_ token: UnsafeBufferPointer<UInt8>) -> Int {
        var hasher = Hasher()
        hasher.combine(bytes: UnsafeRawBufferPointer(token))
        return hasher.finalize()
    }

    /// The slot that holds `token`, or the free one where it belongs.
    private func slot(of token: UnsafeBufferPointer<UInt8>) -> Int {
        let mask = slots.count - 1
        var slot = hash(token) & mask
        while slots[slot] != 0 {
            let entry = entries[Int(slots[slot]) - 1]
            if entry.count == token.count {
                let isSame = contents.withUnsafeBufferPointer { contents in
                    UnsafeBufferPointer(rebasing: contents[entry.start..<(entry.start + entry.count)])
                        .elementsEqual(token)
                }
                if isSame { return slot }
            }
            slot = (slot + 1) & mask
        }
        return slot
    }

    /// Adds a token. Throws `.malformed` if the token or the id is taken, or the id out of range.
    mutating func insert(_ token: String, id: Int, where place: String) throws(LaminaError) {
        guard (0..<Vocabulary.maximumSize).contains(id) else {
            throw LaminaError(
                .malformed, "", "\(place): the id of \(quoted(token)) is out of range",
                expected: "0 to \(Vocabulary.maximumSize - 1)", found: "\(id)")
        }
        if id < entryOfID.count, entryOfID[id] >= 0 {
            let other = self.token(of: id) ?? ""
            throw LaminaError(.malformed, "", "\(place): \(quoted(token)) and \(quoted(other)) have the same id \(id)")
        }
        var token = token
        let isNew = token.withUTF8 { bytes in
            let slot = slot(of: bytes)
            guard slots[slot] == 0 else { return false }
            entries.append(Entry(start: contents.count, count: bytes.count, id: id))
            contents.append(contentsOf: bytes)
            slots[slot] = Int32(truncatingIfNeeded: entries.count)
            return true
        }
        guard isNew else { throw LaminaError(.malformed, "", "\(place): \(quoted(token)) occurs twice") }
        if id >= entryOfID.count {
            entryOfID.append(contentsOf: repeatElement(-1, count: id + 1 - entryOfID.count))
        }
        entryOfID[id] = Int32(truncatingIfNeeded: entries.count - 1)
        if entries.count * 2 > slots.count { grow() }
    }

    private mutating func grow() {
        slots = [Int32](repeating: 0, count: slots.count * 2)
        contents.withUnsafeBufferPointer { contents in
            let mask = slots.count - 1
            for (index, entry) in entries.enumerated() {
                let token = UnsafeBufferPointer(rebasing: contents[entry.start..<(entry.start + entry.count)])
                var slot = hash(token) & mask
                while slots[slot] != 0 { slot = (slot + 1) & mask }
                slots[slot] = Int32(truncatingIfNeeded: index + 1)
            }
        }
    }

    /// The id of a token among the first `limit` inserted.
    func id(of token: UnsafeBufferPointer<UInt8>, amongFirst limit: Int = .max) -> Int? {
        let index = Int(slots[slot(of: token)]) - 1
        return index >= 0 && index < limit ? entries[index].id : nil
    }

    /// The id of a token.
    func id(of token: String) -> Int? {
        var token = token
        return token.withUTF8 { id(of: $0) }
    }

    /// Whether `id` names a token.
    func contains(id: Int) -> Bool {
        id >= 0 && id < entryOfID.count && entryOfID[id] >= 0
    }

    /// Calls `body` with the UTF-8 of a token; `nil` if there is no such id.
    func withToken<Result>(of id: Int, _ body: (UnsafeBufferPointer<UInt8>) -> Result) -> Result? {
        guard contains(id: id) else { return nil }
        let entry = entries[Int(entryOfID[id])]
        return contents.withUnsafeBufferPointer { contents in
            body(UnsafeBufferPointer(rebasing: contents[entry.start..<(entry.start + entry.count)]))
        }
    }

    /// The token with an id.
    func token(of id: Int) -> String? {
        withToken(of: id) { String(decoding: $0, as: UTF8.self) }
    }
}

/// A token or a name for messages: quoted, shortened, control characters escaped.
func quoted(_ text: String) -> String {
    "\"" + escapedForDisplay(text, limit: 80) + "\""
}
