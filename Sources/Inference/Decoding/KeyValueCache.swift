import CKernels
import LayerStore
import TensorCore

/// How keys and values are kept. The raw value is what `--kv-type` takes and what reports say.
public enum KeyValueType: String, Sendable, CaseIterable {
    case f32, f16, bf16
    /// Bytes, with an FP16 scale for every 32 values.
    case q8

    var kernelType: lamina_kv_type {
        switch self {
        case .f32: LAMINA_KV_F32
        case .f16: LAMINA_KV_F16
        case .bf16: LAMINA_KV_BF16
        case .q8: LAMINA_KV_Q8
        }
    }
}

/// Keys and values of every sequence so far: of all positions, or, where a layer attends to a window, of the last ones in
/// a ring. Latent attention keeps what its heads share.
final class KeyValueCache: @unchecked Sendable {
    // Sendable: a position of a head is stored by one worker, and read after a barrier; the kernels are constants; room
    // is assigned between runs of the pool.

    /// What one layer of one sequence takes.
    struct Extent: Sendable {
        var start: Int
        /// Blocks of `LAMINA_KV_BLOCK` positions.
        var blocks: Int
    }

    let shapes: [KeyValueShape]
    let type: KeyValueType
    private let kernels: KernelTable
    private let memory: UntouchedMemory
    /// Per sequence and layer.
    private var extents: [[Extent]] = []

    /// Room for the sequences. Throws `.limit`.
    convenience init(
        _ shapes: [KeyValueShape], sequences: [SequenceDemand], type: KeyValueType, kernels: KernelTable
    ) throws(LaminaError) {
        let byteCount = try KeyValueCache.byteCount(shapes, sequences: sequences, type: type)
        try self.init(shapes, byteCount: byteCount, type: type, kernels: kernels)
        assign(sequences, sharesRoom: false)
    }

    /// Room of `byteCount` bytes for sequences that are assigned to it. Throws `.limit`.
    init(
        _ shapes: [KeyValueShape], byteCount: Int, type: KeyValueType, kernels: KernelTable
    ) throws(LaminaError) {
        self.shapes = shapes
        self.type = type
        self.kernels = kernels
        memory = try UntouchedMemory(count: byteCount)
    }

    /// Gives the room to `sequences`, which replace others. With `sharesRoom` a sequence's layers have the same one: for
    /// sequences that go through the model in one pass. Between two passes only.
    func assign(_ sequences: [SequenceDemand], sharesRoom: Bool) {
        var next = 0
        extents = sequences.map { sequence in
            let start = next
            return shapes.map { shape in
                let blocks = KeyValueCache.blocks(shape, sequence)
                let bytes = blocks * shape.blockBytes(type)
                defer { next = sharesRoom ? max(next, start + bytes) : next + bytes }
                return Extent(start: sharesRoom ? start : next, blocks: blocks)
            }
        }
    }

    /// Positions rounded up to whole blocks.
    static func capacity(_ positions: Int) -> Int { roundedUp(max(positions, 1), to: Int(LAMINA_KV_BLOCK)) }

    /// Blocks of a layer: those of all positions, or those that a pass's columns attend to, which begin anywhere.
    private static func blocks(_ shape: KeyValueShape, _ sequence: SequenceDemand) -> Int {
        let size = Int(LAMINA_KV_BLOCK)
        let all = capacity(sequence.positions) / size
        guard let window = shape.window else { return all }
        let widestPass = min(sequence.promptTokens, MemoryPlan.mostColumns)
        return min(all, (window + max(1, widestPass) - 2) / size + 2)
    }

    /// Bytes for the sequences. Throws `.limit` if they cannot be addressed.
    static func byteCount(
        _ shapes: [KeyValueShape], sequences: [SequenceDemand], type: KeyValueType
    ) throws(LaminaError) -> Int {
        var total = 0
        for sequence in sequences {
            for shape in shapes {
                guard let bytes = Checked.product([blocks(shape, sequence), shape.blockBytes(type)]),
                    let sum = Checked.add(total, bytes)
                else {
                    throw LaminaError(.limit, "--ctx", "the context is too long to keep its keys and values in memory")
                }
                total = sum
            }
        }
        return total
    }

    /// Bytes for the sweeps of an evaluation. Throws `.limit` if they cannot be addressed.
    static func byteCount(
        _ shapes: [KeyValueShape], _ demands: [EvaluationDemand], columns: Int, type: KeyValueType
    ) throws(LaminaError) -> Int {
        var most = bytesPerColumn(shapes, type: type) * capacity(columns)
        for demand in demands where demand.tokens > columns {
            let sequence = SequenceDemand(promptTokens: demand.tokens, newTokens: 0)
            most = max(most, try byteCount(shapes, sequences: [sequence], type: type))
        }
        return most
    }

    /// Bytes of a position in the layer that takes most.
    static func bytesPerColumn(_ shapes: [KeyValueShape], type: KeyValueType) -> Int {
        dividedUp(shapes.reduce(0) { max($0, $1.blockBytes(type)) }, by: Int(LAMINA_KV_BLOCK))
    }

    /// One head's keys and values in a ring of blocks; no values where they are part of the keys.
    func ring(
        sequence: Int, layer: Int, head: Int
    ) -> (keys: UnsafeMutableRawPointer, values: UnsafeMutableRawPointer?, blocks: Int) {
        let (shape, extent) = (shapes[layer], extents[sequence][layer])
        let bytes = shape.headBlockBytes(type)
        let start = memory.start + extent.start + head * extent.blocks * (bytes.keys + bytes.values)
        return (start, shape.isLatent ? nil : start + extent.blocks * bytes.keys, extent.blocks)
    }

    /// Whether the first sequence, which has had `reached` positions, still has all that the one behind `position` can
    /// attend to: rings of windows put later positions in the place of earlier ones.
    func keeps(position: Int, reached: Int) -> Bool {
        zip(shapes, extents[0]).allSatisfy { shape, extent in
            guard let window = shape.window else { return true }
            let size = Int(LAMINA_KV_BLOCK)
            let oldest = max(0, (reached - 1) / size - extent.blocks + 1) * size
            return max(0, position - window + 1) >= oldest
        }
    }

    /// Stores one head's key and value of one position.
    func store(
        sequence: Int, layer: Int, head: Int, position: Int, key: UnsafePointer<Float>, value: UnsafePointer<Float>?
    ) {
        let (shape, ring) = (shapes[layer], ring(sequence: sequence, layer: layer, head: head))
        let size = Int(LAMINA_KV_BLOCK)
        let block = position / size % ring.blocks
        let bytes = shape.headBlockBytes(type)
        kernels.pointee.store_key(
            type.kernelType, ring.keys + block * bytes.keys, shape.keyDimension, position % size, key)
        if let value, let values = ring.values {
            kernels.pointee.store_value(
                type.kernelType, values + block * bytes.values, shape.valueDimension, position % size, value)
        }
    }
}

extension KeyValueShape {
    /// Bytes of a block of one head's keys, and of its values.
    func headBlockBytes(_ type: KeyValueType) -> (keys: Int, values: Int) {
        (
            lamina_kv_block_bytes(type.kernelType, keyDimension),
            isLatent ? 0 : lamina_kv_block_bytes(type.kernelType, valueDimension)
        )
    }

    /// Bytes of a block of all heads.
    func blockBytes(_ type: KeyValueType) -> Int {
        let bytes = headBlockBytes(type)
        return heads * (bytes.keys + bytes.values)
    }
}
