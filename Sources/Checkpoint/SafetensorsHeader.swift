import TensorCore

/// A safetensors header, strictly read: what the reference implementation refuses is refused here, and duplicate names
/// too, which it lets pass.
///
/// Format: 8 bytes little-endian header size, a JSON object, the tensors' bytes without holes
/// (https://github.com/huggingface/safetensors, "Format").
public enum SafetensorsHeader {
    /// The reference implementation's limit.
    public static let maximumBytes: UInt64 = 100_000_000
    /// Large mixture-of-experts checkpoints have tens of thousands of tensors.
    public static let maximumTensors = 1_000_000

    /// Reads and checks the header of `file`, which has `fileSize` bytes. Throws `.malformed`, `.io`.
    static func layout(of file: OpenFile, fileSize: UInt64) throws(LaminaError) -> WeightLayout {
        var lengthField = [UInt8](repeating: 0, count: 8)
        let read = try lengthField.withMutableBytes { (bytes) throws(LaminaError) in try file.read(into: bytes, at: 0) }
        let size = try size(lengthField: Array(lengthField.prefix(read)), fileSize: fileSize, file: file.path)
        // One array for the file's bytes up to the data, which is kept: the header is not copied.
        var bytes = [UInt8](repeating: 0, count: 8 + size)
        bytes.replaceSubrange(0..<8, with: lengthField)
        try bytes.withMutableBytes { (bytes) throws(LaminaError) in
            try file.readExactly(into: UnsafeMutableRawBufferPointer(rebasing: bytes[8...]), at: 8)
        }
        let tensors = try parse(bytes, from: 8, dataSize: fileSize - 8 - UInt64(size), file: file.path)
        return WeightLayout(
            format: .safetensors, tensors: tensors, dataOffset: 8 + UInt64(size), otherBytes: bytes)
    }

    /// Checks the header size that `lengthField` states. Throws `.malformed`.
    public static func size(
        lengthField: [UInt8], fileSize: UInt64, file: String
    ) throws(LaminaError) -> Int {
        guard fileSize >= 8, lengthField.count == 8 else {
            throw LaminaError(
                .malformed, file, "the file is shorter than its 8-byte length field", found: "\(fileSize) bytes",
                hint: "download the file again")
        }
        let size = lengthField.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard size <= maximumBytes else {
            throw LaminaError(
                .malformed, file, "the stated header size is too large", expected: "at most \(maximumBytes) bytes",
                found: "\(size)", bytes: 0..<8)
        }
        guard size <= fileSize - 8 else {
            throw LaminaError(
                .malformed, file, "the header is longer than the file", expected: "\(size) bytes",
                found: "\(fileSize - 8)", hint: "the download is incomplete; get the file again")
        }
        return Int(size)
    }

    /// The tensors in the order of their bytes, which cover the data part of `dataSize` bytes exactly; the header is
    /// `bytes` from `start` on, and errors count from the first of `bytes`. Throws `.malformed`.
    public static func parse(
        _ bytes: [UInt8], from start: Int = 0, dataSize: UInt64, file: String
    ) throws(LaminaError) -> [SourceTensor] {
        do throws(LaminaError) {
            let entries = try SafetensorsEntries(bytes, from: start)
            try entries.checkCoverage(dataSize: dataSize)
            return entries.tensors
        } catch {
            throw error.about(file)
        }
    }
}
