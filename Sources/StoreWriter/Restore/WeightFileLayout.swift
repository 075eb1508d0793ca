import TensorCore

/// Where every byte of a file of weights comes from: stored tensors, and other bytes between them.
struct WeightFileLayout: Sendable {
    /// Where a stored tensor lies in the file.
    struct Place: Sendable {
        /// Index into the manifest's shards.
        var shard: Int
        /// Index into the shard's tensors.
        var tensor: Int
        var bytes: ByteRange
    }

    /// A piece of the file that has one origin.
    struct Run: Sendable {
        enum Origin: Sendable {
            /// The bytes of no tensor, from this one on.
            case other(Int)
            /// A place by its index.
            case tensor(Int)
        }
        var bytes: ByteRange
        var origin: Origin
    }

    /// Bytes in all.
    let size: UInt64
    /// In the order of their bytes.
    let places: [Place]
    /// In order, without holes or overlaps, over all of the file.
    let runs: [Run]
    /// Places that are not one run: tensors that share bytes with others (which torch's files allow), and empty ones.
    let sharing: [Int]
    /// Bytes that belong to no tensor.
    let otherCount: UInt64

    /// Every place must lie inside `size`.
    init(size: UInt64, places: [Place]) {
        // Of tensors that begin together the longest comes first: it then covers the others.
        let sorted = places.sorted {
            ($0.bytes.lowerBound, $1.bytes.upperBound) < ($1.bytes.lowerBound, $0.bytes.upperBound)
        }
        var runs: [Run] = []
        var sharing: [Int] = []
        var position: UInt64 = 0
        var others: UInt64 = 0
        func fill(upTo end: UInt64) {
            guard position < end else { return }
            runs.append(Run(bytes: position..<end, origin: .other(Int(others))))
            others += end - position
            position = end
        }
        for (index, place) in sorted.enumerated() {
            if !place.bytes.isEmpty { fill(upTo: place.bytes.lowerBound) }
            if place.bytes.lowerBound < position || place.bytes.isEmpty { sharing.append(index) }
            guard place.bytes.upperBound > position, !place.bytes.isEmpty else { continue }
            runs.append(Run(bytes: position..<place.bytes.upperBound, origin: .tensor(index)))
            position = place.bytes.upperBound
        }
        fill(upTo: size)
        self.size = size
        self.places = sorted
        self.runs = runs
        self.sharing = sharing
        otherCount = others
    }
}
