/// The residual stream after one layer, in numbers to compare with another implementation.
public struct LayerProbe: Sendable {
    /// Over all positions and dimensions.
    public internal(set) var mean = 0.0
    /// Population standard deviation over the same.
    public internal(set) var standardDeviation = 0.0
    /// The first 8 values at position 0 and at the last position.
    public internal(set) var firstAtStart: [Float] = []
    public internal(set) var firstAtEnd: [Float] = []

    private var sum = 0.0
    private var squares = 0.0
    private var count = 0.0

    /// Adds the residual stream at the next position.
    mutating func add(_ residual: UnsafeBufferPointer<Float>) {
        if count == 0 { firstAtStart = Array(residual.prefix(8)) }
        firstAtEnd = Array(residual.prefix(8))
        for value in residual {
            sum += Double(value)
            squares += Double(value) * Double(value)
        }
        count += Double(residual.count)
        mean = sum / count
        standardDeviation = max(0, squares / count - mean * mean).squareRoot()
    }
}
