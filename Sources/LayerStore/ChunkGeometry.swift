import TensorCore

/// The order of a tensor's elements inside its chunks.
public enum TensorLayout: UInt8, Sendable, CaseIterable {
    /// Row-major, as in the source.
    case rows = 0
    /// Panels of 64 output rows, the layout the multiply kernels read (formats/shard.md, "Layouts").
    case panel64 = 1
    /// Panels of 16 output rows over all columns, in the form of a quantization scheme (formats/quantization.md).
    case panel16 = 2

    public var name: String {
        switch self {
        case .rows: "rows"
        case .panel64: "panel64"
        case .panel16: "panel16"
        }
    }

    /// Rows of a unit, the smallest part of a tensor that a chunk can hold.
    public var unitRows: Int {
        switch self {
        case .rows: 1
        case .panel64: 64
        case .panel16: 16
        }
    }

    public init?(name: String) {
        guard let layout = TensorLayout.allCases.first(where: { $0.name == name }) else { return nil }
        self = layout
    }
}

/// How one tensor is cut into chunks: whole units (rows, or panels of 64 or 16 rows), or, where a single unit is too
/// large, ranges of its columns that begin at multiples of 512, the length of a multiply chain. Panels of 16 rows are
/// never cut.
///
/// Depends on the shape, the dtype, the layout, the scheme and the target size only, never on the machine, so that equal input
/// gives equal bytes.
public struct ChunkGeometry: Sendable, Equatable {
    /// Column ranges begin at multiples of this (`LAMINA_CHAIN_LENGTH`).
    public static let columnStep = 512
    /// Panels of 16 rows that lie in one chunk: together as many rows as a panel64 has, which is what is multiplied at
    /// once.
    public static let panelsPerGroup = 4
    /// Decoded bytes a chunk aims at.
    public static let defaultTargetBytes = 1 << 20

    public let layout: TensorLayout
    /// The tensor as a matrix: all dimensions but the last, and the last; a vector is one row.
    public let rows: Int
    public let columns: Int
    /// Columns as stored: BF16 panels hold pairs, so an odd number is padded by one; quantized panels hold blocks of 32.
    public let paddedColumns: Int
    /// Rows per unit: 1, 64 or 16.
    public let unitRows: Int
    public let units: Int
    public let unitsPerChunk: Int
    public let columnsPerChunk: Int
    /// Bytes per element of the tensor's dtype.
    public let elementSize: Int
    /// Bytes of a panel of quantized weights, 0 for other layouts.
    public let panelBytes: Int

    /// Rows and columns of a shape.
    public static func matrix(of shape: Shape) -> (rows: Int, columns: Int) {
        guard let last = shape.dimensions.last else { return (1, 1) }
        return (shape.dimensions.dropLast().reduce(1, *), last)
    }

    /// The geometry a writer chooses for chunks of about `targetBytes` decoded bytes; `scheme` for `panel16`.
    public init(
        shape: Shape, dtype: DType, layout: TensorLayout, scheme: (any QuantizationScheme)? = nil,
        targetBytes: Int = defaultTargetBytes
    ) {
        let whole = ChunkGeometry(shape: shape, dtype: dtype, layout: layout, scheme: scheme)
        let rowsInUnit = layout == .panel64 ? min(64, roundedUp(max(whole.rows, 1), to: 16)) : 1
        let unitBytes = max(1, layout == .panel16 ? whole.panelBytes : rowsInUnit * whole.paddedColumns * dtype.size)
        var unitsPerChunk = 1
        var columnsPerChunk = whole.paddedColumns
        if layout == .panel16 {
            // Groups of as many rows as other panels have.
            let group = ChunkGeometry.panelsPerGroup
            let groups = ChunkGeometry.unitsPerChunk(
                units: dividedUp(whole.units, by: group), unitBytes: group * unitBytes, targetBytes: targetBytes)
            unitsPerChunk = max(1, min(whole.units, group * groups))
        } else if unitBytes <= 4 * targetBytes {
            unitsPerChunk = ChunkGeometry.unitsPerChunk(
                units: whole.units, unitBytes: unitBytes, targetBytes: targetBytes)
        } else {
            let step = ChunkGeometry.columnStep
            let wanted = max(step, targetBytes / (rowsInUnit * dtype.size) / step * step)
            let ranges = dividedUp(whole.paddedColumns, by: wanted)
            // Even ranges: a short last one would waste its slot.
            columnsPerChunk = min(whole.paddedColumns, roundedUp(dividedUp(whole.paddedColumns, by: ranges), to: step))
        }
        self.init(whole, unitsPerChunk: unitsPerChunk, columnsPerChunk: columnsPerChunk)
    }

