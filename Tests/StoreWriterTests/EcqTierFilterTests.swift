import CKernels
import CTierFilters
import Foundation
import LayerStore
import TensorCore
import TestSupport
import Testing

/// HDF5's filter for `ecq-tier`, called as the library calls it.
@Suite struct EcqTierFilterTests {
    private static let header = 64

    private static func run(_ bytes: [UInt8], flags: Int, _ parameters: [Int]) throws -> [UInt8]? {
        let filterClass = lamina_ecq_tier_filter().pointee
        let parameters = parameters.map { UInt32($0) }
        return try FilterBuffer(bytes).run(filterClass, bytes.count, flags: UInt32(flags), parameters: parameters)
    }

    private static func encoded(_ slot: [UInt8], columns: Int) throws -> [UInt8]? {
        try run(slot, flags: 0, [columns])
    }

    private static func decoded(_ chunk: [UInt8]) throws -> [UInt8]? {
        try run(chunk, flags: Int(LAMINA_HDF5_DECODE), [])
    }

    private static func panelBytes(_ columns: Int) -> Int {
        lamina_quantized_panel_bytes(LAMINA_SCHEME_ROW8, columns)
    }

    /// Panels with steps near 2^-10, no escapes, and codes that are mostly small.
    private static func panels(_ count: Int, columns: Int, _ generator: inout SeededGenerator) -> [UInt8] {
        var slot: [UInt8] = []
        for _ in 0..<count {
            for _ in 0..<16 { slot += [UInt8(truncatingIfNeeded: generator.next()), 0x3A] }
            slot += [UInt8](repeating: 0x80, count: 32)
            slot += (0..<panelBytes(columns) - header).map { _ -> UInt8 in
                let random = generator.next()
                let sum: UInt64 = (random & 7) + (random >> 3 & 7) + (random >> 6 & 7)
                return UInt8(118 + sum)
            }
        }
        return slot
    }

    @Test func pluginSaysWhatItIs() {
        let filterClass = lamina_ecq_tier_filter().pointee
        #expect(filterClass.version == 1)
        #expect(filterClass.id == 44555)
        #expect(filterClass.encoder_present == 1 && filterClass.decoder_present == 1)
        #expect(filterClass.can_apply == nil && filterClass.set_local == nil)
    }

    @Test(arguments: [(1, 1), (3, 33), (128, 32), (129, 32), (300, 40), (5, 5000), (17, 576)])
    func everyBitComesBack(count: Int, columns: Int) throws {
        var generator = SeededGenerator(seed: UInt64(count))
        let panelBytes = Self.panelBytes(columns)
        let noise = (0..<count * panelBytes).map { _ in UInt8.random(in: 0...255, using: &generator) }
        for slot in [Self.panels(count, columns: columns, &generator), noise] {
            let chunk = try #require(try Self.encoded(slot, columns: columns))
            let segments = dividedUp(count, by: max(1, 65_536 / (panelBytes - Self.header)))
            #expect(Array(chunk[..<16]) == integers([segments, count, columns, 0].map(UInt32.init)))
            #expect(try Self.decoded(chunk) == slot)
        }
    }

    /// Chunks as stores have them, the last with fewer panels than its slot.
    @Test(arguments: [(40, 100), (200, 1000), (2100, 64), (6500, 32)])
    func whatStoresHoldIsDecoded(rows: Int, columns: Int) throws {
        var generator = SeededGenerator(seed: 4)
        let geometry = ChunkGeometry(
            shape: Shape([rows, columns]), dtype: .bfloat16, layout: .panel16, scheme: EntropyCodedTiers(),
            targetBytes: 1 << 17)
        var room = [UInt8](repeating: 0, count: CodeTierChunk.bound(geometry))
        var gathered = [UInt8](repeating: 0, count: geometry.slotBytes)
        for index in 0..<geometry.chunkCount {
            let held = geometry.chunk(index).unitCount
            let slot = Self.panels(held, columns: columns, &generator)
            let size = CodeTierChunk.encode(
                slot, chunk: index, of: geometry, into: &room, gathered: &gathered, kernels: SmallConversion.kernels)
            let padding = [UInt8](repeating: 0, count: geometry.slotBytes - slot.count)
            let found = try Self.decoded(Array(room[..<size]))
            #expect(found == slot + padding, "chunk \(index)")
        }
    }

