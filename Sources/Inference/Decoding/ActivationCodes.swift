import CKernels
import LayerStore
import TensorCore

/// Activations as 8-bit codes with a scale for every 32 of them, beside the f32 ones: what quantized weights are
/// multiplied with. formats/quantization.md has the arithmetic.
final class ActivationCodes: @unchecked Sendable {
    // Sendable: columns are written by one worker each, and read after a barrier.
    private static let block = Int(LAMINA_QUANTIZED_BLOCK)
    /// Between two columns of codes: widths tend to be multiples of 4 KiB, and of lines that far apart a cache keeps few.
    private static let gap = 64

    private let widths: [Int]
    /// Columns rounded up to whole blocks; where a buffer's codes begin, and its scales and corrections, -1 for buffers
    /// that have none.
    private let padded: [Int]
    private let codeOffsets: [Int]
    private let blockOffsets: [Int]
    private let codes: UntouchedMemory
    private let scales: FloatBuffer
    private let corrections: UntouchedMemory

    /// Room for `columns` columns of the `buffers` among those of `widths` floats. Throws `.limit`.
    init(widths: [Int], buffers: Set<Int>, columns: Int) throws(LaminaError) {
        self.widths = widths
        padded = widths.map { roundedUp($0, to: ActivationCodes.block) }
        var (code, block) = (0, 0)
        var (codeOffsets, blockOffsets) = ([Int](), [Int]())
        for (index, width) in padded.enumerated() {
            let isCoded = buffers.contains(index)
            codeOffsets.append(isCoded ? code : -1)
            blockOffsets.append(isCoded ? block : -1)
            guard isCoded else { continue }
            code += roundedUp((width + ActivationCodes.gap) * columns, to: 64)
            block += roundedUp(width / ActivationCodes.block * columns, to: 16)
        }
        self.codeOffsets = codeOffsets
        self.blockOffsets = blockOffsets
        codes = try UntouchedMemory(count: code)
        scales = try FloatBuffer(count: block)
        corrections = try UntouchedMemory(count: block * MemoryLayout<Int32>.stride)
    }

    /// Bytes per column.
    static func bytesPerColumn(widths: [Int], buffers: Set<Int>) -> Int {
        buffers.reduce(0) { sum, buffer in
            let padded = roundedUp(widths[buffer], to: block)
            return sum + padded + gap + padded / block * 8
        }
    }

    private func codeStride(_ buffer: Int) -> Int { padded[buffer] + ActivationCodes.gap }

    private func places(
        _ buffer: Int
    ) -> (
        codes: UnsafeMutablePointer<Int8>, scales: UnsafeMutablePointer<Float>, corrections: UnsafeMutablePointer<Int32>
    ) {
        (
            codes.start.assumingMemoryBound(to: Int8.self) + codeOffsets[buffer],
            scales.start + blockOffsets[buffer],
            corrections.start.assumingMemoryBound(to: Int32.self) + blockOffsets[buffer]
        )
    }

    /// Makes the codes of one column of a buffer.
    func fill(_ buffer: Int, _ column: Int, from activations: Activations, _ kernels: KernelTable) {
        guard codeOffsets[buffer] >= 0 else { return }
        let (codes, scales, corrections) = places(buffer)
        let blocks = padded[buffer] / ActivationCodes.block
        kernels.pointee.quantize_activations(
            activations.column(buffer, column), widths[buffer], padded[buffer], codes + column * codeStride(buffer),
            scales + column * blocks, corrections + column * blocks)
    }

    /// All columns of a buffer, as the kernels take them.
    func columns(_ buffer: Int) -> lamina_quantized_activations {
        let (codes, scales, corrections) = places(buffer)
        return lamina_quantized_activations(
            codes: UnsafePointer(codes), code_stride: codeStride(buffer), scales: UnsafePointer(scales),
            corrections: UnsafePointer(corrections), block_stride: padded[buffer] / ActivationCodes.block)
    }
}
