import CKernels
import LayerStore
import TensorCore

/// Query heads that share a key-value head and go through the cache together, so that it is read once for all of them.
struct AttentionHeads: Sendable, Equatable {
    var first: Int
    var count: Int
    var keyValueHead: Int

    /// All query heads of a layer, each once.
    static func all(_ config: ModelConfig) -> [AttentionHeads] {
        let shared = config.headCount / config.keyValueHeadCount
        let size = mostQueries(config)
        return (0..<config.keyValueHeadCount).flatMap { head in
            stride(from: 0, to: shared, by: size).map { first in
                AttentionHeads(first: head * shared + first, count: min(size, shared - first), keyValueHead: head)
            }
        }
    }

    /// Heads of the largest group.
    static func mostQueries(_ config: ModelConfig) -> Int {
        let shared = config.headCount / config.keyValueHeadCount
        // Groups as even as they can be: seven heads are four and three, six are three and three.
        return dividedUp(shared, by: dividedUp(shared, by: Int(LAMINA_ATTENTION_QUERIES)))
    }
}
