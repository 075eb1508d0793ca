import CKernels
import TensorCore

/// Decodes stored tensors block by block, in the order of their source: owns what that needs, so each thread has its own.
public final class SourceBlockReader: @unchecked Sendable {
    // Sendable: one thread at a time uses it.
    private let kernels: KernelTable
    private let decoder: ChunkDecoder
    private let stored: AlignedBuffer
    private let dequantizer: PanelDequantizer

    /// Room for blocks of `tensors`. Throws `.limit`.
    public init(tensors: some Sequence<TensorRecord>, kernels: KernelTable) throws(LaminaError) {
        let sizes = SourceBlockReader.sizes(tensors)
        self.kernels = kernels
        decoder = try ChunkDecoder(slotBytes: sizes.slot, kernels: kernels)
        stored = try AlignedBuffer(count: sizes.extent)
        dequantizer = try PanelDequantizer(kernels: kernels)
    }

    private static func sizes(_ tensors: some Sequence<TensorRecord>) -> (slot: Int, extent: Int) {
        var slot = 0
        var extent = 0
        for tensor in tensors where tensor.geometry.chunkCount > 0 {
            slot = max(slot, tensor.geometry.slotBytes)
            for chunk in 0..<tensor.geometry.chunkCount { extent = max(extent, tensor.extent(ofChunk: chunk).count) }
        }
        return (slot, extent)
    }

    /// Bytes one reader of `tensors` takes.
    public static func memoryBytes(tensors: some Sequence<TensorRecord>) -> Int {
        let sizes = sizes(tensors)
        return ChunkDecoder.memoryBytes(slotBytes: sizes.slot) + sizes.extent + PanelDequantizer.memoryBytes
    }

    /// Writes the source bytes of the block that begins at chunk `first` to `target`, which has room for them; of a
    /// quantized tensor its values in the source's dtype. Throws `.damaged` naming the tensor, `.malformed` for panels no
    /// writer makes, `.io`.
    public func read(
        _ tensor: TensorRecord, blockFrom first: Int, from file: OpenFile, into target: UnsafeMutableRawPointer
    ) throws(LaminaError) {
        let planeBytes = tensor.planeBytes
        for chunk in first..<(first + tensor.chunksPerSourceBlock) {
            let extent = tensor.extent(ofChunk: chunk)
            let buffer = UnsafeMutableRawBufferPointer(rebasing: stored.bytes[0..<extent.count])
            // The last extent's alignment may reach beyond the file; the decoder checks what counts.
            _ = try file.read(into: buffer, at: extent.lowerBound)
            let elements: UnsafeRawPointer
            do throws(LaminaError) {
                elements = try decoder.decode(
                    tensor, chunk: chunk, stored: UnsafeRawBufferPointer(buffer), base: extent.lowerBound,
                    planeCount: planeBytes.count, planeBytes: planeBytes)
            } catch {
                throw error.about(file.path)
            }
            if let problem = PanelCheck.problem(elements, chunk: chunk, of: tensor) {
                throw LaminaError(.malformed, file.path, "chunk \(chunk): \(problem)", tensor: tensor.name)
            }
            place(elements, chunk: chunk, of: tensor, in: target)
        }
    }

    /// Moves one decoded chunk to its place among the block's rows.
    private func place(
        _ elements: UnsafeRawPointer, chunk: Int, of tensor: TensorRecord, in rows: UnsafeMutableRawPointer
    ) {
        let geometry = tensor.geometry
        let extent = geometry.chunk(chunk)
        let size = geometry.elementSize
        switch geometry.layout {
        case .rows: rows.copyMemory(from: elements, byteCount: extent.elementCount * size)
        case .panel16: dequantizer.write(elements, chunk: chunk, of: tensor, into: rows)
        case .panel64: placePanels(elements, extent, of: tensor, in: rows)
        }
    }

