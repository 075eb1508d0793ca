/// How fast a store's own files can be read.
public struct DiskRate: Sendable, Equatable {
    public var bytesPerSecond: Double
    public var mode: ReadMode
    /// Requests in flight that it takes.
    public var depth: Int

    public init(bytesPerSecond: Double, mode: ReadMode, depth: Int) {
        self.bytesPerSecond = bytesPerSecond
        self.mode = mode
        self.depth = depth
    }
}

/// How fast the threads of a session compute, all together.
public struct ComputeRates: Sendable, Equatable {
    /// Time a weight takes where a pass has so many columns.
    public struct Product: Sendable, Equatable {
        public var columns: Int
        public var secondsPerWeight: Double

        public init(columns: Int, secondsPerWeight: Double) {
            self.columns = columns
            self.secondsPerWeight = secondsPerWeight
        }

        /// A multiplication and an addition per weight and column.
        public var flopsPerSecond: Double { Double(2 * columns) / secondsPerWeight }
    }

    public var threads: Int
    /// With rising columns; those for one column first.
    public var products: [WeightForm: [Product]]
    /// Bytes compared with their checksums per second.
    public var checkedBytesPerSecond: Double
    /// Time to attend to one position with one head.
    public var secondsPerScore: Double
    /// Time from the start of the threads to their end where there is nothing to do.
    public var secondsPerBarrier: Double

    public init(
        threads: Int, products: [WeightForm: [Product]], checkedBytesPerSecond: Double, secondsPerScore: Double,
        secondsPerBarrier: Double
    ) {
        self.threads = threads
        self.products = products
        self.checkedBytesPerSecond = checkedBytesPerSecond
        self.secondsPerScore = secondsPerScore
        self.secondsPerBarrier = secondsPerBarrier
    }

    /// Time a weight takes in a pass of `columns`: a straight line between the measured widths, and beyond the widest
    /// in proportion to the columns. `nil` for a form that was not measured.
    func secondsPerWeight(_ form: WeightForm, columns: Int) -> Double? {
        guard let measured = products[form], let last = measured.last else { return nil }
        guard let upper = measured.first(where: { $0.columns > columns }) else {
            return last.secondsPerWeight * Double(columns) / Double(last.columns)
        }
        guard let lower = measured.last(where: { $0.columns <= columns }) else { return upper.secondsPerWeight }
        let share = Double(columns - lower.columns) / Double(upper.columns - lower.columns)
        return lower.secondsPerWeight + share * (upper.secondsPerWeight - lower.secondsPerWeight)
    }
}
