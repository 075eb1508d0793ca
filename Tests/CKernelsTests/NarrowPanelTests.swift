import CKernels
import Testing

/// Panels of 8-bit codes with as few bits as they need.
@Suite struct NarrowPanelTests {
    /// How the codes of a panel are spread.
    enum Codes: Sendable, CaseIterable {
        case constant, twoBits, fourBits, fiveBits, sixBits, sevenBits, eightBits, heavyTails, extremes

        func draw(_ generator: inout SeededGenerator) -> UInt8 {
            let random = generator.next() >> 13
            func within(_ range: UInt64) -> UInt8 { UInt8(128 - range / 2 + random % range) }
            switch self {
            case .constant: return 128
            case .twoBits: return within(4)
            case .fourBits: return within(16)
            case .fiveBits: return within(32)
            case .sixBits: return within(64)
            case .sevenBits: return within(128)
            case .eightBits: return UInt8(truncatingIfNeeded: random)
            case .heavyTails: return random % 997 == 0 ? UInt8(truncatingIfNeeded: random >> 8) : within(24)
            case .extremes: return random % 211 == 0 ? (random >> 9 % 2 == 0 ? 0 : 255) : within(16)
            }
        }
    }

    /// A slot of ROW8 with such codes, and escapes.
    private static func slot(_ codes: Codes, rows: Int, columns: Int, seed: UInt64) -> QuantizedSlot {
        let slot = QuantizedSlot(.row8, rows: rows, columns: columns, escapes: Int(seed % 4), seed: seed)
        var generator = SeededGenerator(seed: seed)
        for panel in 0..<slot.panels {
            let bytes = slot.memory.base + panel * slot.panelBytes
            for place in 64..<slot.panelBytes {
                bytes.storeBytes(of: codes.draw(&generator), toByteOffset: place, as: UInt8.self)
            }
            for index in 0..<4 {
                let escape = bytes.load(fromByteOffset: 32 + 8 * index, as: UInt64.self)
                let (k, row) = (Int(escape >> 24), Int(escape >> 16 & 255))
                guard k < columns else { continue }
                bytes.storeBytes(of: 0, toByteOffset: 64 + k / 4 * 64 + 4 * row + k % 4, as: UInt8.self)
            }
        }
        return slot
    }

    /// A panel made narrow by a table, in memory that ends where it does.
    private static func narrow(_ slot: QuantizedSlot, _ panel: Int, _ kernels: lamina_kernels) -> GuardedMemory {
        let room = GuardedMemory(count: lamina_narrow_bound(slot.columns))
        room.fill(0xee)
        let used = kernels.narrow_panel(slot.memory.base + panel * slot.panelBytes, slot.columns, room.base)
        precondition(used <= room.count && used % 64 == 0)
        return GuardedMemory(room.bytes.prefix(used))
    }

    private static func bits(_ narrow: GuardedMemory) -> UInt32 { narrow.base.load(as: UInt32.self) }

    @Test(arguments: KernelTable.available, Codes.allCases)
    func bytesAreTheReferencesAndComeBack(table: KernelTable, codes: Codes) {
        for columns in [1, 31, 32, 33, 100, 511, 512, 513, 1100] {
            let slot = Self.slot(codes, rows: 32, columns: columns, seed: UInt64(columns))
            for panel in 0..<2 {
                let found = Self.narrow(slot, panel, table.kernels)
                let expected = Self.narrow(slot, panel, KernelTable.reference)
                #expect(found.bytes == expected.bytes, "\(columns) columns")
                let restored = GuardedMemory(count: slot.panelBytes)
                table.kernels.restore_panel(found.base, columns, restored.base)
                let original = slot.memory.bytes[panel * slot.panelBytes..<(panel + 1) * slot.panelBytes]
                #expect(restored.bytes == Array(original), "\(columns) columns")
            }
        }
    }