    /// The geometry a shard states, `nil` if it contradicts the tensor or exceeds `maximumChunkBytes`.
    public init?(
        shape: Shape, dtype: DType, layout: TensorLayout, scheme: (any QuantizationScheme)? = nil, unitsPerChunk: Int,
        columnsPerChunk: Int, maximumChunkBytes: Int
    ) {
        // Before the scheme multiplies them.
        let columns = ChunkGeometry.matrix(of: shape).columns
        guard scheme == nil || (1...Schemes.mostColumns).contains(columns) else { return nil }
        let whole = ChunkGeometry(shape: shape, dtype: dtype, layout: layout, scheme: scheme)
        guard unitsPerChunk >= 1, unitsPerChunk <= max(whole.units, 1) else { return nil }
        guard columnsPerChunk <= whole.paddedColumns, columnsPerChunk >= 1 || whole.paddedColumns == 0 else {
            return nil
        }
        if columnsPerChunk < whole.paddedColumns {
            guard unitsPerChunk == 1, columnsPerChunk % ChunkGeometry.columnStep == 0, layout != .panel16 else {
                return nil
            }
        }
        if layout == .panel16 {
            guard unitsPerChunk % ChunkGeometry.panelsPerGroup == 0 || unitsPerChunk == max(whole.units, 1) else {
                return nil
            }
        }
        let factors =
            layout == .panel16
            ? [unitsPerChunk, whole.panelBytes] : [unitsPerChunk, whole.unitRows, max(columnsPerChunk, 1), dtype.size]
        guard let largest = Checked.product(factors), largest <= maximumChunkBytes else { return nil }
        self.init(whole, unitsPerChunk: unitsPerChunk, columnsPerChunk: columnsPerChunk)
    }

    /// One chunk of everything, from which the others are made.
    private init(shape: Shape, dtype: DType, layout: TensorLayout, scheme: (any QuantizationScheme)?) {
        (rows, columns) = ChunkGeometry.matrix(of: shape)
        self.layout = layout
        unitRows = layout.unitRows
        units = dividedUp(rows, by: unitRows)
        unitsPerChunk = max(1, units)
        elementSize = dtype.size
        panelBytes = scheme?.panelBytes(columns: columns) ?? 0
        paddedColumns =
            switch layout {
            case .rows: columns
            case .panel64: dtype == .bfloat16 ? roundedUp(columns, to: 2) : columns
            case .panel16: roundedUp(columns, to: Schemes.blockColumns)
            }
        columnsPerChunk = paddedColumns
    }

    private init(_ whole: ChunkGeometry, unitsPerChunk: Int, columnsPerChunk: Int) {
        layout = whole.layout
        rows = whole.rows
        columns = whole.columns
        paddedColumns = whole.paddedColumns
        unitRows = whole.unitRows
        units = whole.units
        elementSize = whole.elementSize
        panelBytes = whole.panelBytes
        self.unitsPerChunk = unitsPerChunk
        self.columnsPerChunk = columnsPerChunk
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
        layout == .rows ? 1 : min(unitRows, roundedUp(rows - unit * unitRows, to: 16))
    }

    /// Elements in a chunk's slot: those of chunk 0, which is never smaller than another.
    public var slotElements: Int { chunkCount == 0 ? 0 : chunk(0).elementCount }
    /// Decoded bytes in a chunk's slot.
    public var slotBytes: Int {
        guard layout == .panel16 else { return slotElements * elementSize }
        return isEmpty ? 0 : unitsPerChunk * panelBytes
    }
    /// Decoded bytes of a chunk, less the zeros at the end of its slot.
    public func usedBytes(_ extent: ChunkExtent) -> Int {
        layout == .panel16 ? extent.unitCount * panelBytes : extent.elementCount * elementSize
    }
    /// Decoded bytes from one unit of a chunk to the next.
    public func unitBytes(of extent: ChunkExtent) -> Int {
        layout == .panel16 ? panelBytes : unitRows * extent.columnCount * elementSize
    }

    /// Groups of up to 64 rows that are multiplied at once: panels, or four of those of 16 rows.
    public func groupCount(_ extent: ChunkExtent) -> Int {
        layout == .panel16 ? dividedUp(extent.unitCount, by: ChunkGeometry.panelsPerGroup) : extent.unitCount
    }
    /// The first group of a chunk, counted over the whole tensor.
    public func firstGroup(_ extent: ChunkExtent) -> Int {
        layout == .panel16 ? extent.firstUnit / ChunkGeometry.panelsPerGroup : extent.firstUnit
    }

    /// What chunk `index` covers.
    public func chunk(_ index: Int) -> ChunkExtent {
        let firstUnit = index / columnRanges * unitsPerChunk
        let unitCount = min(unitsPerChunk, units - firstUnit)
        let firstColumn = index % columnRanges * columnsPerChunk
        let columnCount = min(columnsPerChunk, paddedColumns - firstColumn)
        let storedRows =
            layout == .rows
            ? unitCount : (unitCount - 1) * unitRows + width(ofUnit: firstUnit + unitCount - 1)
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
