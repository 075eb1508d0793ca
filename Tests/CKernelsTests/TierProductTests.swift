import CKernels
import Testing

/// A BF16 panel as words and as segments, with activations for some columns.
private struct TierPanel {
    static let untouched: Float = -7.5

    let width: Int
    let rows: Int
    let storedK: Int
    let words: [UInt16]
    let x: [Float]

    /// An odd `k` is padded with weights and activations of +0, rows outside `rows` with weights of +0.
    init(width: Int, rows: Int, k: Int, columns: Int, words kind: TierWords) {
        let stored = (k + 1) / 2 * 2
        var generator = SeededGenerator(seed: UInt64(width * 100_000 + k))
        // An exponent of all ones would be infinite or no number; these have results whose bits are not defined.
        let source = kind.make(rows * k, seed: generator.next()).map { $0 & 0x7f80 == 0x7f80 ? $0 & 0xbfff : $0 }
        var words = [UInt16](repeating: 0xeeee, count: stored * width)
        KernelTable.reference.pack_panel.0!(source, k, rows, width, k, &words)
        var x = [Float](repeating: 0, count: columns * stored)
        for column in 0..<columns {
            for index in 0..<k { x[column * stored + index] = generator.value() }
        }
        (self.width, self.rows, self.storedK, self.words, self.x) = (width, rows, stored, words, x)
    }

    var yStride: Int { rows + 5 }

    /// The whole panel through `multiply`, or parts of it that begin at the multiples of `part`. `multiply` gets the
    /// words of its part, which are not those of the task yet.
    func product(columns: Int, part: Int, multiply: ([UInt16], inout lamina_panel_task) -> Void) -> [UInt32] {
        var y = [Float](repeating: Self.untouched, count: columns * yStride)
        x.withUnsafeBufferPointer { x in
            y.withUnsafeMutableBufferPointer { y in
                for begin in stride(from: 0, to: storedK, by: min(part, storedK)) {
                    let count = min(part, storedK - begin)
                    var task = lamina_panel_task(
                        weights: nil, width: width, rows: rows, k_begin: begin, k_count: count,
                        x: x.baseAddress, x_stride: storedK, y: y.baseAddress, y_stride: yStride, columns: columns)
                    multiply(Array(words[begin * width..<(begin + count) * width]), &task)
                }
            }
        }
        return bits(y)
    }

    func expected(columns: Int) -> [UInt32] {
        product(columns: columns, part: storedK) { words, task in
            words.withUnsafeBytes {
                task.weights = $0.baseAddress
                KernelTable.reference.multiply_panel.0!(&task)
            }
        }
    }

    func found(_ kernels: lamina_kernels, columns: Int, part: Int = .max) -> [UInt32] {
        let scratch = GuardedMemory(count: Int(LAMINA_TIER_SCRATCH))
        scratch.fill(0xff)
        return product(columns: columns, part: part) { words, task in
            let segment = GuardedMemory(kernels.tierSegment(words).segment)
            task.weights = UnsafeRawPointer(segment.base)
            #expect(kernels.multiply_tier_panel(&task, segment.count, scratch.base))
        }
    }
}

@Suite struct TierProductTests {
    private static let columnCounts = [1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 50]

    @Test(arguments: KernelTable.available, [16, 32, 48, 64])
    func productsEqualThoseOfThePlainWords(table: KernelTable, width: Int) {
        for (index, k) in [1, 2, 129, 510, 511, 512, 514, 1301].enumerated() {
            let kind = TierWords.allCases[(index + width / 16) % TierWords.allCases.count]
            for words in [TierWords.gaussian, kind] {
                let rows = width - [0, 1, 7, 15][(index + width / 16) % 4]
                let panel = TierPanel(width: width, rows: rows, k: k, columns: 50, words: words)
                for columns in Self.columnCounts where k < 512 || columns < 50 {
                    #expect(
                        panel.found(table.kernels, columns: columns) == panel.expected(columns: columns),
                        "k \(k), rows \(rows), \(columns) columns, \(words)")
                }
            }
        }
    }

    @Test(arguments: KernelTable.available, [4096, 14336])
    func longPanelsInWholeAndInParts(table: KernelTable, k: Int) {
        let panel = TierPanel(width: 64, rows: 61, k: k, columns: 16, words: .gaussian)
        for columns in [1, 2, 3, 4, 5, 9, 16] {
            let expected = panel.expected(columns: columns)
            #expect(panel.found(table.kernels, columns: columns) == expected, "\(columns) columns")
            for part in [512, 1536, 4096] {
                #expect(
                    panel.found(table.kernels, columns: columns, part: part) == expected,
                    "\(columns) columns, parts of \(part)")
            }
        }
    }

    /// The tiers end in the middle of a chain, after the expanded values of one run were used up, and so on.
    @Test(arguments: KernelTable.available, TierWords.allCases)
    func everyKindOfWords(table: KernelTable, kind: TierWords) {
        let panel = TierPanel(width: 64, rows: 64, k: 2050, columns: 7, words: kind)
        for columns in [1, 4, 7] {
            #expect(panel.found(table.kernels, columns: columns) == panel.expected(columns: columns))
        }
    }

    @Test(arguments: KernelTable.available, [1, 4, 6])
    func anythingButThePanelsSegmentIsRefused(table: KernelTable, columns: Int) {
        let panel = TierPanel(width: 64, rows: 64, k: 1024, columns: columns, words: .gaussian)
        let segment = table.kernels.tierSegment(panel.words).segment
        let end = segment.count - panel.words.count
        let scratch = GuardedMemory(count: Int(LAMINA_TIER_SCRATCH))
        func isAccepted(_ bytes: [UInt8], k: Int = 1024) -> Bool {
            let memory = GuardedMemory(bytes)
            var accepted = false
            _ = panel.product(columns: columns, part: panel.storedK) { _, task in
                task.weights = UnsafeRawPointer(memory.base)
                task.k_count = k
                accepted = table.kernels.multiply_tier_panel(&task, bytes.count, scratch.base)
            }
            return accepted
        }
        #expect(isAccepted(segment))
        #expect(!isAccepted(segment, k: 1022))
        #expect(!isAccepted(segment, k: 512))
        #expect(!isAccepted(Array(segment.dropLast(64))))
        for place in [64, 64 + 8192, end / 2, end - 256] {
            for value: UInt8 in [0, 255] {
                var bytes = segment
                bytes.replaceSubrange(place..<place + 64, with: [UInt8](repeating: value, count: 64))
                #expect(isAccepted(bytes) == (table.kernels.tierWords(GuardedMemory(bytes), count: 65_536) != nil))
            }
        }
    }
}
