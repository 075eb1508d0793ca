import CKernels
import TensorCore

/// Query heads that share a key-value head and go through the cache together, so that it is read once for all of them.
struct AttentionHeads: Sendable, Equatable {
    var first: Int
    var count: Int
    var keyValueHead: Int

    /// All query heads of a layer, each once.
    static func all(count: Int, keyValueCount: Int) -> [AttentionHeads] {
        let shared = count / keyValueCount
        let size = mostQueries(shared: shared)
        return (0..<keyValueCount).flatMap { head in
            stride(from: 0, to: shared, by: size).map { first in
                AttentionHeads(first: head * shared + first, count: min(size, shared - first), keyValueHead: head)
            }
        }
    }

    /// Heads of the largest group where `shared` queries share a key.
    private static func mostQueries(shared: Int) -> Int {
        // Groups as even as they can be: seven heads are four and three, six are three and three.
        dividedUp(shared, by: dividedUp(shared, by: Int(LAMINA_ATTENTION_QUERIES)))
    }
}

extension StreamPlan {
    /// Heads of the largest group of any layer.
    var mostQueries: Int {
        body.reduce(1) { most, step in
            guard case .attend(let attention) = step else { return most }
            return attention.groups.reduce(most) { max($0, $1.count) }
        }
    }
}
