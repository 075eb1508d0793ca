import LayerStore
import TensorCore

/// An original as the store knows it: the digest of each of its tensors, and every other byte.
struct OriginalContents {
    let file: Manifest.Source.File
    /// The tensors of the file; those of torch's files may share bytes.
    let tensors: [Manifest.Tensor]
    /// Every byte that belongs to no tensor, in order.
    let otherBytes: [UInt8]

    /// Read at a time.
    private static let windowBytes = 8 << 20

    /// Entry `index` of `manifest.source.files`.
    init(_ index: Int, of manifest: Manifest, otherBytes: [UInt8]) {
        file = manifest.source.files[index]
        tensors = manifest.shards.flatMap(\.tensors).filter { $0.sourceFile == index }
        self.otherBytes = otherBytes
    }

    /// Reads `original` once from start to end. Returns the SHA-256 of all its bytes. Throws `.malformed` naming the first
    /// thing that is not what was converted, `.io`, and what `progress` throws, which gets the bytes read.
    func check(
        _ original: OpenFile, progress: (Int) throws(LaminaError) -> Void
    ) throws(LaminaError) -> SHA256Digest {
        let buffer = try AlignedBuffer(count: OriginalContents.windowBytes)
        var sweep = try Sweep(self, path: original.path)
        var whole = SHA256()
        var position: UInt64 = 0
        original.adviseSequential()
        while position < file.size {
            let count = Int(min(UInt64(buffer.bytes.count), file.size - position))
            let window = UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[0..<count])
            guard try original.read(into: window, at: position) == count else {
                throw LaminaError(.malformed, original.path, "the file became shorter while being read")
            }
            whole.update(UnsafeRawBufferPointer(window))
            try sweep.take(UnsafeRawBufferPointer(window), at: position)
            position += UInt64(count)
            try progress(count)
        }
        try sweep.finish()
        return whole.finalize()
    }

    fileprivate func range(of tensor: Manifest.Tensor) throws(LaminaError) -> ByteRange {
        guard let start = Checked.add(file.dataOffset, tensor.sourceOffset),
            let end = Checked.add(start, tensor.byteCount), end <= file.size
        else {
            throw LaminaError(
                .malformed, file.path, "the tensor lies outside of the file it came from", tensor: tensor.name)
        }
        return start..<end
    }
}

/// Goes through a file in order and hashes every tensor that covers the place; what none covers is compared.
private struct Sweep {
    /// A tensor whose bytes are being hashed.
    private final class OpenTensor {
        let tensor: Manifest.Tensor
        let end: UInt64
        var hasher = SHA256()

        init(_ tensor: Manifest.Tensor, end: UInt64) {
            self.tensor = tensor
            self.end = end
        }

        func check(path: String) throws(LaminaError) {
            guard hasher.finalize() == tensor.digest else {
                throw LaminaError(
                    .malformed, path, "the tensor's bytes are not those that were converted",
                    expected: "SHA-256 \(tensor.digest)", tensor: tensor.name)
            }
        }
    }

    private let path: String
    /// In the order of their beginnings.
    private let tensors: [(tensor: Manifest.Tensor, range: ByteRange)]
    private let otherBytes: [UInt8]
    private var next = 0
    private var open: [OpenTensor] = []
    private var comparedBytes = 0

    init(_ contents: OriginalContents, path: String) throws(LaminaError) {
        var tensors: [(tensor: Manifest.Tensor, range: ByteRange)] = []
        for tensor in contents.tensors { tensors.append((tensor, try contents.range(of: tensor))) }
        self.tensors = tensors.sorted { $0.range.lowerBound < $1.range.lowerBound }
        otherBytes = contents.otherBytes
        self.path = path
    }

    /// The file's bytes from `offset` on, which follow those of the call before.
    mutating func take(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(LaminaError) {
        let end = offset + UInt64(bytes.count)
        var place = offset
        while place < end {
            try openTensors(at: place)
            var boundary = end
            if next < tensors.count { boundary = min(boundary, tensors[next].range.lowerBound) }
            for tensor in open { boundary = min(boundary, tensor.end) }
            let piece = UnsafeRawBufferPointer(rebasing: bytes[Int(place - offset)..<Int(boundary - offset)])
            if open.isEmpty { try compare(piece, at: place) }
            for tensor in open { tensor.hasher.update(piece) }
            place = boundary
            try closeTensors(at: place)
        }
    }

    private mutating func openTensors(at place: UInt64) throws(LaminaError) {
        while next < tensors.count, tensors[next].range.lowerBound <= place {
            let (tensor, range) = tensors[next]
            open.append(OpenTensor(tensor, end: range.upperBound))
            next += 1
        }
        // Tensors without bytes end where they begin.
        try closeTensors(at: place)
    }

    private mutating func closeTensors(at place: UInt64) throws(LaminaError) {
        guard open.contains(where: { $0.end <= place }) else { return }
        for tensor in open where tensor.end <= place { try tensor.check(path: path) }
        open.removeAll { $0.end <= place }
    }

    private mutating func compare(_ piece: UnsafeRawBufferPointer, at place: UInt64) throws(LaminaError) {
        let stored = comparedBytes..<(comparedBytes + piece.count)
        guard stored.upperBound <= otherBytes.count, otherBytes[stored].elementsEqual(piece) else {
            throw LaminaError(
                .malformed, path, "bytes outside of the tensors are not those that were converted",
                bytes: place..<(place + UInt64(piece.count)))
        }
        comparedBytes += piece.count
    }

    /// Behind the last byte. Throws unless everything was met.
    mutating func finish() throws(LaminaError) {
        try openTensors(at: .max)
        guard comparedBytes == otherBytes.count else {
            throw LaminaError(
                .malformed, path, "the file has fewer bytes outside of its tensors than were converted",
                expected: "\(otherBytes.count)", found: "\(comparedBytes)")
        }
    }
}
