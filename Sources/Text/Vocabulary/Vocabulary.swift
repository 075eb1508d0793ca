import TensorCore

/// Tokens and their ids. Tokens compare by their bytes: `String` would merge canonically equivalent ones, which
/// vocabularies keep apart, and tokens of rank files need not be UTF-8.
struct Vocabulary: Sendable {
    /// Largest vocabulary accepted; the tables indexed by id are sized by it.
    static let maximumSize = 10_000_000

    private struct Entry {
        var start: Int
        var count: Int32
        var id: Int32
    }

    private struct Slot {
        /// Index into `entries` + 1, or 0 for a free slot.
        var entry: Int32 = 0
        /// Part of the token's hash.
        var tag: UInt32 = 0
    }

    /// All tokens, one after the other.
    private var contents: [UInt8] = []
    private var entries: [Entry] = []
    /// Open addressing over `entries`.
    private var slots = [Slot](repeating: Slot(), count: 1024)
    /// Index into `entries` of each id, -1 for none.
    private var entryOfID: [Int32] = []
    private let hash = ByteHash()

    /// The number of tokens.
    var count: Int { entries.count }
    /// The highest id + 1.
    var size: Int { entryOfID.count }

    init() {}

    mutating func reserveCapacity(tokens: Int, bytes: Int) {
        entries.reserveCapacity(tokens)
        entryOfID.reserveCapacity(tokens)
        contents.reserveCapacity(bytes)
        while tokens * 2 > slots.count { grow() }
    }

    /// The slot that holds `token`, or the free one where it belongs.
    @inline(__always)
    private func slot(of token: UnsafeBufferPointer<UInt8>, _ hash: UInt64) -> Int {
        slots.withUnsafeBufferPointer { slots in
            let mask = slots.count - 1
            let tag = UInt32(truncatingIfNeeded: hash >> 32)
            var slot = Int(truncatingIfNeeded: hash) & mask
            while slots[slot].entry != 0 {
                if slots[slot].tag == tag, equals(entry: Int(slots[slot].entry) - 1, token) { return slot }
                slot = (slot + 1) & mask
            }
            return slot
        }
    }

    @inline(__always)
    private func equals(entry index: Int, _ token: UnsafeBufferPointer<UInt8>) -> Bool {
        let entry = entries[index]
        guard Int(entry.count) == token.count else { return false }
        return contents.withUnsafeBufferPointer { contents in
            for offset in 0..<token.count where contents[entry.start + offset] != token[offset] { return false }
            return true
        }
    }

    /// Adds a token. Throws `.malformed` if the token or the id is taken, or the id out of range.
    mutating func insert(
        _ token: UnsafeBufferPointer<UInt8>, id: Int, where place: @autoclosure () -> String
    ) throws(LaminaError) {
        func name() -> String { quoted(String(decoding: token, as: UTF8.self)) }
        guard (0..<Vocabulary.maximumSize).contains(id) else {
            throw LaminaError(
                .malformed, "", "\(place()): the id of \(name()) is out of range",
                expected: "0 to \(Vocabulary.maximumSize - 1)", found: "\(id)")
        }
        if id < entryOfID.count, entryOfID[id] >= 0 {
            let other = self.token(of: id) ?? ""
            throw LaminaError(.malformed, "", "\(place()): \(name()) and \(quoted(other)) have the same id \(id)")
        }
        let hash = hash(token)
        let slot = slot(of: token, hash)
        guard slots[slot].entry == 0 else { throw LaminaError(.malformed, "", "\(place()): \(name()) occurs twice") }
        entries.append(
            Entry(start: contents.count, count: Int32(truncatingIfNeeded: token.count), id: Int32(id)))
        contents.append(contentsOf: token)
        slots[slot] = Slot(
            entry: Int32(truncatingIfNeeded: entries.count), tag: UInt32(truncatingIfNeeded: hash >> 32))
        if id >= entryOfID.count {
            entryOfID.append(contentsOf: repeatElement(-1, count: id + 1 - entryOfID.count))
        }
        entryOfID[id] = Int32(truncatingIfNeeded: entries.count - 1)
        if entries.count * 2 > slots.count { grow() }
    }

    /// Adds a token. Throws `.malformed` if the token or the id is taken, or the id out of range.
    mutating func insert(_ token: String, id: Int, where place: @autoclosure () -> String) throws(LaminaError) {
        try Array(token.utf8).withUnsafeBufferPointer { (bytes) throws(LaminaError) in
            try insert(bytes, id: id, where: place())
        }
    }

    private mutating func grow() {
        slots = [Slot](repeating: Slot(), count: slots.count * 2)
        contents.withUnsafeBufferPointer { contents in
            let mask = slots.count - 1
            for (index, entry) in entries.enumerated() {
                let token = UnsafeBufferPointer(rebasing: contents[entry.start..<(entry.start + Int(entry.count))])
                let hash = hash(token)
                var slot = Int(truncatingIfNeeded: hash) & mask
                while slots[slot].entry != 0 { slot = (slot + 1) & mask }
                slots[slot] = Slot(
                    entry: Int32(truncatingIfNeeded: index + 1), tag: UInt32(truncatingIfNeeded: hash >> 32))
            }
        }
    }

    /// The id of a token among the first `limit` inserted.
    func id(of token: UnsafeBufferPointer<UInt8>, amongFirst limit: Int = .max) -> Int? {
        let index = Int(slots[slot(of: token, hash(token))].entry) - 1
        return index >= 0 && index < limit ? Int(entries[index].id) : nil
    }

    /// The id of a token.
    func id(of token: some Collection<UInt8>) -> Int? {
        Array(token).withUnsafeBufferPointer { id(of: $0) }
    }

    /// The id of a token.
    func id(of token: String) -> Int? {
        var token = token
        return token.withUTF8 { id(of: $0) }
    }

    /// Calls `body` with every token and its id, in the order they were inserted.
    func forEachToken(_ body: (UnsafeBufferPointer<UInt8>, Int) -> Void) {
        contents.withUnsafeBufferPointer { contents in
            for entry in entries {
                body(
                    UnsafeBufferPointer(rebasing: contents[entry.start..<(entry.start + Int(entry.count))]),
                    Int(entry.id))
            }
        }
    }

    /// Whether `id` names a token.
    func contains(id: Int) -> Bool {
        id >= 0 && id < entryOfID.count && entryOfID[id] >= 0
    }

    /// Calls `body` with the bytes of a token; `nil` if there is no such id.
    func withToken<Result>(of id: Int, _ body: (UnsafeBufferPointer<UInt8>) -> Result) -> Result? {
        guard contains(id: id) else { return nil }
        let entry = entries[Int(entryOfID[id])]
        return contents.withUnsafeBufferPointer { contents in
            body(UnsafeBufferPointer(rebasing: contents[entry.start..<(entry.start + Int(entry.count))]))
        }
    }

    /// The bytes of a token; `nil` if there is no such id.
    func bytes(of id: Int) -> [UInt8]? { withToken(of: id) { Array($0) } }

    /// The token with an id; what is not UTF-8 is replaced.
    func token(of id: Int) -> String? {
        withToken(of: id) { String(decoding: $0, as: UTF8.self) }
    }
}

/// A token or a name for messages: quoted, shortened, control characters escaped.
func quoted(_ text: String) -> String {
    "\"" + escapedForDisplay(text, limit: 80) + "\""
}
