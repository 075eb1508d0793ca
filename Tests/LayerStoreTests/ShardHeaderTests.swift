import LayerStore
import TensorCore
import TestSupport
import Testing

@Suite struct ShardHeaderTests {
    private static func example() -> ShardHeader {
        func tensor(_ name: String, _ dtype: DType, _ dimensions: [Int], _ layout: TensorLayout, _ offset: inout UInt64)
            -> TensorRecord
        {
            let shape = Shape(dimensions)
            let codec = Codecs.standard(for: dtype)
            let geometry = ChunkGeometry(shape: shape, dtype: dtype, layout: layout, targetBytes: 4096)
            var chunks: [ChunkRecord] = []
            for _ in 0..<geometry.chunkCount {
                for plane in codec.planes(elementSize: dtype.size) {
                    let size = UInt32(plane.slotBytes(geometry))
                    chunks.append(ChunkRecord(offset: offset, storedSize: size, encoding: .raw, hash: offset))
                    offset += (UInt64(size) + 4095) / 4096 * 4096
                }
            }
            return TensorRecord(
                name: name, dtype: dtype, shape: shape, codec: codec, geometry: geometry, chunks: chunks)
        }
        var offset: UInt64 = 8192
        let tensors = [
            tensor("model.layers.*.w", .bfloat16, [100, 70], .panel64, &offset),
            tensor("norm", .float32, [70], .rows, &offset), tensor("counter", .int64, [], .rows, &offset),
            tensor("nothing", .float16, [0, 4], .rows, &offset),
        ]
        return ShardHeader(userBlockSize: 4096, fileSize: offset, tensors: tensors)
    }

    @Test func roundTrips() throws {
        let header = ShardHeaderTests.example()
        let bytes = header.encoded()
        #expect(bytes.count == 4096)
        let again = try ShardHeader(userBlock: bytes, file: "s", fileSize: header.fileSize)
        #expect(again.encoded() == bytes)
        #expect(again.tensors.map(\.name) == header.tensors.map(\.name))
        #expect(again.tensors.map(\.chunks) == header.tensors.map(\.chunks))
    }

    @Test func everyFlippedByteOfTheTableIsFound() throws {
        let header = ShardHeaderTests.example()
        let bytes = header.encoded()
        let used = (bytes.lastIndex { $0 != 0 } ?? 0) + 1
        for index in 0..<used where !(56..<64).contains(index) {
            var damaged = bytes
            damaged[index] ^= 0x10
            let error = #expect(throws: LaminaError.self) {
                try ShardHeader(userBlock: damaged, file: "s", fileSize: header.fileSize)
            }
            #expect(error?.kind == .damaged, "byte \(index)")
        }
    }

    /// Tables with a right checksum over wrong content: refused, never a trap.
    @Test func mutatedTablesNeverTrap() throws {
        let header = ShardHeaderTests.example()
        let original = header.encoded()
        let used = (original.lastIndex { $0 != 0 } ?? 0) + 1
        var generator = SeededGenerator(seed: 5)
        var accepted = 0
        for _ in 0..<20_000 {
            var bytes = original
            for _ in 0..<Int.random(in: 1...3, using: &generator) {
                bytes[Int.random(in: 64..<used, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
            }
            reseal(&bytes)
            if let header = try? ShardHeader(userBlock: bytes, file: "s", fileSize: header.fileSize) {
                accepted += 1
                for tensor in header.tensors {
                    for chunk in tensor.chunks { #expect(chunk.offset + UInt64(chunk.storedSize) <= header.fileSize) }
                }
            }
        }
        #expect(accepted < 20_000)
    }

    @Test func wrongFileSizeIsDamage() {
        let header = ShardHeaderTests.example()
        let error = #expect(throws: LaminaError.self) {
            try ShardHeader(userBlock: header.encoded(), file: "s", fileSize: header.fileSize - 1)
        }
        #expect(error?.kind == .damaged)
    }

    /// Makes the two checksums right again.
    private func reseal(_ bytes: inout [UInt8]) {
        let size = (0..<8).reduce(0) { $0 | Int(bytes[32 + $1]) << (8 * $1) }
        let table = bytes.withUnsafeBytes { xxh3(UnsafeRawBufferPointer(rebasing: $0[64..<(64 + size)])) }
        for index in 0..<8 { bytes[40 + index] = UInt8(truncatingIfNeeded: table >> (8 * UInt64(index))) }
        let fixed = bytes.withUnsafeBytes { xxh3(UnsafeRawBufferPointer(rebasing: $0[0..<48])) }
        for index in 0..<8 { bytes[48 + index] = UInt8(truncatingIfNeeded: fixed >> (8 * UInt64(index))) }
    }
}
