import TensorCore

/// How far a store's residual stream is from a reference's after every layer, at some of the positions that count.
///
/// What is kept of the reference is (layers, positions, hidden size) in f32 for the windows in hand. Squares are added in
/// double precision, position by position, so the order of the work does not matter.
final class LayerErrors {
    /// Of the positions that count in a window, one in so many is looked at.
    static let interval = 32

    private let layers: Int
    private let width: Int
    private let perWindow: Int
    private let kept: FloatBuffer
    /// Per compared store and layer: the squares of the differences and of the reference, added up.
    private var sums: [[(error: Double, reference: Double)]]

    /// Room for so many windows and compared stores. Throws `.limit`.
    init(layers: Int, width: Int, wanted: Int, windows: Int, stores: Int) throws(LaminaError) {
        self.layers = layers
        self.width = width
        perWindow = LayerErrors.positions(wanted)
        kept = try FloatBuffer(count: layers * windows * perWindow * width)
        sums = Array(repeating: Array(repeating: (0, 0), count: layers), count: stores)
    }

    /// Positions looked at of `wanted`.
    static func positions(_ wanted: Int) -> Int { dividedUp(wanted, by: interval) }

    /// Bytes for one window.
    static func bytesPerWindow(layers: Int, width: Int, wanted: Int) -> Int {
        layers * positions(wanted) * width * MemoryLayout<Float>.stride
    }

    /// Takes a layer of a pass over windows: the reference's if `store` is `nil`, else that of a store to compare with it.
    func take(_ store: Int?, layer: Int, _ pass: EvaluationPass, of sequences: [EvaluationSequence]) {
        for (column, place) in pass.columns.enumerated() {
            let wanted = sequences[place.sequence].wanted
            let number = place.position - wanted.lowerBound
            guard wanted.contains(place.position), number % LayerErrors.interval == 0 else { continue }
            let residual = pass.residual(column)
            let index = place.sequence * perWindow + number / LayerErrors.interval
            let reference = kept.start + (index * layers + layer) * width
            guard let store else {
                if let start = residual.baseAddress { reference.update(from: start, count: width) }
                continue
            }
            var (error, square) = (0.0, 0.0)
            for index in 0..<width {
                let (found, expected) = (Double(residual[index]), Double(reference[index]))
                error += (found - expected) * (found - expected)
                square += expected * expected
            }
            sums[store][layer].error += error
            sums[store][layer].reference += square
        }
    }

    /// Per layer, the norm of the difference over that of the reference.
    func relative(_ store: Int) -> [Double] {
        sums[store].map { $0.reference > 0 ? ($0.error / $0.reference).squareRoot() : 0 }
    }
}
