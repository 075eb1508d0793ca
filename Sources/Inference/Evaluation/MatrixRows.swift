import CKernels
import LayerStore
import TensorCore

/// Rows of a store's matrices as f32, one chunk in memory at a time. Used from one thread.
public final class MatrixRows {
    private let plan: StreamPlan
    private let kernels: KernelTable
    private let vectors: ResidentVectors
    private let decoder: ChunkDecoder
    private let stored: AlignedBuffer
    /// A chain of a panel of quantized weights.
    private let chain: FloatBuffer
    private let indices: [String: Int]
    /// The chunk that is decoded, and where.
    private var current: (matrix: Int, chunk: Int, elements: UnsafeRawPointer)?

    /// Opens the matrices of a planned session's store. Throws `.limit`, and what reading vectors throws.
    public init(_ session: SessionPlan) throws(LaminaError) {
        plan = session.stream
        kernels = session.kernels
        vectors = try ResidentVectors(plan, kernels: kernels)
        decoder = try ChunkDecoder(slotBytes: plan.largestDecodedBytes, kernels: kernels)
        stored = try AlignedBuffer(count: MatrixRows.largestChunk(plan))
        chain = try FloatBuffer(count: PanelDequantizer.memoryBytes / MemoryLayout<Float>.stride)
        // A matrix that is used in two ways is planned twice.
        indices = Dictionary(
            plan.matrices.enumerated().map { ($1.name, $0) }, uniquingKeysWith: { first, _ in first })
    }

    private static func largestChunk(_ plan: StreamPlan) -> Int {
        plan.matrices.indices.reduce(AlignedBuffer.alignment) { most, index in
            let matrix = plan.matrices[index]
            return (0..<matrix.tensor.geometry.chunkCount).reduce(most) {
                max($0, PlannedChunk(matrix, index: index, chunk: $1).byteCount)
            }
        }
    }

    /// Bytes that reading the matrices of a planned session's store takes.
    public static func memoryBytes(_ session: SessionPlan) -> Int {
        let plan = session.stream
        return ChunkDecoder.memoryBytes(slotBytes: plan.largestDecodedBytes) + largestChunk(plan)
            + plan.vectorFloats * MemoryLayout<Float>.stride + PanelDequantizer.memoryBytes
    }

    /// Rows and columns of a matrix, named with its layer's index; `nil` if there is none.
    public func shape(of name: String) -> (rows: Int, columns: Int)? {
        indices[name].map { (plan.matrices[$0].rows, plan.matrices[$0].columns) }
    }

    /// Writes rows (rows, columns) of a matrix that there is. Throws `.damaged` or `.io` with file, layer, tensor and
    /// bytes.
    public func read(
        _ name: String, rows: Range<Int>, into target: UnsafeMutablePointer<Float>
    ) throws(LaminaError) {
        guard let index = indices[name], !rows.isEmpty else { return }
        let matrix = plan.matrices[index]
        let geometry = matrix.tensor.geometry
        let units = (rows.lowerBound / geometry.unitRows)...((rows.upperBound - 1) / geometry.unitRows)
        do throws(LaminaError) {
            for unit in units {
                let first = unit * geometry.unitRows
                let part = rows.clamped(to: first..<(first + geometry.unitRows))
                for range in 0..<geometry.columnRanges {
                    let chunk = unit / geometry.unitsPerChunk * geometry.columnRanges + range
                    let elements = try self.elements(index, chunk)
                    copy(
                        part, of: matrix, unit: unit, chunk: chunk, elements,
                        to: target + (part.lowerBound - rows.lowerBound) * matrix.columns)
                }
            }
        } catch {
            throw error.located(in: plan.files[matrix.file], tensor: matrix.name)
        }
    }

    /// The elements of a chunk, in the order of the layout, until the next call.
    private func elements(_ index: Int, _ chunk: Int) throws(LaminaError) -> UnsafeRawPointer {
        if let current, current.matrix == index, current.chunk == chunk { return current.elements }
        let matrix = plan.matrices[index]
        let planned = PlannedChunk(matrix, index: index, chunk: chunk)
        let bytes = UnsafeMutableRawBufferPointer(rebasing: stored.bytes[..<planned.byteCount])
        current = nil
        try plan.files[matrix.file].read(into: bytes, at: planned.offset, neededBytes: planned.neededBytes)
        let elements = try decoder.decode(
            matrix.tensor, chunk: chunk, stored: UnsafeRawBufferPointer(bytes), base: planned.offset,
            planeCount: matrix.planeCount, planeBytes: matrix.planeBytes)
        current = (index, chunk, elements)
        return elements
    }

    /// What a chunk has of some rows of one of its units.
    private func copy(
        _ rows: Range<Int>, of matrix: PlannedMatrix, unit: Int, chunk: Int, _ elements: UnsafeRawPointer,
        to target: UnsafeMutablePointer<Float>
    ) {
        let geometry = matrix.tensor.geometry
        let extent = geometry.chunk(chunk)
        // Padding of an odd last column is not part of a row.
        let count = min(extent.columnCount, geometry.columns - extent.firstColumn)
        let start = elements + (unit - extent.firstUnit) * geometry.unitBytes(of: extent)
        let first = rows.lowerBound - unit * geometry.unitRows
        if let form = matrix.form {
            return dequantize(form, start, unit: unit, first..<(first + rows.count), geometry, to: target)
        }
        if geometry.layout == .panel64 {
            kernels.pointee.panel_rows(
                matrix.weightType.kernelType, start, geometry.width(ofUnit: unit), first, rows.count, count,
                target + extent.firstColumn, matrix.columns)
        } else {
            for row in 0..<rows.count {
                let source = start + (first + row) * extent.columnCount * geometry.elementSize
                kernels.widen(
                    matrix.weightType, source, to: target + row * matrix.columns + extent.firstColumn, count: count)
            }
        }
        guard let scales = PanelScales(matrix, panel: unit, plan.float8Blocks, vectors) else { return }
        for row in 0..<rows.count {
            scales.apply(
                to: target + row * matrix.columns + extent.firstColumn, from: extent.firstColumn, count: count, kernels)
        }
    }
    /// Rows out of a panel of quantized weights, as the numbers they stand for.
    private func dequantize(
        _ form: lamina_scheme, _ start: UnsafeRawPointer, unit: Int, _ rows: Range<Int>, _ geometry: ChunkGeometry,
        to target: UnsafeMutablePointer<Float>
    ) {
        let step = ChunkGeometry.columnStep
        let row = unit * geometry.unitRows
        var panel = lamina_quantized_panel(
            bytes: start, columns: geometry.columns, row: row, rows: min(geometry.unitRows, geometry.rows - row))
        for column in stride(from: 0, to: geometry.columns, by: step) {
            let stored = min(step, geometry.paddedColumns - column)
            kernels.pointee.dequantize(form, &panel, column, stored, chain.start, geometry.unitRows)
            for k in 0..<min(stored, geometry.columns - column) {
                for (index, lane) in rows.enumerated() {
                    target[index * geometry.columns + column + k] = chain.start[k * geometry.unitRows + lane]
                }
            }
        }
    }
}
