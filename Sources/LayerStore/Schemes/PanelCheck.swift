import CKernels
import TensorCore

/// What a writer never makes of quantized panels, though their checksums may be right.
enum PanelCheck {
    private static let rows = Int(LAMINA_QUANTIZED_ROWS)
    private static let escapes = Int(LAMINA_ESCAPES)
    /// `LAMINA_NO_ESCAPE`, which Swift does not import.
    private static let noEscape: UInt64 = 0x8080_8080_8080_8080

    /// What is wrong with a chunk's panels, `nil` if nothing is. `slot` is the decoded chunk.
    static func problem(_ slot: UnsafeRawPointer, chunk index: Int, of tensor: TensorRecord) -> String? {
        guard let scheme = tensor.codec as? any QuantizationScheme else { return nil }
        let geometry = tensor.geometry
        let extent = geometry.chunk(index)
        for unit in 0..<extent.unitCount {
            let panel = slot + unit * geometry.panelBytes
            let row = (extent.firstUnit + unit) * rows
            if scheme.form == LAMINA_SCHEME_ROW8,
                let problem = escapeProblem(panel, geometry, rows: min(rows, geometry.rows - row))
            {
                return "the panel of row \(row) \(problem)"
            }
            guard scalesAreFinite(panel, scheme.form, geometry) else {
                return "the panel of row \(row) has a scale that is no number"
            }
        }
        return nil
    }

    /// Every code that stands for an escape has one, and no other has.
    private static func escapeProblem(_ panel: UnsafeRawPointer, _ geometry: ChunkGeometry, rows: Int) -> String? {
        let codes = panel + 2 * PanelCheck.rows + 8 * escapes
        var last: UInt64?
        var count = 0
        for index in 0..<escapes {
            let bits = UInt64(
                littleEndian: panel.loadUnaligned(fromByteOffset: 2 * PanelCheck.rows + 8 * index, as: UInt64.self))
            guard bits != noEscape else {
                last = bits
                continue
            }
            let (column, row) = (bits >> 24, Int(bits >> 16 & 255))
            guard column < UInt64(geometry.columns), row < rows, last.map({ $0 < bits && $0 != noEscape }) ?? true
            else {
                return "has an escape that is out of place"
            }
            let place = Int(column) / 4 * 64 + 4 * row + Int(column) % 4
            guard codes.load(fromByteOffset: place, as: UInt8.self) == 0 else {
                return "has an escape for a code that is none"
            }
            last = bits
            count += 1
        }
        let bytes = UnsafeRawBufferPointer(start: codes, count: geometry.paddedColumns * PanelCheck.rows)
        let found = bytes.reduce(0) { $1 == 0 ? $0 + 1 : $0 }
        return found == count ? nil : "has \(found) codes for escapes, and \(count) escapes"
    }

    private static func scalesAreFinite(
        _ panel: UnsafeRawPointer, _ form: lamina_scheme, _ geometry: ChunkGeometry
    ) -> Bool {
        switch form {
        case LAMINA_SCHEME_ROW8: return areFinite(panel, UInt16.self, count: rows, exponent: 0x7F80)
        case LAMINA_SCHEME_NF4:
            let entries = lamina_quantized_entries(form, geometry.columns)
            return areFinite(panel, UInt16.self, count: entries * rows, exponent: 0x7C00)
        case LAMINA_SCHEME_INT8_DYNAMIC:
            let entries = lamina_quantized_entries(form, geometry.columns)
            return areFinite(panel, UInt32.self, count: entries * rows, exponent: 0x7F80_0000)
        case LAMINA_SCHEME_NF4_DOUBLE: return areFinite(panel, UInt32.self, count: rows, exponent: 0x7F80_0000)
        default:
            var chain = panel
            for column in stride(from: 0, to: geometry.paddedColumns, by: Int(LAMINA_CHAIN_LENGTH)) {
                guard areFinite(chain, UInt32.self, count: rows, exponent: 0x7F80_0000) else { return false }
                let columns = min(Int(LAMINA_CHAIN_LENGTH), geometry.paddedColumns - column)
                chain += lamina_quantized_panel_bytes(form, columns)
            }
            return true
        }
    }

    /// Whether no exponent has all its bits.
    private static func areFinite<Bits: FixedWidthInteger>(
        _ start: UnsafeRawPointer, _ type: Bits.Type, count: Int, exponent: Bits
    ) -> Bool {
        (0..<count).allSatisfy { index in
            let bits = start.load(fromByteOffset: index * MemoryLayout<Bits>.stride, as: type)
            return Bits(littleEndian: bits) & exponent != exponent
        }
    }
}
