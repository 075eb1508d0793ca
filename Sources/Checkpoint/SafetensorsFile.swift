import TensorCore

/// A safetensors file opened for reading: its tensors, and their bytes in ranges.
public final class SafetensorsFile: Sendable {
    /// Relative to the checkpoint folder.
    public let name: String
    public let tensors: [SafetensorsTensor]
    /// The length field and the header, as found.
    public let prefix: [UInt8]
    /// Identity at opening; `checkUnchanged` compares.
    public let facts: FileFacts
    private let file: OpenFile

    /// Where the tensor data begins.
    public var dataOffset: UInt64 { UInt64(prefix.count) }
    public var path: String { file.path }

    /// Opens and validates `path`. Throws `.missing`, `.malformed`, `.io`.
    public init(name: String, path: String, in fileSystem: any FileSystem) throws(LaminaError) {
        let file = try OpenFile(path, .read, in: fileSystem)
        let facts = try file.facts()
        guard facts.isRegular else { throw LaminaError(.malformed, path, "not a regular file") }
        file.adviseSequential()
        var lengthField = [UInt8](repeating: 0, count: 8)
        let read = try lengthField.withMutableBytes { (bytes) throws(LaminaError) in try file.read(into: bytes, at: 0) }
        let size = try SafetensorsHeader.size(
            lengthField: Array(lengthField.prefix(read)), fileSize: facts.size, file: path)
        var header = [UInt8](repeating: 0, count: size)
        try header.withMutableBytes { (bytes) throws(LaminaError) in try file.readExactly(into: bytes, at: 8) }
        tensors = try SafetensorsHeader.parse(header, dataSize: facts.size - 8 - UInt64(size), file: path)
        prefix = lengthField + header
        self.name = name
        self.facts = facts
        self.file = file
    }

    /// Fills `buffer` from `offset` of the data part. Throws `.io`, or `.malformed` if the file became shorter.
    public func read(into buffer: UnsafeMutableRawBufferPointer, atDataOffset offset: UInt64) throws(LaminaError) {
        do throws(LaminaError) {
            try file.readExactly(into: buffer, at: dataOffset + offset)
        } catch {
            guard error.kind == .damaged else { throw error }
            throw SafetensorsFile.changed(path)
        }
    }

    /// Fails if the file is not the one that was opened any more: size, times, identity. Throws `.malformed`.
    public func checkUnchanged() throws(LaminaError) {
        let now = try file.facts()
        guard now == facts else { throw SafetensorsFile.changed(path) }
    }

    private static func changed(_ path: String) -> LaminaError {
        LaminaError(
            .malformed, path, "the file changed while being read",
            hint: "let the download or copy finish, then run the same command again")
    }
}
