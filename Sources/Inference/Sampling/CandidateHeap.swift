/// A binary heap in an array, the last of its candidates in a given order on top: keeps the first ones of a long row, and
/// sorts without further memory.
enum CandidateHeap {
    /// Moves the candidate at `start` down to where it belongs among the first `count`.
    static func sink(
        _ candidates: inout [Candidate], from start: Int, count: Int, _ precedes: (Candidate, Candidate) -> Bool
    ) {
        var index = start
        while true {
            var last = index
            for child in (2 * index + 1)...(2 * index + 2)
            where child < count && precedes(candidates[last], candidates[child]) {
                last = child
            }
            guard last != index else { return }
            candidates.swapAt(index, last)
            index = last
        }
    }

    /// Moves the candidate at the end up to where it belongs.
    static func rise(_ candidates: inout [Candidate], _ precedes: (Candidate, Candidate) -> Bool) {
        var index = candidates.count - 1
        while index > 0, precedes(candidates[(index - 1) / 2], candidates[index]) {
            candidates.swapAt(index, (index - 1) / 2)
            index = (index - 1) / 2
        }
    }

    /// Sorts in place by an order that has no ties.
    static func sort(_ candidates: inout [Candidate], _ precedes: (Candidate, Candidate) -> Bool) {
        for start in stride(from: candidates.count / 2 - 1, through: 0, by: -1) {
            sink(&candidates, from: start, count: candidates.count, precedes)
        }
        unwind(&candidates, precedes)
    }

    /// Sorts what is a heap already.
    static func unwind(_ candidates: inout [Candidate], _ precedes: (Candidate, Candidate) -> Bool) {
        for end in stride(from: candidates.count - 1, to: 0, by: -1) {
            candidates.swapAt(0, end)
            sink(&candidates, from: 0, count: end, precedes)
        }
    }
}
