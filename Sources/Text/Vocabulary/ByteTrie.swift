/// Byte strings with a number each, found by walking a text.
struct ByteTrie: Sendable {
    private var edges = PairTable()
    /// The node below the root for every first byte, 0 for none: most walks end there.
    private var first = [UInt32](repeating: 0, count: 256)
    /// The number of the string that ends at each node, -1 for none.
    private var values: [Int32] = [-1]

    var isEmpty: Bool { values.count == 1 }

    /// Adds a string; the first of two equal ones stays. Empty strings are left out.
    mutating func insert(_ string: some Sequence<UInt8>, value: Int) {
        var node: UInt32 = 0
        for byte in string {
            if let next = step(from: node, byte) {
                node = next
            } else {
                let next = UInt32(truncatingIfNeeded: values.count)
                if node == 0 {
                    first[Int(byte)] = next
                } else {
                    edges.insert(node, UInt32(byte), PairTable.Value(rank: 0, id: next))
                }
                values.append(-1)
                node = next
            }
        }
        if node > 0, values[Int(node)] < 0 { values[Int(node)] = Int32(truncatingIfNeeded: value) }
    }

    @inline(__always)
    private func step(from node: UInt32, _ byte: UInt8) -> UInt32? {
        if node == 0 { return first[Int(byte)] == 0 ? nil : first[Int(byte)] }
        return edges[node, UInt32(byte)]?.id
    }

    /// Whether a string starts with `byte`.
    @inline(__always)
    func starts(with byte: UInt8) -> Bool { first[Int(byte)] != 0 }

    /// Calls `body` with the number and the end of every string that stands at `start`, the shortest first.
    @inline(__always)
    func forEachPrefix(of text: UnsafeBufferPointer<UInt8>, at start: Int, _ body: (Int, Int) -> Void) {
        var node: UInt32 = 0
        var position = start
        while position < text.count, let next = step(from: node, text[position]) {
            node = next
            position += 1
            let value = values[Int(node)]
            if value >= 0 { body(Int(value), position) }
        }
    }

    /// The longest string that stands at `start`.
    func longestPrefix(of text: UnsafeBufferPointer<UInt8>, at start: Int) -> (value: Int, end: Int)? {
        var longest: (value: Int, end: Int)?
        forEachPrefix(of: text, at: start) { longest = ($0, $1) }
        return longest
    }
}
