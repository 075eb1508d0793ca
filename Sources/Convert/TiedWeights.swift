import Checkpoint
import Glibc
import Inference
import TensorCore

/// What a checkpoint says twice: a head matrix beside the embedding matrix that is to take its place.
struct TiedWeights {
    /// Bytes read at a time.
    private static let pieceBytes = 1 << 20

    let checkpoint: CheckpointFolder

    /// A note for each of `ties` whose tensor is in the checkpoint after all and is not the same as its target: the
    /// config decides, as the architecture's table says, and the tensor is kept without being used. Throws `.io`, or
    /// `.malformed` if a file became shorter.
    func mismatches(_ ties: [TieRule]) throws(LaminaError) -> [String] {
        var notes: [String] = []
        for tie in ties {
            guard let head = place(of: tie.name), let embedding = place(of: tie.target),
                try !areEqual(head, embedding)
            else { continue }
            notes.append(
                "\(tie.name) differs from \(tie.target), to which config.json ties it; it is stored, but not used")
        }
        return notes
    }

    /// `nil` too for a file that an interrupted run deleted: what there was to say was said then.
    private func place(of name: String) -> (file: WeightFile, tensor: SourceTensor)? {
        for file in checkpoint.files where file.facts != nil {
            if let tensor = file.tensors.first(where: { $0.name.utf8.elementsEqual(name.utf8) }) {
                return (file, tensor)
            }
        }
        return nil
    }

    private func areEqual(
        _ one: (file: WeightFile, tensor: SourceTensor), _ other: (file: WeightFile, tensor: SourceTensor)
    ) throws(LaminaError) -> Bool {
        guard one.tensor.dtype == other.tensor.dtype, one.tensor.shape == other.tensor.shape else { return false }
        let size = one.tensor.bytes.upperBound - one.tensor.bytes.lowerBound
        let piece = try AlignedBuffer(count: TiedWeights.pieceBytes)
        let otherPiece = try AlignedBuffer(count: TiedWeights.pieceBytes)
        var offset: UInt64 = 0
        while offset < size {
            let count = Int(min(size - offset, UInt64(TiedWeights.pieceBytes)))
            let first = UnsafeMutableRawBufferPointer(rebasing: piece.bytes[..<count])
            let second = UnsafeMutableRawBufferPointer(rebasing: otherPiece.bytes[..<count])
            try one.file.read(into: first, atDataOffset: one.tensor.bytes.lowerBound + offset)
            try other.file.read(into: second, atDataOffset: other.tensor.bytes.lowerBound + offset)
            guard memcmp(piece.start, otherPiece.start, count) == 0 else { return false }
            offset += UInt64(count)
        }
        return true
    }
}
