import CKernels
import TensorCore

/// Keys and values of all positions so far, f32.
final class KeyValueCache: Sendable {
    /// Positions there is room for, a multiple of the key block.
    let capacity: Int
    private let keyValueHeads: Int
    private let headDimension: Int
    /// Keys (layers, kvHeads, capacity / 16, headDim, 16), then values (layers, kvHeads, capacity, headDim).
    private let memory: UntouchedMemory
    private let valuesStart: Int

    /// Room for `positions`. Throws `.limit`.
    init(_ config: ModelConfig, positions: Int) throws(LaminaError) {
        capacity = KeyValueCache.capacity(positions)
        keyValueHeads = config.keyValueHeadCount
        headDimension = config.headDimension
        memory = try UntouchedMemory(count: try KeyValueCache.byteCount(config, positions: positions))
        valuesStart = memory.count / 2
    }

    private static func capacity(_ positions: Int) -> Int { roundedUp(max(positions, 1), to: Int(LAMINA_KEY_BLOCK)) }

    /// Bytes for `positions`. Throws `.limit` if they cannot be addressed.
    static func byteCount(_ config: ModelConfig, positions: Int) throws(LaminaError) -> Int {
        let factors = [config.layerCount, config.keyValueWidth, capacity(positions), 2 * MemoryLayout<Float>.stride]
        guard let bytes = Checked.product(factors) else {
            throw LaminaError(.limit, "--ctx", "the context is too long to keep its keys and values in memory")
        }
        return bytes
    }

    private func offset(_ layer: Int, _ head: Int) -> Int {
        (layer * keyValueHeads + head) * capacity * headDimension * MemoryLayout<Float>.stride
    }

    /// One head's keys (capacity / 16, headDim, 16).
    func keys(layer: Int, head: Int) -> UnsafeMutablePointer<Float> {
        (memory.start + offset(layer, head)).assumingMemoryBound(to: Float.self)
    }

    /// One head's values (capacity, headDim).
    func values(layer: Int, head: Int) -> UnsafeMutablePointer<Float> {
        (memory.start + valuesStart + offset(layer, head)).assumingMemoryBound(to: Float.self)
    }

    /// Stores the key and value of `position`, heads side by side.
    func store(layer: Int, position: Int, key: UnsafePointer<Float>, value: UnsafePointer<Float>) {
        let block = Int(LAMINA_KEY_BLOCK)
        for head in 0..<keyValueHeads {
            let keys = keys(layer: layer, head: head) + position / block * headDimension * block + position % block
            let values = values(layer: layer, head: head) + position * headDimension
            for index in 0..<headDimension {
                keys[index * block] = key[head * headDimension + index]
                values[index] = value[head * headDimension + index]
            }
        }
    }
}
