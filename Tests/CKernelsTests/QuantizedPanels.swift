import CKernels

/// A scheme of quantized weights, with the functions a table has for it.
enum QuantizedScheme: UInt32, CaseIterable, Sendable {
    case row8 = 0
    case q8 = 1
    case q4 = 2
    case nf4 = 3
    case nf4Double = 4
    case int8Dynamic = 5

    typealias Multiply = @convention(c) (UnsafePointer<lamina_quantized_task>?) -> Void
    typealias MultiplySingle =
        @convention(c) (
            UnsafePointer<lamina_quantized_panel>?, Int, UnsafePointer<Float>?, UnsafeMutablePointer<Float>?
        ) -> Bool
    typealias Dequantize =
        @convention(c) (
            UnsafePointer<lamina_quantized_panel>?, Int, Int, UnsafeMutablePointer<Float>?, Int
        ) -> Void

    /// Those that multiply int8 activations.
    static let multiplied: [QuantizedScheme] = [.row8, .q8, .q4]

    var scheme: lamina_scheme { lamina_scheme(rawValue) }

    var hasNibbles: Bool { [.q4, .nf4, .nf4Double].contains(self) }

    /// Weights of the flattened tensor that share a scale.
    var flatBlock: Int { self == .int8Dynamic ? 2048 : 64 }

    func multiply(_ kernels: lamina_kernels) -> Multiply {
        let functions = kernels.multiply_quantized
        return [functions.0, functions.1, functions.2][Int(rawValue)]!
    }

    func multiplySingle(_ kernels: lamina_kernels) -> MultiplySingle {
        let functions = kernels.multiply_dequantized
        return [functions.0, functions.1, functions.2, functions.3, functions.4, functions.5][Int(rawValue)]!
    }

    func dequantize(_ kernels: lamina_kernels) -> Dequantize {
        let functions = kernels.dequantize_panel
        return [functions.0, functions.1, functions.2, functions.3, functions.4, functions.5][Int(rawValue)]!
    }
}

/// A slot of panels whose codes are anything and whose scales are numbers, and the matrix they belong to.
struct QuantizedSlot {
    let scheme: QuantizedScheme
    let rows: Int
    let columns: Int
    let firstRow: Int
    let memory: GuardedMemory

    var panels: Int { (rows + 15) / 16 }
    var panelBytes: Int { lamina_quantized_panel_bytes(scheme.scheme, columns) }

    init(_ scheme: QuantizedScheme, rows: Int, columns: Int, firstRow: Int = 0, escapes: Int = 0, seed: UInt64) {
        (self.scheme, self.rows, self.columns, self.firstRow) = (scheme, rows, columns, firstRow)
        memory = GuardedMemory(count: lamina_quantized_slot_bytes(scheme.scheme, columns, (rows + 15) / 16))
        var generator = SeededGenerator(seed: seed)
        memory.write((0..<memory.count).map { _ in UInt8(truncatingIfNeeded: generator.next() >> 20) })
        for panel in 0..<panels {
            writeScales(of: memory.base + panel * panelBytes, &generator)
            if scheme == .row8 { write(escapes: escapes, to: panel, &generator) }
        }
    }

    private func writeScales(of panel: UnsafeMutableRawPointer, _ generator: inout SeededGenerator) {
        let entries = 16 * lamina_quantized_entries(scheme.scheme, columns)
        switch scheme {
        case .row8: panel.write(scales: 16) { UInt16(generator.value().bitPattern >> 16) }
        case .nf4: panel.write(scales: entries) { UInt16(generator.next() % 0x7c00) }
        case .nf4Double: panel.write(scales: 16) { generator.value() }
        case .int8Dynamic: panel.write(scales: entries) { generator.value() }
        case .q8, .q4:
            for chain in 0..<(columns + 511) / 512 {
                let offset = chain * lamina_quantized_panel_bytes(scheme.scheme, 512)
                (panel + offset).write(scales: 16) { generator.value() }
            }
        }
    }

    /// Escapes at rising k of a few rows, whose codes are -128, and with room for more.
    private func write(escapes count: Int, to panel: Int, _ generator: inout SeededGenerator) {
        let base = memory.base + panel * panelBytes
        var k = 0
        for index in 0..<4 {
            k += 1 + Int(generator.next() % UInt64(columns / 4 + 1))
            var escape: UInt64 = 0x8080_8080_8080_8080
            if index < count, k < columns {
                let row = Int(generator.next() % 16)
                escape = UInt64(k) << 24 | UInt64(row) << 16 | generator.next() & 0xffff
                base.storeBytes(of: 0, toByteOffset: 64 + k / 4 * 64 + 4 * row + k % 4, as: UInt8.self)
            }
            base.storeBytes(of: escape, toByteOffset: 32 + 8 * index, as: UInt64.self)
        }
    }

    func panel(_ index: Int) -> lamina_quantized_panel {
        lamina_quantized_panel_at(scheme.scheme, memory.base, index, columns, firstRow, firstRow + rows)
    }

