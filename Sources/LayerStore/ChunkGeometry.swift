import TensorCore

/// The order of a tensor's elements inside its chunks.
public enum TensorLayout: UInt8, Sendable, CaseIterable {
    /// Row-major, as in the source.
    case rows = 0
    /// Panels of 64 output rows, the layout the multiply kernels read (formats/shard.md, "Layouts").
    case panel64 = 1

    public var name: String {
        switch self {
        case .rows: "rows"
        case .panel64: "panel64"
        }
    }

    public init?(name: String) {
        guard let layout = TensorLayout.allCases.first(where: { $0.name == name }) else { return nil }
        self = layout
    }
}

/// How one tensor is cut into chunks: whole units (rows, or panels of 64 rows), or, where a single unit is too large,
/// ranges of its columns that begin at multiples of 512, the length of a multiply chain.
///
/// Depends on the shape, the dtype, the layout and the target size only, never on the machine, so that equal input
/// gives equal bytes.
public struct ChunkGeometry: Sendable, Equatable {
    /// Column ranges begin at multiples of this (`LAMINA_CHAIN_LENGTH`).
    public static let columnStep = 512
    /// Decoded bytes a chunk aims at.
    public static let defaultTargetBytes = 1 << 20

    public let layout: TensorLayout
    /// The tensor as a matrix: all dimensions but the last, and the last; a vector is one row.
    public let rows: Int
    public let columns: Int
    /// Columns as stored: BF16 panels hold pairs, so an odd number is padded by one.
    public let paddedColumns: Int
    /// Rows per unit: 1 or 64.
    public let unitRows: Int
    public let units: Int
    public let unitsPerChunk: Int
    public let columnsPerChunk: Int
    public let elementSize: Int

    /// Rows and columns of a shape.
    public static func matrix(of shape: Shape) -> (rows: Int, columns: Int) {
        guard let last = shape.dimensions.last else { return (1, 1) }
        return (shape.dimensions.dropLast().reduce(1, *), last)
    }

    /// The geometry a writer chooses for chunks of about `targetBytes` decoded bytes.
    public init(shape: Shape, dtype: DType, layout: TensorLayout, targetBytes: Int = defaultTargetBytes) {
        let (rows, columns) = ChunkGeometry.matrix(of: shape)
        let unitRows = layout == .panel64 ? 64 : 1
        let paddedColumns = ChunkGeometry.padded(columns, dtype: dtype, layout: layout)
        let units = dividedUp(rows, by: unitRows)
        let rowsInUnit = layout == .panel64 ? min(64, roundedUp(max(rows, 1), to: 16)) : 1
        let unitBytes = max(1, rowsInUnit * paddedColumns * dtype.size)
        var unitsPerChunk = 1
        var columnsPerChunk = paddedColumns
        if unitBytes <= 4 * targetBytes {
            unitsPerChunk = ChunkGeometry.unitsPerChunk(units: units, unitBytes: unitBytes, targetBytes: targetBytes)
        } else {
            let step = ChunkGeometry.columnStep
            let wanted = max(step, targetBytes / (rowsInUnit * dtype.size) / step * step)
            let ranges = dividedUp(paddedColumns, by: wanted)
            // Even ranges: a short last one would waste its slot.
            columnsPerChunk = min(paddedColumns, roundedUp(dividedUp(paddedColumns, by: ranges), to: step))
        }
        self.init(
            layout: layout, rows: rows, columns: columns, paddedColumns: paddedColumns, unitRows: unitRows,
            units: units, unitsPerChunk: unitsPerChunk, columnsPerChunk: columnsPerChunk, elementSize: dtype.size)
    }

    /// The geometry a shard states, `nil` if it contradicts the tensor or exceeds `maximumChunkBytes`.
    public init?(
        shape: Shape, dtype: DType, layout: TensorLayout, unitsPerChunk: Int, columnsPerChunk: Int,
        maximumChunkBytes: Int
    ) {
        let (rows, columns) = ChunkGeometry.matrix(of: shape)
        let unitRows = layout == .panel64 ? 64 : 1
        let paddedColumns = ChunkGeometry.padded(columns, dtype: dtype, layout: layout)
        let units = dividedUp(rows, by: unitRows)
        guard unitsPerChunk >= 1, unitsPerChunk <= max(units, 1) else { return nil }
        guard columnsPerChunk <= paddedColumns, columnsPerChunk >= 1 || paddedColumns == 0 else { return nil }
        if columnsPerChunk < paddedColumns {
            guard unitsPerChunk == 1, columnsPerChunk % ChunkGeometry.columnStep == 0 else { return nil }
        }
        let factors = [unitsPerChunk, unitRows, max(columnsPerChunk, 1), dtype.size]
        guard let largest = Checked.product(factors), largest <= maximumChunkBytes else { return nil }
        self.init(
            layout: layout, rows: rows, columns: columns, paddedColumns: paddedColumns, unitRows: unitRows,
            units: units, unitsPerChunk: unitsPerChunk, columnsPerChunk: columnsPerChunk, elementSize: dtype.size)
    }