    private func placePanels(
        _ elements: UnsafeRawPointer, _ extent: ChunkExtent, of tensor: TensorRecord,
        in rows: UnsafeMutableRawPointer
    ) {
        let geometry = tensor.geometry
        let size = geometry.elementSize
        let columns = min(extent.columnCount, geometry.columns - extent.firstColumn)
        var offset = 0
        for unit in extent.firstUnit..<(extent.firstUnit + extent.unitCount) {
            let width = geometry.width(ofUnit: unit)
            let first = (unit - extent.firstUnit) * 64 * geometry.columns + extent.firstColumn
            kernels.pointee.unpack(
                tensor.dtype, elements + offset, width: width, rows: min(64, geometry.rows - unit * 64),
                columns: columns, into: rows + first * size, stride: geometry.columns)
            offset += width * extent.columnCount * size
        }
    }
}

/// Gives a stored tensor's bytes back in the order of its source, piece by piece.
public final class SourceBytes {
    private let reader: SourceBlockReader
    private let rows: AlignedBuffer

    /// Room for every one of `tensors`. Throws `.limit`.
    public init(tensors: [TensorRecord], kernels: KernelTable) throws(LaminaError) {
        let rowBytes = tensors.map(\.sourceBlockBytes).max() ?? 0
        guard rowBytes <= 1 << 30 else {
            throw LaminaError(.limit, "", "64 rows of a matrix are too large", found: "\(rowBytes) bytes")
        }
        reader = try SourceBlockReader(tensors: tensors, kernels: kernels)
        rows = try AlignedBuffer(count: rowBytes)
    }

    /// Calls `body` with the tensor's bytes in order. Throws `.damaged` naming the tensor, `.io`, and what `body` throws.
    public func read(
        _ tensor: TensorRecord, from file: OpenFile,
        _ body: (UnsafeRawBufferPointer) throws(LaminaError) -> Void
    ) throws(LaminaError) {
        for first in stride(from: 0, to: tensor.geometry.chunkCount, by: tensor.chunksPerSourceBlock) {
            try reader.read(tensor, blockFrom: first, from: file, into: rows.start)
            let count = tensor.sourceBytes(ofBlockFrom: first).count
            try body(UnsafeRawBufferPointer(rebasing: rows.bytes[0..<count]))
        }
    }
}

extension TensorRecord {
    /// Chunks that together hold one contiguous piece of the source: all column ranges of a panel, else one.
    public var chunksPerSourceBlock: Int { geometry.chunksPerSourceBlock }

    /// The source bytes that the block beginning at chunk `first` holds.
    public func sourceBytes(ofBlockFrom first: Int) -> ByteRange { geometry.sourceBytes(ofBlockFrom: first) }

    /// Source bytes of the largest block.
    public var sourceBlockBytes: Int { geometry.chunkCount == 0 ? 0 : sourceBytes(ofBlockFrom: 0).count }
}

extension ChunkGeometry {
    /// Chunks that together hold one contiguous piece of the source: all column ranges of a panel, else one.
    public var chunksPerSourceBlock: Int { layout == .panel64 ? max(1, columnRanges) : 1 }

    /// The source bytes that the block beginning at chunk `first` holds.
    public func sourceBytes(ofBlockFrom first: Int) -> ByteRange {
        let extent = chunk(first)
        let rowBytes = columns * elementSize
        let firstRow = extent.firstUnit * unitRows
        if layout == .rows, columnRanges > 1 {
            // A row too long for one chunk: a range of its columns.
            let start = firstRow * rowBytes + extent.firstColumn * elementSize
            return UInt64(start)..<UInt64(start + extent.columnCount * elementSize)
        }
        let lastRow = min(rows, (extent.firstUnit + extent.unitCount) * unitRows)
        return UInt64(firstRow * rowBytes)..<UInt64(lastRow * rowBytes)
    }

    /// The chunk with which the block begins that holds byte `offset` of the source.
    public func sourceBlock(holding offset: UInt64) -> Int {
        let rowBytes = UInt64(columns * elementSize)
        if layout == .rows, columnRanges > 1 {
            let rangeBytes = UInt64(columnsPerChunk * elementSize)
            return Int(offset / rowBytes) * columnRanges + Int(offset % rowBytes / rangeBytes)
        }
        return Int(offset / (UInt64(unitsPerChunk * unitRows) * rowBytes)) * chunksPerSourceBlock
    }
}
