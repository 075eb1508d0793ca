import CKernels

/// How keys and values are kept, and how exact that is.
enum KeyValueType: UInt32, CaseIterable, Sendable {
    case f32 = 0
    case f16 = 1
    case bf16 = 2
    case q8 = 3

    var type: lamina_kv_type { lamina_kv_type(rawValue) }

    /// The largest error of a value below 1 in magnitude.
    var error: Double {
        switch self {
        case .f32: 0
        case .f16: 0x1p-12
        case .bf16: 0x1p-9
        // Half a step of 1/127, and what rounding the scale cuts off at the ends.
        case .q8: 0.5 / 127 + 1.0 / 2048
        }
    }
}

/// Blocks of keys or values of one head.
struct KeyValueBlocks {
    let type: KeyValueType
    let dimension: Int
    /// All bytes 0xff before anything is stored: NaN in every type.
    var bytes: [UInt8]

    init(_ type: KeyValueType, dimension: Int, blocks: Int) {
        (self.type, self.dimension) = (type, dimension)
        bytes = [UInt8](repeating: 0xff, count: blocks * lamina_kv_block_bytes(type.type, dimension))
    }

    var blockBytes: Int { lamina_kv_block_bytes(type.type, dimension) }

    mutating func storeKey(_ kernels: lamina_kernels, block: Int, lane: Int, _ source: [Float]) {
        let offset = block * blockBytes
        bytes.withUnsafeMutableBytes { [type, dimension] in
            kernels.store_key(type.type, $0.baseAddress! + offset, dimension, lane, source)
        }
    }

    mutating func storeValue(_ kernels: lamina_kernels, block: Int, lane: Int, _ source: [Float]) {
        let offset = block * blockBytes
        bytes.withUnsafeMutableBytes { [type, dimension] in
            kernels.store_value(type.type, $0.baseAddress! + offset, dimension, lane, source)
        }
    }

    /// Element `index` of a block, whose scale, if it has one, is number `scale`.
    private func element(block: Int, index: Int, scale: Int) -> Float {
        bytes.withUnsafeBytes { bytes in
            let bytes = UnsafeRawBufferPointer(rebasing: bytes[(block * blockBytes)...])
            switch type {
            case .f32: return bytes.load(fromByteOffset: index * 4, as: Float.self)
            case .f16: return Float(bytes.load(fromByteOffset: index * 2, as: Float16.self))
            case .bf16:
                return Float(bitPattern: UInt32(bytes.load(fromByteOffset: index * 2, as: UInt16.self)) << 16)
            case .q8:
                let scales = 16 * dimension
                return Float(bytes.load(fromByteOffset: index, as: Int8.self))
                    * Float(bytes.load(fromByteOffset: scales + scale * 2, as: Float16.self))
            }
        }
    }

    func key(block: Int, lane: Int, dimension d: Int) -> Float {
        element(block: block, index: d * 16 + lane, scale: d / 32 * 16 + lane)
    }

    func value(block: Int, lane: Int, dimension d: Int) -> Float {
        element(block: block, index: lane * dimension + d, scale: lane * ((dimension + 31) / 32) + d / 32)
    }
}