    @Test func encodingHasToBeToldTheColumns() throws {
        var generator = SeededGenerator(seed: 1)
        let slot = Self.panels(4, columns: 64, &generator)
        for parameters in [[], [0], [96], [64, 1], [1 << 31], [Int(UInt32.max)]] {
            #expect(try Self.run(slot, flags: 0, parameters) == nil)
        }
        #expect(try Self.encoded([], columns: 64) == nil)
        let noise = (0..<slot.count).map { _ in UInt8.random(in: 0...255, using: &generator) }
        #expect(try Self.run(noise, flags: Int(LAMINA_HDF5_OPTIONAL), [64]) == nil)
        #expect(try Self.run(slot, flags: Int(LAMINA_HDF5_OPTIONAL), [64])?.count ?? slot.count < slot.count * 3 / 4)
    }

    /// Directories that contradict themselves, each wrong in one place.
    @Test func wrongDirectoriesAreRefused() throws {
        var generator = SeededGenerator(seed: 2)
        let chunk = try #require(try Self.encoded(Self.panels(300, columns: 32, &generator), columns: 32))
        func with(_ value: UInt32, at offset: Int) -> [UInt8] {
            Array(chunk[..<offset]) + integers([value]) + chunk[(offset + 4)...]
        }
        func value(at offset: Int) -> UInt32 { (0..<4).reduce(0) { $0 | UInt32(chunk[offset + $1]) << (8 * $1) } }
        for count: UInt32 in [0, 1, 2, 4, 8, 1 << 29, .max] { #expect(try Self.decoded(with(count, at: 0)) == nil) }
        for panels: UInt32 in [0, 1, 299, 1 << 20, .max] { #expect(try Self.decoded(with(panels, at: 4)) == nil) }
        for columns: UInt32 in [0, 33, 1 << 21, .max] { #expect(try Self.decoded(with(columns, at: 8)) == nil) }
        #expect(try Self.decoded(with(1, at: 12)) == nil)
        for segment in 0..<3 {
            let (offset, size) = (16 + 8 * segment, 20 + 8 * segment)
            for delta in [1, 64, UInt32(bitPattern: -64), 1 << 31] {
                #expect(try Self.decoded(with(value(at: offset) &+ delta, at: offset)) == nil)
                #expect(try Self.decoded(with(value(at: size) &+ delta, at: size)) == nil)
            }
        }
        for count in [0, 1, 7, 63, 64, chunk.count - 64, chunk.count - 1] {
            #expect(try Self.decoded(Array(chunk[..<count])) == nil)
        }
        #expect(try Self.decoded(chunk + [UInt8](repeating: 0, count: 64)) == nil)
    }

    /// Anything may come back, or nothing; never a crash, and never more than the largest slot.
    @Test func mutatedChunksDoNoHarm() throws {
        var generator = SeededGenerator(seed: 3)
        var refused = 0
        for round in 0..<1000 {
            let columns = 32 * Int.random(in: 1...8, using: &generator)
            let count = Int.random(in: 1...(round % 50 == 0 ? 140 : 6), using: &generator)
            let slot = Self.panels(count, columns: columns, &generator)
            var chunk = try #require(try Self.encoded(slot, columns: columns))
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                // Every other change hits a directory or the headers behind it, where most can go wrong.
                let end = Bool.random(using: &generator) ? min(chunk.count, 256) : chunk.count
                chunk[Int.random(in: 0..<end, using: &generator)] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
            }
            if round % 5 == 0 { chunk.removeLast(Int.random(in: 1...min(chunk.count, 200), using: &generator)) }
            let result = try Self.decoded(chunk)
            if let result { #expect(result.count <= 64 << 20) } else { refused += 1 }
        }
        #expect(refused > 200 && refused < 1000)
    }
}
