/// What encoding a text appends to.
struct TokenOutput {
    var ids: [Int] = []
    /// The text behind ids of the unknown token, by index into `ids`: what a list of pieces shows there.
    private(set) var surfaces: [Int: [UInt8]] = [:]

    /// Appends the unknown token for `surface`.
    mutating func appendUnknown(_ id: Int, _ surface: some Sequence<UInt8>) {
        surfaces[ids.count] = Array(surface)
        ids.append(id)
    }

    /// Makes `surface` part of the unknown token that was appended last.
    mutating func extendUnknown(_ surface: some Sequence<UInt8>) {
        surfaces[ids.count - 1]?.append(contentsOf: surface)
    }

    /// Whether the last id is an unknown token.
    var endsInUnknown: Bool { surfaces[ids.count - 1] != nil }

    /// Whether one of the ids from `index` on is an unknown token with a surface.
    func hasUnknown(from index: Int) -> Bool {
        !surfaces.isEmpty && (index..<ids.count).contains { surfaces[$0] != nil }
    }
}
