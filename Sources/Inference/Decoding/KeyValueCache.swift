import CKernels
import TensorCore

/// Keys and values of all positions of every sequence so far, f32.
final class KeyValueCache: Sendable {
    /// Positions there is room for per sequence, each a multiple of the key block.
    let capacities: [Int]
    private let layerCount: Int
    private let keyValueHeads: Int
    private let headDimension: Int
    /// Per sequence: keys (layers, kvHeads, capacity / 16, headDim, 16), then values (layers, kvHeads, capacity, headDim).
    private let memory: UntouchedMemory
    private let starts: [Int]

    /// Room for `positions` of each sequence. Throws `.limit`.
    init(_ config: ModelConfig, positions: [Int]) throws(LaminaError) {
        memory = try UntouchedMemory(count: try KeyValueCache.byteCount(config, positions: positions))
        capacities = positions.map(KeyValueCache.capacity)
        layerCount = config.layerCount
        keyValueHeads = config.keyValueHeadCount
        headDimension = config.headDimension
        let bytesPerPosition = KeyValueCache.bytesPerPosition(config) ?? 0
        var next = 0
        starts = capacities.map { capacity in
            defer { next += capacity * bytesPerPosition }
            return next
        }
    }

    static func capacity(_ positions: Int) -> Int { roundedUp(max(positions, 1), to: Int(LAMINA_KEY_BLOCK)) }

    private static func bytesPerPosition(_ config: ModelConfig) -> Int? {
        Checked.product([config.layerCount, config.keyValueWidth, 2 * MemoryLayout<Float>.stride])
    }

    /// Bytes for `positions` of each sequence. Throws `.limit` if they cannot be addressed.
    static func byteCount(_ config: ModelConfig, positions: [Int]) throws(LaminaError) -> Int {
        var total = 0
        for count in positions {
            guard let each = bytesPerPosition(config), let bytes = Checked.product([each, capacity(count)]),
                let sum = Checked.add(total, bytes)
            else {
                throw LaminaError(.limit, "--ctx", "the context is too long to keep its keys and values in memory")
            }
            total = sum
        }
        return total
    }

    private func head(_ sequence: Int, _ layer: Int, _ head: Int) -> UnsafeMutableRawPointer {
        let size = capacities[sequence] * headDimension * MemoryLayout<Float>.stride
        return memory.start + starts[sequence] + (layer * keyValueHeads + head) * size
    }

    /// One head's keys (capacity / 16, headDim, 16).
    func keys(sequence: Int, layer: Int, head: Int) -> UnsafeMutablePointer<Float> {
        self.head(sequence, layer, head).assumingMemoryBound(to: Float.self)
    }

    /// One head's values (capacity, headDim).
    func values(sequence: Int, layer: Int, head: Int) -> UnsafeMutablePointer<Float> {
        // Behind the keys of all layers.
        self.head(sequence, layerCount + layer, head).assumingMemoryBound(to: Float.self)
    }

    /// Stores the key and value of one position, heads side by side.
    func store(
        sequence: Int, layer: Int, position: Int, key: UnsafePointer<Float>, value: UnsafePointer<Float>
    ) {
        let block = Int(LAMINA_KEY_BLOCK)
        for head in 0..<keyValueHeads {
            let keys =
                keys(sequence: sequence, layer: layer, head: head) + position / block * headDimension * block
                + position % block
            let values = values(sequence: sequence, layer: layer, head: head) + position * headDimension
            for index in 0..<headDimension {
                keys[index * block] = key[head * headDimension + index]
                values[index] = value[head * headDimension + index]
            }
        }
    }
}
