import CKernels
import TensorCore
import Testing

@testable import Inference

/// What keys and values take, by hand.
@Suite struct KeyValueCacheTests {
    private static let grouped = KeyValueShape(
        heads: 2, keyDimension: 40, valueDimension: 24, isLatent: false, window: nil)

    private func bytes(_ shapes: [KeyValueShape], _ sequences: [SequenceDemand], _ type: KeyValueType) throws -> Int {
        try KeyValueCache.byteCount(shapes, sequences: sequences, type: type)
    }

    @Test func everyTypeTakesItsBytes() throws {
        // 33 positions are 3 blocks of 16.
        let sequence = [SequenceDemand(promptTokens: 30, newTokens: 4)]
        let values = 3 * 16 * 2 * (40 + 24)
        #expect(try bytes([Self.grouped], sequence, .f32) == 4 * values)
        #expect(try bytes([Self.grouped], sequence, .f16) == 2 * values)
        #expect(try bytes([Self.grouped], sequence, .bf16) == 2 * values)
        // A byte each, and a scale of two bytes per 32 values of a head: two for 40, one for 24. A head's block of
        // values is 416 bytes then, and begins at multiples of 64.
        let (keys, padded) = (16 * (40 + 2 * 2), 448)
        #expect(try bytes([Self.grouped], sequence, .q8) == 3 * 2 * (keys + padded))
        #expect(try bytes([Self.grouped, Self.grouped], sequence + sequence, .f32) == 4 * 4 * values)
    }

    /// DeepSeek-V3 at 4096 positions: 576 values per position and layer where 128 heads would have 320 each.
    @Test func latentAttentionKeepsTheLatent() throws {
        let latent = KeyValueShape(heads: 1, keyDimension: 576, valueDimension: 512, isLatent: true, window: nil)
        let sequence = [SequenceDemand(promptTokens: 4000, newTokens: 97)]
        #expect(try bytes([KeyValueShape](repeating: latent, count: 61), sequence, .f32) == 61 * 4096 * 576 * 4)
    }

    @Test func aWindowKeepsWhatItReaches() throws {
        var shape = Self.grouped
        shape.window = 100
        let block = 16 * 2 * (40 + 24) * 4
        // A pass of 8 columns attends to 107 positions, which may begin anywhere in a block.
        let sequence = SequenceDemand(promptTokens: 8, newTokens: 5000)
        #expect(try bytes([shape], [sequence], .f32) == 8 * block)
        // Never more than all positions take.
        #expect(try bytes([shape], [SequenceDemand(promptTokens: 8, newTokens: 20)], .f32) == 2 * block)
        let cache = try KeyValueCache(
            [Self.grouped, shape], sequences: [sequence], type: .f32,
            kernels: try #require(lamina_kernels_for(LAMINA_ISA_PORTABLE)))
        // 8 blocks: after 200 positions the ring holds those from 80 on.
        #expect(cache.keeps(position: 200, reached: 200) && cache.keeps(position: 179, reached: 200))
        #expect(!cache.keeps(position: 178, reached: 200) && !cache.keeps(position: 0, reached: 200))
        #expect(cache.keeps(position: 0, reached: 128) && cache.keeps(position: 20, reached: 100))
    }

    @Test func sizesThatCannotBeAddressedAreRefused() {
        let shape = KeyValueShape(
            heads: 1 << 20, keyDimension: 1 << 16, valueDimension: 1, isLatent: false, window: nil)
        let error = #expect(throws: LaminaError.self) {
            try bytes([shape], [SequenceDemand(promptTokens: 1 << 30, newTokens: 1)], .f32)
        }
        #expect(error?.kind == .limit && error?.subject == "--ctx")
    }
}
