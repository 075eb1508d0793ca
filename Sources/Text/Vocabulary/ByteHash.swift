/// A fast hash of bytes, seeded per process so that a hostile file cannot make its tokens collide; no result depends
/// on it.
struct ByteHash: Sendable {
    private static let seed = UInt64.random(in: .min ... .max)
    private static let multiplier: UInt64 = 0x9E37_79B9_7F4A_7C15

    private let start: UInt64

    init() { start = ByteHash.seed }

    /// The hash of `bytes`.
    @inline(__always)
    func callAsFunction(_ bytes: UnsafeBufferPointer<UInt8>) -> UInt64 {
        var hash = start ^ UInt64(truncatingIfNeeded: bytes.count)
        var position = 0
        let raw = UnsafeRawBufferPointer(bytes)
        while position + 8 <= bytes.count {
            hash = ByteHash.folded(hash ^ raw.loadUnaligned(fromByteOffset: position, as: UInt64.self))
            position += 8
        }
        var rest: UInt64 = 0
        while position < bytes.count {
            rest = rest << 8 | UInt64(bytes[position])
            position += 1
        }
        return ByteHash.folded(hash ^ rest)
    }

    /// The product's two halves, one over the other: every bit of the input reaches every bit of the result.
    @inline(__always)
    static func folded(_ value: UInt64) -> UInt64 {
        let product = (value ^ seedBits).multipliedFullWidth(by: multiplier)
        return product.high ^ product.low
    }

    private static let seedBits: UInt64 = 0xD6E8_FEB8_6659_FD93
}
