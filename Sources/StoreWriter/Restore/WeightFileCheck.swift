import LayerStore
import TensorCore

/// Whether a file that is there is the one that would be made: by every tensor's digest and every byte between them.
struct WeightFileCheck {
    let layout: WeightFileLayout
    let other: [UInt8]
    let store: Store
    let kernels: KernelTable
    let pool: WorkerPool

    /// The file's SHA-256, `nil` if it is not that file. Throws `.io`, and what `progress` throws.
    func digest(
        of file: OpenFile, progress: (UInt64) throws(LaminaError) -> Void
    ) throws(LaminaError) -> SHA256Digest? {
        let whole = RunningDigest()
        let expected = try expectedDigests()
        let runs = RunComparison(layout: layout, other: other, expected: expected)
        try FileScan(file: file, size: layout.size, pool: pool).run(
            [whole, runs], until: { runs.differs }, progress: progress)
        guard !runs.differs else { return nil }
        for place in layout.sharing where try digest(of: layout.places[place], in: file) != expected[place] {
            return nil
        }
        return whole.finish()
    }

    /// Of each place of the layout: that of the source's bytes, or of a quantized tensor's values, which have to be
    /// computed. Throws `.damaged`, `.io`.
    private func expectedDigests() throws(LaminaError) -> [SHA256Digest] {
        var digests: [SHA256Digest] = []
        var tensors: StoredTensors?
        for (index, place) in layout.places.enumerated() {
            let entry = store.manifest.shards[place.shard].tensors[place.tensor]
            guard entry.quantization != nil else {
                digests.append(entry.digest)
                continue
            }
            let opened = if let tensors { tensors } else { try StoredTensors(layout, of: store) }
            tensors = opened
            let tensor = try opened.tensor(index)
            var hasher = SHA256()
            let values = try SourceBytes(tensors: [tensor.record], kernels: kernels)
            try values.read(tensor.record, from: tensor.file) { (bytes) throws(LaminaError) in hasher.update(bytes) }
            digests.append(hasher.finalize())
        }
        return digests
    }

    /// Of a tensor that shares bytes with others.
    private func digest(of place: WeightFileLayout.Place, in file: OpenFile) throws(LaminaError) -> SHA256Digest {
        let buffer = try AlignedBuffer(count: 1 << 20)
        var hasher = SHA256()
        var position = place.bytes.lowerBound
        while position < place.bytes.upperBound {
            let count = Int(min(UInt64(buffer.bytes.count), place.bytes.upperBound - position))
            let part = UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[0..<count])
            try file.readExactly(into: part, at: position)
            hasher.update(UnsafeRawBufferPointer(part))
            position += UInt64(count)
        }
        return hasher.finalize()
    }
}

/// Compares a file, window by window, with the runs of its layout.
private final class RunComparison: WindowConsumer, @unchecked Sendable {
    // Sendable: one task per window uses it.
    private let layout: WeightFileLayout
    private let other: [UInt8]
    private let expected: [SHA256Digest]
    private let running = RunningDigest()
    private let sharing: Set<Int>
    private var next = 0
    private(set) var differs = false

    /// `expected` has a digest for each place.
    init(layout: WeightFileLayout, other: [UInt8], expected: [SHA256Digest]) {
        self.layout = layout
        self.other = other
        self.expected = expected
        sharing = Set(layout.sharing)
    }

    func take(_ window: UnsafeRawBufferPointer, at offset: UInt64) {
        let range = offset..<(offset + UInt64(window.count))
        while !differs, next < layout.runs.count {
            let run = layout.runs[next]
            let part = run.bytes.clamped(to: range)
            guard !part.isEmpty else { return }
            let bytes = UnsafeRawBufferPointer(
                rebasing: window[Int(part.lowerBound - offset)..<Int(part.upperBound - offset)])
            let isEnd = part.upperBound == run.bytes.upperBound
            switch run.origin {
            case .other(let first):
                let start = first + Int(part.lowerBound - run.bytes.lowerBound)
                differs = !bytes.elementsEqual(other[start..<(start + bytes.count)])
            case .tensor(let place) where !sharing.contains(place):
                running.update(bytes)
                if isEnd { differs = running.finish() != expected[place] }
            case .tensor: break
            }
            guard isEnd else { return }
            next += 1
        }
    }
}