    @Test func bitsFollowTheCodes() {
        let cases: [(Codes, ClosedRange<UInt32>)] = [
            (.constant, 4...4), (.twoBits, 4...4), (.fourBits, 4...4), (.fiveBits, 5...5), (.sixBits, 6...6),
            (.sevenBits, 8...8), (.eightBits, 8...8), (.heavyTails, 5...6), (.extremes, 4...4),
        ]
        for (codes, expected) in cases {
            let slot = Self.slot(codes, rows: 16, columns: 1024, seed: 4)
            let found = Self.bits(Self.narrow(slot, 0, KernelTable.reference))
            #expect(expected.contains(found), "\(codes)")
        }
    }

    /// A block of codes 120 + (place % 16), and one that does not fit: 200 at k 6, row 3.
    @Test func aBlockByHand() {
        let slot = QuantizedSlot(.row8, rows: 16, columns: 32, seed: 1)
        for place in 0..<512 {
            slot.memory.base.storeBytes(of: UInt8(120 + place % 16), toByteOffset: 64 + place, as: UInt8.self)
        }
        slot.memory.base.storeBytes(of: 200, toByteOffset: 64 + 64 + 4 * 3 + 2, as: UInt8.self)
        for kernels in KernelTable.available.map(\.kernels) + [KernelTable.reference] {
            let bytes = Self.narrow(slot, 0, kernels).bytes
            #expect(bytes.count == 64 + 64 + 64 + 256 + 64)
            #expect(Array(bytes[0..<8]) == [4, 0, 0, 0, 0, 0, 0, 0])
            #expect(Array(bytes[64..<128]) == Array(slot.memory.bytes[0..<64]))
            #expect(Array(bytes[128..<132]) == [1, 0, 0, 0])
            #expect(bytes[192..<448].enumerated().allSatisfy { $1 == ($0 == 14 ? 14 : UInt8($0 % 16) * 17) })
            #expect(Array(bytes[448..<456]) == [6, 3, 80, 0, 0, 0, 0, 0])
        }
    }

    @Test(arguments: KernelTable.available, Codes.allCases)
    func productsEqualThoseOfBytes(table: KernelTable, codes: Codes) {
        for (index, columns) in [1, 32, 33, 480, 512, 513, 700, 1100].enumerated() {
            let slot = Self.slot(codes, rows: 40, columns: columns, seed: UInt64(index + 1))
            let widths = [1, 2, 3, 5, 12, 13, 40, 49, 101]
            var generator = SeededGenerator(seed: UInt64(columns))
            let values = (0..<101).map { _ in
                (0..<columns).map { _ in generator.value() * (generator.next() % 50 == 0 ? 30 : 1) }
            }
            let x = QuantizedActivations(KernelTable.reference, values)
            let expected = comparableBits(slot.product(KernelTable.reference, x, columns: 0..<101))
            let stride = expected.count / 101
            for width in widths {
                let found = comparableBits(Self.product(slot, x, columns: width, table.kernels))
                #expect(found == Array(expected.prefix(width * stride)), "\(columns) columns, \(width) at a time")
            }
        }
    }

    /// As `QuantizedSlot.product`, with narrow panels.
    private static func product(
        _ slot: QuantizedSlot, _ x: QuantizedActivations, columns: Int, _ kernels: lamina_kernels
    ) -> [Float] {
        let stride = slot.rows + 5
        let memory = (0..<slot.panels).map { narrow(slot, $0, kernels) }
        let panels = (0..<slot.panels).map {
            var panel = slot.panel($0)
            panel.bytes = UnsafeRawPointer(memory[$0].base)
            return panel
        }
        var y = [Float](repeating: -7.5, count: columns * stride)
        y.withUnsafeMutableBufferPointer { y in
            panels.withUnsafeBufferPointer { panels in
                var task = lamina_quantized_task(
                    panels: panels.baseAddress, panel_count: panels.count, x: x.batch(from: 0), y: y.baseAddress,
                    y_stride: stride, columns: columns)
                kernels.multiply_narrow(&task)
            }
        }
        withExtendedLifetime(memory) {}
        return y
    }
}
