import TensorCore

/// What torch.save wrote: a zip archive, or before torch 1.6 (and still on request) a stream.
enum TorchFile {
    /// Bytes that are no tensor's: pickles, and in archives about 250 bytes per storage. They are kept in memory.
    static let maximumOtherBytes: UInt64 = 100_000_000

    /// A state dict, and where in the file its storages are.
    struct Content {
        var format: WeightFormat
        var stateDict: StateDict
        /// As `stateDict.storages`.
        var places: [ByteRange]
    }

    /// Reads the state dict of `file`, which has `fileSize` bytes, and checks it against the file. Throws `.malformed`,
    /// `.io`.
    static func layout(of file: OpenFile, fileSize: UInt64) throws(LaminaError) -> WeightLayout {
        let content = try content(of: file, fileSize: fileSize)
        var tensors = content.stateDict.entries.map { entry in
            let start = content.places[entry.storage].lowerBound
            return SourceTensor(
                name: entry.name, dtype: entry.dtype, shape: entry.shape,
                bytes: (start + UInt64(entry.bytes.lowerBound))..<(start + UInt64(entry.bytes.upperBound)))
        }
        tensors.sort { ($0.bytes.lowerBound, $0.bytes.upperBound) < ($1.bytes.lowerBound, $1.bytes.upperBound) }
        var notes: [String] = []
        let ignored = content.stateDict.ignored
        if !ignored.isEmpty {
            let examples = ignored.prefix(5).map { "\($0.name) (\($0.kind))" }.joined(separator: ", ")
            notes.append("\(ignored.count) entries that are no tensors are ignored: \(examples)")
        }
        return WeightLayout(
            format: content.format, tensors: tensors, dataOffset: 0,
            otherBytes: try otherBytes(of: file, fileSize: fileSize, tensors: tensors), notes: notes)
    }

    private static func content(of file: OpenFile, fileSize: UInt64) throws(LaminaError) -> Content {
        var start = [UInt8](repeating: 0, count: 512)
        let count = try start.withMutableBytes { (bytes) throws(LaminaError) in try file.read(into: bytes, at: 0) }
        start.removeSubrange(count...)
        if start.starts(with: [0x50, 0x4B, 3, 4]) { return try TorchArchive.content(of: file, fileSize: fileSize) }
        if start.first == PickleOpcode.proto.rawValue {
            return try TorchStream.content(of: file, fileSize: fileSize)
        }
        let found: (String, String)? =
            if start.isEmpty {
                ("an empty file", "download the file again")
            } else if start.starts(with: Array("version https://git-lfs".utf8)) {
                ("a Git LFS pointer, which only names the weights", "download the file itself, or run git lfs pull")
            } else if start.dropFirst(257).starts(with: Array("ustar".utf8)) {
                ("a tar archive, as torch wrote before version 0.2", "load it with torch and save it again")
            } else {
                nil
            }
        throw LaminaError(
            .malformed, file.path, "the file was not written by torch.save",
            expected: "a zip archive, or a stream that begins with a pickle",
            found: found?.0, hint: found?.1 ?? "download the file again")
    }

    /// Everything outside of the tensors, which are in the order of their bytes.
    private static func otherBytes(
        of file: OpenFile, fileSize: UInt64, tensors: [SourceTensor]
    ) throws(LaminaError) -> [UInt8] {
        var gaps: [ByteRange] = []
        var end: UInt64 = 0
        for tensor in tensors {
            if tensor.bytes.lowerBound > end { gaps.append(end..<tensor.bytes.lowerBound) }
            end = max(end, tensor.bytes.upperBound)
        }
        gaps.append(end..<fileSize)
        let total = gaps.reduce(UInt64(0)) { $0 + ($1.upperBound - $1.lowerBound) }
        guard total <= maximumOtherBytes else {
            throw LaminaError(
                .malformed, file.path, "too much of the file belongs to no tensor",
                expected: "at most \(maximumOtherBytes) bytes", found: "\(total)",
                hint: "the tensors may be parts of larger ones; save clones of them")
        }
        var bytes = [UInt8](repeating: 0, count: Int(total))
        try bytes.withMutableBytes { (buffer) throws(LaminaError) in
            var position = 0
            for gap in gaps {
                let part = UnsafeMutableRawBufferPointer(rebasing: buffer[position..<(position + gap.count)])
                try file.readExactly(into: part, at: gap.lowerBound)
                position += gap.count
            }
        }
        return bytes
    }
}
