import TensorCore

/// The activations of one pass: a matrix (columns, stride) each, f32, zero behind its width so that products may read
/// a padded odd column.
final class Activations: Sendable {
    let columns: Int
    private let strides: [Int]
    private let offsets: [Int]
    private let buffer: FloatBuffer

    /// Room for `columns` columns of `widths` floats each. Throws `.limit`.
    init(widths: [Int], columns: Int) throws(LaminaError) {
        self.columns = columns
        strides = widths.map { roundedUp($0, to: 16) }
        var total = 0
        offsets = strides.map { stride in
            defer { total += stride * columns }
            return total
        }
        buffer = try FloatBuffer(count: total)
    }

    /// Bytes per column.
    static func bytesPerColumn(widths: [Int]) -> Int {
        widths.reduce(0) { $0 + roundedUp($1, to: 16) * MemoryLayout<Float>.stride }
    }

    /// From one column of a buffer to the next.
    func stride(_ buffer: Int) -> Int { strides[buffer] }

    /// One column of buffer `index`, as `StreamPlan.widths` numbers them.
    func column(_ index: Int, _ column: Int) -> UnsafeMutablePointer<Float> {
        buffer.start + offsets[index] + column * strides[index]
    }
}
