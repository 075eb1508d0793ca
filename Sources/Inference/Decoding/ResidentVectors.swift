import LayerStore
import TensorCore

/// Norm weights and biases, widened to f32 and kept: they are small and used by every pass.
final class ResidentVectors: Sendable {
    private let buffer: FloatBuffer

    /// Reads and checks all vectors of `plan`. Throws `.damaged`, `.io`, `.limit`.
    init(_ plan: StreamPlan, kernels: KernelTable) throws(LaminaError) {
        buffer = try FloatBuffer(count: plan.vectorFloats)
        let decodedBytes = plan.vectors.reduce(64) { max($0, $1.tensor.geometry.slotBytes) }
        let decoder = try ChunkDecoder(slotBytes: decodedBytes, kernels: kernels)
        for vector in plan.vectors {
            let matrix = PlannedMatrix(
                vector.tensor, vector.weightType, file: vector.file, name: vector.name, compute: .f32)
            for chunk in 0..<vector.tensor.geometry.chunkCount {
                let extent = vector.tensor.geometry.chunk(chunk)
                let read = PlannedChunk(matrix, index: 0, chunk: chunk)
                let bytes = try AlignedBuffer(count: read.byteCount)
                let file = plan.files[vector.file]
                do throws(LaminaError) {
                    try file.read(into: bytes.bytes, at: read.offset, neededBytes: read.neededBytes)
                    let elements = try decoder.decode(
                        vector.tensor, chunk: chunk, stored: UnsafeRawBufferPointer(bytes.bytes), base: read.offset,
                        planeCount: matrix.planeCount, planeBytes: matrix.planeBytes)
                    // Of a vector, and of scales, a chunk holds whole rows or a range of one row's columns.
                    let first = extent.firstUnit * vector.tensor.geometry.columns + extent.firstColumn
                    kernels.widen(
                        matrix.weightType, elements, to: buffer.start + vector.offset + first,
                        count: extent.elementCount)
                } catch {
                    throw error.located(in: file, tensor: vector.name)
                }
            }
        }
    }

    /// The vector planned at `offset`.
    func vector(_ offset: Int) -> UnsafePointer<Float> { UnsafePointer(buffer.start + offset) }
}

extension LaminaError {
    /// The same error with file, layer and tensor named, unless they are.
    func located(in file: ShardFile, tensor: String) -> LaminaError {
        guard layer == nil else { return self }
        var error = self
        if error.subject.isEmpty { error.subject = file.path }
        error.layer = file.layer
        error.tensor = tensor
        if error.kind == .damaged { error.hint = "lamina-verify names all damage; convert again to repair it" }
        return error
    }
}
