import CKernels
import Foundation
import LayerStore
import TensorCore
import TestSupport
import Testing

/// Chunks of quantized panels coded by `ecq-tier`.
@Suite struct CodeTierChunkTests {
    private nonisolated(unsafe) static let kernels: KernelTable = lamina_kernels_for(LAMINA_ISA_PORTABLE)!
    private static let scratchBytes = Int(LAMINA_CODES_SCRATCH)

    private func geometry(_ rows: Int, _ columns: Int, targetBytes: Int) -> ChunkGeometry {
        ChunkGeometry(
            shape: Shape([rows, columns]), dtype: .bfloat16, layout: .panel16, scheme: EntropyCodedTiers(),
            targetBytes: targetBytes)
    }

    /// Panels as quantizing makes them: headers of any bytes, codes around 128.
    private func slot(_ geometry: ChunkGeometry, chunk: Int) -> [UInt8] {
        var generator = SeededGenerator(seed: UInt64(geometry.columns + chunk))
        var bytes = [UInt8](repeating: 0, count: geometry.slotBytes)
        let used = geometry.chunk(chunk).unitCount * geometry.panelBytes
        for index in 0..<used {
            let bits = generator.next()
            let isHeader = index % geometry.panelBytes < 64
            bytes[index] = isHeader ? UInt8(truncatingIfNeeded: bits) : UInt8(120 + (bits & 15).nonzeroBitCount * 4)
        }
        return bytes
    }

    private func aligned(_ bytes: [UInt8]) throws -> AlignedBuffer {
        let buffer = try AlignedBuffer(count: max(bytes.count, 64))
        buffer.bytes.copyBytes(from: bytes)
        return buffer
    }

    private func encode(_ slot: [UInt8], chunk: Int, _ geometry: ChunkGeometry) throws -> [UInt8] {
        let room = try AlignedBuffer(count: CodeTierChunk.bound(geometry))
        let gathered = try AlignedBuffer(count: geometry.slotBytes)
        let source = try aligned(slot)
        let size = CodeTierChunk.encode(
            source.start, chunk: chunk, of: geometry, into: room.start, gathered: gathered.start, kernels: Self.kernels)
        return Array(room.bytes[..<size])
    }

    private func decode(_ coded: [UInt8], chunk: Int, _ geometry: ChunkGeometry) throws -> [UInt8]? {
        let gathered = try AlignedBuffer(count: geometry.slotBytes)
        let scratch = try AlignedBuffer(count: CodeTierChunkTests.scratchBytes)
        let target = try AlignedBuffer(count: geometry.slotBytes)
        let source = try aligned(coded)
        let bytes = UnsafeRawBufferPointer(start: source.start, count: coded.count)
        let isWhole = CodeTierChunk(bytes, chunk: chunk, of: geometry)?.decode(
            into: target.start, gathered: gathered.start, scratch: scratch.start, kernels: Self.kernels)
        return isWhole == true ? Array(target.bytes) : nil
    }

    /// One panel, panels of several segments, a last chunk that is smaller than its slot, columns no multiple of 32.
    @Test(arguments: [(16, 32, 1 << 20), (100, 515, 1 << 14), (300, 1000, 1 << 17), (50, 5000, 1 << 16)])
    func panelsComeBack(_ rows: Int, _ columns: Int, _ targetBytes: Int) throws {
        let geometry = geometry(rows, columns, targetBytes: targetBytes)
        for chunk in 0..<geometry.chunkCount {
            let slot = slot(geometry, chunk: chunk)
            let coded = try encode(slot, chunk: chunk, geometry)
            #expect(coded.count % 64 == 0)
            #expect(coded.count < slot.count || geometry.columns < 64)
            #expect(try decode(coded, chunk: chunk, geometry) == slot)
        }
    }

    /// What is cut, or changed in its directory, is refused; whatever else is changed stays inside of its memory.
    @Test func damageIsNoticedOrHarmless() throws {
        let geometry = geometry(70, 515, targetBytes: 1 << 14)
        let coded = try encode(slot(geometry, chunk: 0), chunk: 0, geometry)
        for size in [0, 4, 63, 64, coded.count / 2, coded.count - 64, coded.count - 1] {
            #expect(try decode(Array(coded[..<size]), chunk: 0, geometry) == nil)
        }
        for place in 0..<24 {
            var changed = coded
            changed[place] ^= 0x41
            #expect(try decode(changed, chunk: 0, geometry) == nil, "byte \(place)")
        }
        var generator = SeededGenerator(seed: 9)
        for _ in 0..<2000 {
            var changed = coded
            for _ in 0..<3 {
                changed[Int(generator.next() % UInt64(coded.count))] = UInt8(truncatingIfNeeded: generator.next())
            }
            _ = try decode(changed, chunk: 0, geometry)
        }
    }
}
