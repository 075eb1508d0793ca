import CKernels
import Foundation
import Testing

/// Sizes, places and values by their definitions, computed here again.
@Suite struct QuantizedLayoutTests {
    private func rounded(_ count: Int, to multiple: Int) -> Int { (count + multiple - 1) / multiple * multiple }

    /// Bytes of a panel before its codes, for schemes without chains.
    private func header(_ scheme: QuantizedScheme, _ columns: Int) -> Int {
        let entries = lamina_quantized_entries(scheme.scheme, columns)
        switch scheme {
        case .row8: return 16 * 2 + 4 * 8
        case .nf4: return rounded(entries * 32, to: 64)
        case .nf4Double: return 64 + rounded(entries * 16, to: 64)
        default: return entries * 64
        }
    }

    @Test func columnsAreFilledToBlocks() {
        for (columns, padded) in [(1, 32), (31, 32), (32, 32), (33, 64), (576, 576), (4095, 4096)] {
            #expect(lamina_quantized_columns(columns) == padded)
        }
    }

    @Test(arguments: QuantizedScheme.allCases)
    func entriesCoverWhateverARowTouches(scheme: QuantizedScheme) {
        for columns in [1, 31, 63, 64, 65, 96, 127, 128, 2047, 2048, 2049, 4096] {
            let entries = lamina_quantized_entries(scheme.scheme, columns)
            switch scheme {
            case .row8: #expect(entries == 1)
            case .q8, .q4: #expect(entries == (columns + 31) / 32)
            default:
                let block = scheme.flatBlock
                let touched = (0..<block).map { row in
                    (row * columns + columns - 1) / block - row * columns / block + 1
                }
                #expect(entries >= touched.max()! && entries <= columns / block + 2)
                #expect(columns % block != 0 || entries == columns / block)
            }
        }
    }

    @Test(arguments: QuantizedScheme.allCases)
    func sizesOfPanels(scheme: QuantizedScheme) {
        for columns in [1, 32, 33, 100, 512, 513, 576, 1100, 4096] {
            let padded = rounded(columns, to: 32)
            var expected = header(scheme, columns) + padded * (scheme.hasNibbles ? 8 : 16)
            if scheme == .q8 || scheme == .q4 {
                expected = stride(from: 0, to: padded, by: 512).reduce(0) { bytes, k in
                    let count = min(512, padded - k)
                    return bytes + 64 + rounded(count / 32 * 16, to: 64) + count * (scheme.hasNibbles ? 8 : 16)
                }
            }
            #expect(lamina_quantized_panel_bytes(scheme.scheme, columns) == expected)
            #expect(expected % 64 == 0)
            #expect(lamina_quantized_slot_bytes(scheme.scheme, columns, 5) == 5 * expected)
            #expect(lamina_quantized_slot_bytes(scheme.scheme, columns, 0) == 0)
        }
    }

    @Test func panelsKnowTheirRows() {
        let slot = QuantizedSlot(.q8, rows: 37, columns: 40, firstRow: 64, seed: 1)
        let panels = (0..<3).map { slot.panel($0) }
        #expect(panels.map(\.row) == [64, 80, 96])
        #expect(panels.map(\.rows) == [16, 16, 5])
        #expect(panels.map(\.columns) == [40, 40, 40])
        #expect(panels[2].bytes == UnsafeRawPointer(slot.memory.base + 2 * slot.panelBytes))
        #expect(lamina_quantized_panel_at(LAMINA_SCHEME_Q8, slot.memory.base, 3, 40, 64, 64 + 37).rows == 0)
    }

    // ---- tables

    @Test func normalFloatsAreQuantiles() {
        let values = withUnsafeBytes(of: lamina_nf4_values) { Array($0.bindMemory(to: Float.self)) }
        #expect(values.first == -1 && values.last == 1 && values[7] == 0)
        // QLoRA: the middle of neighbouring quantiles, 8 steps on the positive side and 7 on the other, up to 0.9677083.
        func quantile(_ probability: Double) -> Double {
            var (low, high) = (-8.0, 8.0)
            for _ in 0..<100 {
                let middle = (low + high) / 2
                if 0.5 * erfc(-middle / 2.0.squareRoot()) < probability { low = middle } else { high = middle }
            }
            return low
        }
        let largest = quantile(0.9677083)
        for index in 1...8 {
            let value = quantile(0.5 + (0.9677083 - 0.5) * Double(index) / 8) / largest
            #expect(abs(Double(values[7 + index]) - value) < 2e-7)
        }
        for index in 1...7 {
            let value = -quantile(0.5 + (0.9677083 - 0.5) * Double(index) / 7) / largest
            #expect(abs(Double(values[7 - index]) - value) < 2e-7)
        }
    }

    @Test func dynamicMapFollowsItsRule() {
        let map = withUnsafeBytes(of: lamina_dynamic_map) { Array($0.bindMemory(to: Float.self)) }
        #expect(map.count == 256 && map[127] == 0 && map[255] == 1)
        #expect(zip(map, map.dropFirst()).allSatisfy { $0 < $1 })
        for magnitude in 1...127 {
            let exponent = Int(log2(Double(magnitude)))
            let parts = Double(1 << exponent)
            let part = Double(magnitude) - parts
            let value = (0.1 + 0.9 * (part + 0.5) / parts) * pow(10, Double(exponent - 6))
            #expect(abs(Double(map[127 + magnitude]) - value) <= 2e-7 * value)
            #expect(map[127 - magnitude] == -map[127 + magnitude])
        }
    }

    @Test func q4CodebookRises() {
        let values = withUnsafeBytes(of: lamina_q4_codebook) { $0.map { Int8(bitPattern: $0) } }
        #expect(zip(values, values.dropFirst()).allSatisfy { $0 < $1 })
        #expect(values.map { Int($0).magnitude }.max() == 127)
    }
}