    private init(
        layout: TensorLayout, rows: Int, columns: Int, paddedColumns: Int, unitRows: Int, units: Int,
        unitsPerChunk: Int, columnsPerChunk: Int, elementSize: Int
    ) {
        self.layout = layout
        self.rows = rows
        self.columns = columns
        self.paddedColumns = paddedColumns
        self.unitRows = unitRows
        self.units = units
        self.unitsPerChunk = unitsPerChunk
        self.columnsPerChunk = columnsPerChunk
        self.elementSize = elementSize
    }

    private static func padded(_ columns: Int, dtype: DType, layout: TensorLayout) -> Int {
        layout == .panel64 && dtype == .bfloat16 ? roundedUp(columns, to: 2) : columns
    }

    /// Between half and twice the target: the count that pads the last chunk least, then the one nearest the target.
    private static func unitsPerChunk(units: Int, unitBytes: Int, targetBytes: Int) -> Int {
        guard units > 1 else { return 1 }
        let smallest = min(units, max(1, targetBytes / 2 / unitBytes))
        let largest = min(units, max(1, 2 * targetBytes / unitBytes))
        var best = smallest
        var bestCost = (Int.max, Int.max)
        // Rows can be tiny: bound the search, whose result any reader takes from the file.
        let stride = max(1, (largest - smallest) / 4096)
        for candidate in Swift.stride(from: smallest, through: largest, by: stride) {
            let waste = dividedUp(units, by: candidate) * candidate - units
            let distance = abs(candidate * unitBytes - targetBytes)
            if (waste, distance) < bestCost { (best, bestCost) = (candidate, (waste, distance)) }
        }
        return best
    }

    public var isEmpty: Bool { rows == 0 || columns == 0 }
    /// Chunks side by side over the columns of one unit.
    public var columnRanges: Int { isEmpty ? 0 : dividedUp(paddedColumns, by: columnsPerChunk) }
    public var chunkCount: Int { isEmpty ? 0 : dividedUp(units, by: unitsPerChunk) * columnRanges }

    /// Rows stored for a unit: 64, less in the last panel, whose rows are rounded up to 16 only.
    public func width(ofUnit unit: Int) -> Int {
        layout == .rows ? 1 : min(64, roundedUp(rows - unit * 64, to: 16))
    }

    /// Elements in a chunk's slot: those of chunk 0, which is never smaller than another.
    public var slotElements: Int { chunkCount == 0 ? 0 : chunk(0).elementCount }
    /// Decoded bytes in a chunk's slot.
    public var slotBytes: Int { slotElements * elementSize }

    /// What chunk `index` covers.
    public func chunk(_ index: Int) -> ChunkExtent {
        let firstUnit = index / columnRanges * unitsPerChunk
        let unitCount = min(unitsPerChunk, units - firstUnit)
        let firstColumn = index % columnRanges * columnsPerChunk
        let columnCount = min(columnsPerChunk, paddedColumns - firstColumn)
        let storedRows =
            layout == .rows
            ? unitCount : (unitCount - 1) * 64 + width(ofUnit: firstUnit + unitCount - 1)
        return ChunkExtent(
            firstUnit: firstUnit, unitCount: unitCount, firstColumn: firstColumn, columnCount: columnCount,
            elementCount: storedRows * columnCount)
    }
}

/// The part of a tensor in one chunk. Units follow one another; inside a panel the order is that of the layout.
public struct ChunkExtent: Sendable, Equatable {
    public let firstUnit: Int
    public let unitCount: Int
    public let firstColumn: Int
    /// Columns stored, padding included.
    public let columnCount: Int
    /// Elements stored, padding included; the rest of the slot is zero.
    public let elementCount: Int
}