    /// The panels' values [k][16 * panels], from the definition of a table.
    func dequantized(_ kernels: lamina_kernels, from begin: Int = 0, count: Int? = nil) -> [Float] {
        let count = count ?? columns - begin
        let stride = 16 * panels
        let out = GuardedMemory(count: 4 * count * stride)
        let values = out.base.bindMemory(to: Float.self, capacity: count * stride)
        for index in 0..<panels {
            var panel = panel(index)
            scheme.dequantize(kernels)(&panel, begin, count, values + 16 * index, stride)
        }
        return Array(UnsafeBufferPointer(start: values, count: count * stride))
    }

    /// [rows] of the product with one column of f32, in groups of up to `together` panels; nil where a table has no way
    /// of its own.
    func product(_ kernels: lamina_kernels, single x: [Float], together: Int = 4) -> [Float]? {
        let input = GuardedMemory(x.flatMap { withUnsafeBytes(of: $0) { Array($0) } })
        let output = GuardedMemory(
            [Float](repeating: -7.5, count: rows).flatMap { withUnsafeBytes(of: $0) { Array($0) } })
        let y = output.base.assumingMemoryBound(to: Float.self)
        for first in Swift.stride(from: 0, to: panels, by: together) {
            let panels = (first..<min(first + together, panels)).map { panel($0) }
            let isDone = panels.withUnsafeBufferPointer {
                scheme.multiplySingle(kernels)(
                    $0.baseAddress, $0.count, input.base.assumingMemoryBound(to: Float.self), y + 16 * first)
            }
            guard isDone else { return nil }
        }
        return Array(UnsafeBufferPointer(start: y, count: rows))
    }

    /// [batch][rows] for tasks of up to `together` panels.
    func product(_ kernels: lamina_kernels, _ x: QuantizedActivations, columns range: Range<Int>, together: Int = 4)
        -> [Float]
    {
        let stride = rows + 5
        var y = [Float](repeating: -7.5, count: max(range.count, 1) * stride)
        y.withUnsafeMutableBufferPointer { y in
            for first in Swift.stride(from: 0, to: panels, by: together) {
                let panels = (first..<min(first + together, panels)).map { panel($0) }
                panels.withUnsafeBufferPointer { panels in
                    var task = lamina_quantized_task(
                        panels: panels.baseAddress, panel_count: panels.count, x: x.batch(from: range.lowerBound),
                        y: y.baseAddress! + 16 * first, y_stride: stride, columns: range.count)
                    scheme.multiply(kernels)(&task)
                }
            }
        }
        return y
    }
}

extension UnsafeMutableRawPointer {
    fileprivate func write<Scale>(scales count: Int, _ scale: () -> Scale) {
        for index in 0..<count {
            storeBytes(of: scale(), toByteOffset: index * MemoryLayout<Scale>.stride, as: Scale.self)
        }
    }
}

/// Columns of a batch as a table quantizes them, each array ending where nothing may be touched.
struct QuantizedActivations {
    let padded: Int
    /// Between two columns of codes, which need not lie side by side.
    let codeStride: Int
    let codes: GuardedMemory
    let scales: GuardedMemory
    let corrections: GuardedMemory

    var blocks: Int { padded / 32 }

    init(_ kernels: lamina_kernels, _ columns: [[Float]]) {
        let count = columns[0].count
        padded = lamina_quantized_columns(count)
        codeStride = padded + 64
        codes = GuardedMemory(count: columns.count * codeStride - 64)
        scales = GuardedMemory(count: columns.count * padded / 8)
        corrections = GuardedMemory(count: columns.count * padded / 8)
        for (index, values) in columns.enumerated() {
            let x = GuardedMemory(values.flatMap { withUnsafeBytes(of: $0) { Array($0) } })
            kernels.quantize_activations(
                x.base.assumingMemoryBound(to: Float.self), count, padded,
                codes.base.assumingMemoryBound(to: Int8.self) + index * codeStride,
                scales.base.assumingMemoryBound(to: Float.self) + index * blocks,
                corrections.base.assumingMemoryBound(to: Int32.self) + index * blocks)
        }
    }

    func batch(from column: Int) -> lamina_quantized_activations {
        lamina_quantized_activations(
            codes: codes.base.assumingMemoryBound(to: Int8.self) + column * codeStride, code_stride: codeStride,
            scales: scales.base.assumingMemoryBound(to: Float.self) + column * blocks,
            corrections: corrections.base.assumingMemoryBound(to: Int32.self) + column * blocks, block_stride: blocks)
    }

    func code(_ column: Int, _ k: Int) -> Int8 {
        codes.base.load(fromByteOffset: column * codeStride + k, as: Int8.self)
    }

    func scale(_ column: Int, _ block: Int) -> Float {
        scales.base.load(fromByteOffset: 4 * (column * blocks + block), as: Float.self)
    }

    func correction(_ column: Int, _ block: Int) -> Int32 {
        corrections.base.load(fromByteOffset: 4 * (column * blocks + block), as: Int32.self)
    }
}

/// Floats compared by bits, any NaN like any other.
func comparableBits(_ values: some Sequence<Float>) -> [UInt32] {
    values.map { $0.isNaN ? Float.nan.bitPattern : $0.bitPattern }
}
