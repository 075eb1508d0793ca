import CKernels
import LayerStore
import TensorCore
import TestSupport
import Testing

/// Chunks coded with `exp-tier`: directory, segments, and what is refused.
@Suite struct TierChunkTests {
    private nonisolated(unsafe) static let kernels = lamina_kernels_for(LAMINA_ISA_PORTABLE)!

    /// Weights in the slot of chunk `index`, as a writer lays them out: zeros behind its elements.
    private func slot(_ geometry: ChunkGeometry, chunk index: Int, seed: UInt64) -> [UInt8] {
        var generator = SeededGenerator(seed: seed)
        let elements = SyntheticCheckpoint.weights(
            geometry.chunk(index).elementCount, dtype: .bfloat16, using: &generator)
        return elements + [UInt8](repeating: 0, count: geometry.slotBytes - elements.count)
    }

    private func encoded(_ words: [UInt8], chunk index: Int, _ geometry: ChunkGeometry) -> [UInt8] {
        var room = [UInt8](repeating: 0xAA, count: TierChunk.bound(geometry))
        let size = words.withUnsafeBytes { source in
            room.withUnsafeMutableBytes {
                TierChunk.encode(
                    source.baseAddress!, chunk: index, of: geometry, into: $0.baseAddress!, kernels: Self.kernels)
            }
        }
        return Array(room[0..<size])
    }

    /// The words, or nil if directory or segments are refused.
    private func decoded(_ bytes: [UInt8], chunk index: Int, _ geometry: ChunkGeometry) throws -> [UInt8]? {
        let aligned = try AlignedBuffer(count: max(bytes.count, 1))
        aligned.bytes.copyBytes(from: bytes)
        let output = try AlignedBuffer(count: roundedUp(geometry.slotBytes, to: 64))
        let scratch = try AlignedBuffer(count: Int(LAMINA_TIER_SCRATCH))
        let chunk = TierChunk(
            UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(aligned.bytes)[0..<bytes.count]),
            segmentCount: geometry.tierSegmentCount(ofChunk: index), slotWords: geometry.slotElements)
        guard let chunk,
            chunk.decode(
                chunk: index, of: geometry, into: output.start, scratch: scratch.start, kernels: Self.kernels)
        else { return nil }
        return Array(output.bytes[0..<geometry.slotBytes])
    }

    private static let geometries: [ChunkGeometry] = [
        ChunkGeometry(shape: Shape([200, 66]), dtype: .bfloat16, layout: .panel64),
        ChunkGeometry(shape: Shape([200, 66]), dtype: .bfloat16, layout: .panel64, targetBytes: 16_000),
        ChunkGeometry(shape: Shape([70, 5000]), dtype: .bfloat16, layout: .panel64, targetBytes: 70_000),
        ChunkGeometry(shape: Shape([3, 1]), dtype: .bfloat16, layout: .panel64),
        ChunkGeometry(shape: Shape([1000, 77]), dtype: .bfloat16, layout: .rows),
        ChunkGeometry(shape: Shape([1000, 77]), dtype: .bfloat16, layout: .rows, targetBytes: 10_000),
    ]

    @Test(arguments: geometries) func everyChunkComesBack(_ geometry: ChunkGeometry) throws {
        for index in 0..<geometry.chunkCount {
            let words = slot(geometry, chunk: index, seed: UInt64(index))
            let bytes = encoded(words, chunk: index, geometry)
            #expect(bytes.count % 64 == 0)
            #expect(try decoded(bytes, chunk: index, geometry) == words, "chunk \(index)")
        }
    }

    @Test func aFullChunkIsAThirdSmaller() {
        let geometry = ChunkGeometry(shape: Shape([128, 4096]), dtype: .bfloat16, layout: .panel64)
        let words = slot(geometry, chunk: 0, seed: 1)
        #expect(Double(words.count) / Double(encoded(words, chunk: 0, geometry).count) > 1.48)
    }

    @Test func everyWrongDirectoryIsRefused() throws {
        let geometry = Self.geometries[0]
        let words = slot(geometry, chunk: 0, seed: 5)
        let bytes = encoded(words, chunk: 0, geometry)
        let directory = 8 + 8 * geometry.tierSegmentCount(ofChunk: 0)
        for position in 0..<directory {
            for bit in 0..<8 {
                var damaged = bytes
                damaged[position] ^= 1 << bit
                #expect(try decoded(damaged, chunk: 0, geometry) == nil, "byte \(position), bit \(bit)")
            }
        }
        for count in stride(from: 0, to: bytes.count, by: 61) {
            #expect(try decoded(Array(bytes[0..<count]), chunk: 0, geometry) == nil)
        }
        #expect(try decoded(bytes + [UInt8](repeating: 0, count: 64), chunk: 0, geometry) == nil)
    }

    @Test func damagedSegmentsNeverTrap() throws {
        let geometry = Self.geometries[1]
        let words = slot(geometry, chunk: 0, seed: 6)
        let bytes = encoded(words, chunk: 0, geometry)
        var generator = SeededGenerator(seed: 7)
        var refused = 0
        for _ in 0..<3000 {
            var damaged = bytes
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                damaged[Int.random(in: 0..<damaged.count, using: &generator)] = UInt8.random(
                    in: 0...255, using: &generator)
            }
            if try decoded(damaged, chunk: 0, geometry) == nil { refused += 1 }
        }
        #expect(refused > 100)
    }
}
