import CTierFilters
import Foundation
import TensorCore
import TestSupport
import Testing

private var filterClass: lamina_hdf5_filter_class { lamina_exp_tier_filter().pointee }

private func encoded(_ slot: [UInt8], flags: UInt32 = 0) throws -> [UInt8]? {
    try FilterBuffer(slot).run(filterClass, slot.count, flags: flags)
}

private func decoded(_ chunk: [UInt8]) throws -> [UInt8]? {
    try FilterBuffer(chunk).run(filterClass, chunk.count, flags: UInt32(LAMINA_HDF5_DECODE))
}

private func bytes(_ words: [UInt16]) -> [UInt8] {
    words.flatMap { [UInt8(truncatingIfNeeded: $0), UInt8($0 >> 8)] }
}

/// BF16 words as trained weights have them, with a few of any kind in between.
private func weights(_ count: Int, _ generator: inout SeededGenerator) -> [UInt8] {
    bytes(
        (0..<count).map { _ in
            let random = generator.next()
            if random & 0xFF == 0 { return UInt16(truncatingIfNeeded: random >> 8) }
            let exponent = UInt16(122 - min(((random >> 8) | 1 << 20).trailingZeroBitCount, 20))
            return UInt16(truncatingIfNeeded: random >> 40) & 0x807F | exponent << 7
        })
}

/// HDF5's filter for `exp-tier`, called as the library calls it.
@Suite struct ExpTierFilterTests {
    @Test func pluginSaysWhatItIs() {
        #expect(filterClass.version == 1)
        #expect(filterClass.id == 44554)
        #expect(filterClass.encoder_present == 1 && filterClass.decoder_present == 1)
        #expect(filterClass.can_apply == nil && filterClass.set_local == nil)
    }

    /// The example is made by hand from formats/shard.md: 1, -1, 0 and a slot of five words.
    @Test func theSpecificationsBytesAreDecoded() throws {
        var chunk = integers([1, 5, 64, 192]) + [UInt8](repeating: 0, count: 48)
        chunk += integers([3, 0, 0, 0]) + [127, 0] + [UInt8](repeating: 0, count: 46)
        chunk += [0b100] + [UInt8](repeating: 0, count: 63)
        chunk += [0, 1, 0] + [UInt8](repeating: 0, count: 61)
        #expect(try decoded(chunk) == bytes([0x3F80, 0xBF80, 0, 0, 0]))
        #expect(try encoded(bytes([0x3F80, 0xBF80, 0])) == integers([1, 3]) + chunk[8...])
    }

    @Test(arguments: [1, 2, 63, 64, 65, 4097, 65_536, 65_537, 200_000])
    func everyBitComesBack(_ count: Int) throws {
        var generator = SeededGenerator(seed: UInt64(count))
        let noise = (0..<(2 * count)).map { _ in UInt8.random(in: 0...255, using: &generator) }
        for slot in [weights(count, &generator), noise, [UInt8](repeating: 0, count: 2 * count)] {
            let chunk = try #require(try encoded(slot))
            #expect(Array(chunk[0..<8]) == integers([UInt32(dividedUp(count, by: 65_536)), UInt32(count)]))
            #expect(try decoded(chunk) == slot)
        }
    }

    @Test func whatGainsNothingIsLeftToTheLibrary() throws {
        var generator = SeededGenerator(seed: 1)
        let noise = (0..<8192).map { _ in UInt8.random(in: 0...255, using: &generator) }
        let optional = UInt32(LAMINA_HDF5_OPTIONAL)
        #expect(try encoded(noise, flags: optional) == nil)
        #expect(try encoded(weights(4096, &generator), flags: optional)?.count ?? 8192 < 6000)
        #expect(try encoded([]) == nil)
        #expect(try encoded([1, 2, 3]) == nil, "half a word")
    }

    /// Directories that contradict themselves, each wrong in one place.
    @Test func wrongDirectoriesAreRefused() throws {
        var generator = SeededGenerator(seed: 2)
        let chunk = try #require(try encoded(weights(140_000, &generator)))
        func with(_ value: UInt32, at offset: Int) -> [UInt8] {
            Array(chunk[0..<offset]) + integers([value]) + chunk[(offset + 4)...]
        }
        func value(at offset: Int) -> UInt32 { (0..<4).reduce(0) { $0 | UInt32(chunk[offset + $1]) << (8 * $1) } }
        for count: UInt32 in [0, 1, 2, 4, 8, 1 << 29, .max] { #expect(try decoded(with(count, at: 0)) == nil) }
        for words: UInt32 in [0, 1, 139_999, 1 << 25 + 1, .max] { #expect(try decoded(with(words, at: 4)) == nil) }
        for segment in 0..<3 {
            let (offset, size) = (8 + 8 * segment, 12 + 8 * segment)
            for delta in [1, 64, UInt32(bitPattern: -64), 1 << 31] {
                #expect(try decoded(with(value(at: offset) &+ delta, at: offset)) == nil)
                #expect(try decoded(with(value(at: size) &+ delta, at: size)) == nil)
            }
            let words = Int(value(at: offset))
            #expect(try decoded(with(0, at: words)) == nil, "a segment without words")
            #expect(try decoded(with(.max, at: words)) == nil)
        }
        for count in [0, 1, 7, 63, 64, chunk.count - 64, chunk.count - 1] {
            #expect(try decoded(Array(chunk[0..<count])) == nil)
        }
        #expect(try decoded(chunk + [UInt8](repeating: 0, count: 64)) == nil)
        #expect(try decoded(with(140_001, at: 4))?.count == 280_002, "padding is no contradiction")
    }

    /// Anything may come back, or nothing; never a crash, and never more than the largest slot.
    @Test func mutatedChunksDoNoHarm() throws {
        var generator = SeededGenerator(seed: 3)
        var refused = 0
        for round in 0..<1000 {
            let count = Int.random(in: 1...(round % 50 == 0 ? 140_000 : 3000), using: &generator)
            var chunk = try #require(try encoded(weights(count, &generator)))
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                // Every other change hits a directory or the header behind it, where most can go wrong.
                let end = Bool.random(using: &generator) ? min(chunk.count, 192) : chunk.count
                chunk[Int.random(in: 0..<end, using: &generator)] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
            }
            if round % 5 == 0 { chunk.removeLast(Int.random(in: 1...min(chunk.count, 200), using: &generator)) }
            let slot = try decoded(chunk)
            if let slot { #expect(slot.count % 2 == 0 && slot.count <= 64 << 20) } else { refused += 1 }
        }
        #expect(refused > 300 && refused < 1000)
    }
}
