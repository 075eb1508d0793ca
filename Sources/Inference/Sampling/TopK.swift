/// Keeps the most probable tokens.
enum TopK {
    /// The `count` first candidates by falling logit, equal ones by rising id. Logits of minus infinity never count.
    ///
    /// One pass over the logits with a heap of `count`: most logits are compared once, with the least one kept.
    static func select(_ logits: UnsafeBufferPointer<Float>, _ count: Int) -> [Candidate] {
        var heap = CandidateHeap(capacity: min(count, logits.count))
        var threshold = -Float.infinity
        for (id, logit) in logits.enumerated() where logit > threshold {
            // Ids rise, so a later candidate with the same logit as the least kept one never replaces it.
            heap.offer(Candidate(id: id, logit: logit))
            if heap.isFull { threshold = heap.least }
        }
        return heap.candidates.sorted { $0.precedes($1) }
    }
}

/// A binary heap of bounded size that keeps the best candidates, the worst of them on top.
private struct CandidateHeap {
    private(set) var candidates: [Candidate] = []
    private let capacity: Int

    init(capacity: Int) {
        self.capacity = capacity
        candidates.reserveCapacity(capacity)
    }

    var isFull: Bool { candidates.count == capacity }
    var least: Float { candidates.first?.logit ?? .infinity }

    mutating func offer(_ candidate: Candidate) {
        if candidates.count < capacity {
            candidates.append(candidate)
            rise(candidates.count - 1)
        } else if let worst = candidates.first, candidate.precedes(worst) {
            candidates[0] = candidate
            sink()
        }
    }

    private mutating func rise(_ start: Int) {
        var index = start
        while index > 0, candidates[(index - 1) / 2].precedes(candidates[index]) {
            candidates.swapAt(index, (index - 1) / 2)
            index = (index - 1) / 2
        }
    }

    private mutating func sink() {
        var index = 0
        while true {
            var worst = index
            for child in [2 * index + 1, 2 * index + 2]
            where child < candidates.count && candidates[worst].precedes(candidates[child]) {
                worst = child
            }
            guard worst != index else { return }
            candidates.swapAt(index, worst)
            index = worst
        }
    }
}
