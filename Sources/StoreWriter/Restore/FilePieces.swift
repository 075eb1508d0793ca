import LayerStore
import TensorCore

/// What one task of making a file fills in: a decoded block, or a part of the bytes between tensors.
struct FilePiece: Sendable {
    enum Origin: Sendable {
        /// The bytes of no tensor, from this one on.
        case other(Int)
        /// The block of a tensor that begins at a chunk, without its first bytes where another tensor has them already.
        case block(place: Int, chunk: Int, skipped: Int)
    }
    /// In the file.
    let bytes: ByteRange
    let origin: Origin

    /// Bytes of the space between tensors that one piece takes at most.
    private static let otherBytes: UInt64 = 1 << 20

    /// The pieces of a file, in order.
    static func all(of layout: WeightFileLayout, _ tensors: StoredTensors) throws(LaminaError) -> [FilePiece] {
        var pieces: [FilePiece] = []
        for run in layout.runs {
            switch run.origin {
            case .other(let first):
                for start in stride(from: run.bytes.lowerBound, to: run.bytes.upperBound, by: Int(otherBytes)) {
                    let end = min(run.bytes.upperBound, start + otherBytes)
                    pieces.append(
                        FilePiece(
                            bytes: start..<end, origin: .other(first + Int(start - run.bytes.lowerBound))))
                }
            case .tensor(let place):
                blocks(of: try tensors.tensor(place).record, place, layout.places[place].bytes, run.bytes, &pieces)
            }
        }
        return pieces
    }

    private static func blocks(
        of record: TensorRecord, _ place: Int, _ bytes: ByteRange, _ run: ByteRange, _ pieces: inout [FilePiece]
    ) {
        for chunk in stride(from: 0, to: record.geometry.chunkCount, by: record.chunksPerSourceBlock) {
            let block = record.sourceBytes(ofBlockFrom: chunk)
            let (start, end) = (bytes.lowerBound + block.lowerBound, bytes.lowerBound + block.upperBound)
            guard end > run.lowerBound else { continue }
            let first = max(start, run.lowerBound)
            pieces.append(
                FilePiece(
                    bytes: first..<end, origin: .block(place: place, chunk: chunk, skipped: Int(first - start))))
        }
    }
}

/// A stretch of a file being made, in memory: pieces that lie one behind the other.
final class FileWave: @unchecked Sendable {
    // Sendable: tasks that fill it write to different pieces; those that read it come later.
    struct Item: Sendable {
        let piece: FilePiece
        /// `nil` for bytes between tensors.
        let tensor: StoredTensor?
    }

    static let page = UInt64(AlignedBuffer.alignment)
    /// The pool counts its tasks in 20 bits.
    private static let maximumItems = 1 << 16

    let buffer: AlignedBuffer
    private(set) var items: [Item] = []
    /// In the file; begins at a page.
    private(set) var bytes: ByteRange = 0..<0
    /// Bytes in front that ended the wave before: less than a page, which direct I/O cannot write.
    private(set) var carried = 0

    init(capacity: Int) throws(LaminaError) {
        buffer = try AlignedBuffer(count: capacity + AlignedBuffer.alignment)
    }

    /// The part that is new, in the file.
    var newBytes: ByteRange { (bytes.lowerBound + UInt64(carried))..<bytes.upperBound }

    /// Makes this the wave behind `previous`, with as many of `pieces` as fit; returns how many.
    func take(
        _ pieces: ArraySlice<FilePiece>, after previous: FileWave?, _ tensors: StoredTensors
    ) throws(LaminaError) -> Int {
        let end = previous?.bytes.upperBound ?? 0
        let start = end / FileWave.page * FileWave.page
        carried = Int(end - start)
        if let previous, carried > 0 {
            buffer.start.copyMemory(from: previous.address(of: start), byteCount: carried)
        }
        bytes = start..<end
        items.removeAll(keepingCapacity: true)
        for piece in pieces.prefix(FileWave.maximumItems) {
            guard piece.bytes.upperBound - start <= UInt64(buffer.bytes.count) else { break }
            var tensor: StoredTensor?
            if case .block(let place, _, _) = piece.origin { tensor = try tensors.tensor(place) }
            items.append(Item(piece: piece, tensor: tensor))
            bytes = start..<piece.bytes.upperBound
        }
        return items.count
    }

    /// Where byte `offset` of the file is.
    private func address(of offset: UInt64) -> UnsafeMutableRawPointer {
        buffer.start + Int(offset - bytes.lowerBound)
    }

    /// A part of the file.
    func memory(_ range: ByteRange) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: address(of: range.lowerBound), count: range.count)
    }

    /// Fills in one piece. Throws `.damaged`, `.io`, `.limit`.
    func fill(_ index: Int, with reader: SourceBlockReader, other: [UInt8]) throws(LaminaError) {
        let piece = items[index].piece
        let target = address(of: piece.bytes.lowerBound)
        switch piece.origin {
        case .other(let first):
            other.withUnsafeBytes { bytes in
                UnsafeMutableRawBufferPointer(start: target, count: piece.bytes.count)
                    .copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[first..<(first + piece.bytes.count)]))
            }
        case .block(_, let chunk, let skipped):
            guard skipped > 0 else {
                try items[index].tensor?.read(blockFrom: chunk, with: reader, into: target)
                return
            }
            let whole = try AlignedBuffer(count: skipped + piece.bytes.count)
            try items[index].tensor?.read(blockFrom: chunk, with: reader, into: whole.start)
            target.copyMemory(from: whole.start + skipped, byteCount: piece.bytes.count)
        }
    }
}
