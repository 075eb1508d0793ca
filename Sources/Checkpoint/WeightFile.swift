import Synchronization
import TensorCore

/// How a file holds its tensors.
public enum WeightFormat: Sendable {
    case safetensors
    /// `pytorch_model.bin` as a zip archive.
    case torchArchive
    /// `pytorch_model.bin` as torch before 1.6 wrote it.
    case torchStream
}

/// What the bytes of a file of weights mean.
struct WeightLayout {
    var format: WeightFormat
    var tensors: [SourceTensor]
    var dataOffset: UInt64
    var otherBytes: [UInt8]
    var notes: [String] = []
}

/// A file of weights opened for reading: its tensors, and their bytes in ranges.
public final class WeightFile: Sendable {
    /// Relative to the checkpoint folder.
    public let name: String
    public let format: WeightFormat
    /// In the order of their bytes.
    public let tensors: [SourceTensor]
    /// Where the data part begins, from which the tensors' ranges count.
    public let dataOffset: UInt64
    /// Every byte that belongs to no tensor, as found: with the tensors' bytes in their places they are the whole file.
    public let otherBytes: [UInt8]
    /// What the user should know of it but nothing fails for.
    public let notes: [String]
    /// Identity at opening; `checkUnchanged` compares. `nil` for a file that is not there any more.
    public let facts: FileFacts?
    /// Bytes in all.
    public let size: UInt64
    public let path: String
    /// `nil` once it was released, or if it was not there.
    private let file: Mutex<OpenFile?>
    private let direct = Mutex(DirectAccess.untried)

    /// The same file opened past the page cache.
    private enum DirectAccess: Sendable {
        case untried
        case open(OpenFile)
        /// The file system has no such thing, or the name is another file's by now.
        case impossible
    }

    /// Bytes of the file that belong to tensors; those that several tensors share count once.
    public var tensorBytes: UInt64 { size - UInt64(otherBytes.count) }

    /// Bytes of all tensors, each counted; `UInt64.max` if that is more than fits.
    public var summedTensorBytes: UInt64 {
        tensors.reduce(0) { Checked.add($0, $1.bytes.upperBound - $1.bytes.lowerBound) ?? .max }
    }

    /// Opens and validates `path`; a name that ends with `.bin` is of torch, every other of safetensors. Throws `.missing`, `.malformed`, `.io`.
    public init(name: String, path: String, in fileSystem: any FileSystem) throws(LaminaError) {
        let file = try OpenFile(path, .read, in: fileSystem)
        let facts = try file.facts()
        guard facts.isRegular else { throw LaminaError(.malformed, path, "not a regular file") }
        file.adviseSequential()
        let layout = try WeightFile.unlessShorter(path) { () throws(LaminaError) in
            name.hasSuffix(".bin")
                ? try TorchFile.layout(of: file, fileSize: facts.size)
                : try SafetensorsHeader.layout(of: file, fileSize: facts.size)
        }
        self.name = name
        format = layout.format
        tensors = layout.tensors
        dataOffset = layout.dataOffset
        otherBytes = layout.otherBytes
        notes = layout.notes
        self.facts = facts
        size = facts.size
        self.path = path
        self.file = Mutex(file)
    }

    /// A file that a conversion deleted once all of its tensors were stored; `path` is where it was.
    public init(deleted file: DeletedWeightFile, path: String) {
        name = file.name
        format = file.format
        tensors = file.tensors
        dataOffset = file.dataOffset
        otherBytes = file.otherBytes
        notes = []
        facts = nil
        size = file.size
        self.path = path
        self.file = Mutex(nil)
    }

    /// Fills `buffer` from `offset` of the data part. Throws `.io`, or `.malformed` if the file became shorter.
    public func read(into buffer: UnsafeMutableRawBufferPointer, atDataOffset offset: UInt64) throws(LaminaError) {
        let file = try opened()
        try WeightFile.unlessShorter(path) { () throws(LaminaError) in
            try file.readExactly(into: buffer, at: dataOffset + offset)
        }
    }

    private func opened() throws(LaminaError) -> OpenFile {
        guard let file = file.withLock({ $0 }) else {
            throw LaminaError(
                .missing, path, "the file was deleted when its tensors were stored, and is needed again",
                hint: "the shard made of it is damaged: bring the file back, or a copy of the shard")
        }
        return file
    }

    /// Closes the file for good: a name that goes keeps its space while the file is open.
    public func release() {
        file.withLock { $0 = nil }
        direct.withLock { $0 = .impossible }
    }

    /// Reads `range` of the data part into `pages` and returns where in it the bytes begin. `pages` begins at a page
    /// and has room for every page of the file that `range` touches.
    ///
    /// Past the page cache where that is possible: fresh pages of the cache cost more than the disk, and a source
    /// larger than the memory would push everything else out of it. Throws `.io`, or `.malformed` if the file became
    /// shorter.
    public func read(
        _ range: ByteRange, intoPages pages: UnsafeMutableRawBufferPointer
    ) throws(LaminaError) -> Int {
        let start = dataOffset + range.lowerBound
        let skipped = Int(start % UInt64(AlignedBuffer.alignment))
        let needed = skipped + range.count
        if let file = openDirect() {
            let whole = UnsafeMutableRawBufferPointer(
                rebasing: pages[0..<roundedUp(needed, to: AlignedBuffer.alignment)])
            if file.readWholePages(into: whole, at: start - UInt64(skipped), needed: needed) { return skipped }
        }
        try read(
            into: UnsafeMutableRawBufferPointer(rebasing: pages[0..<range.count]), atDataOffset: range.lowerBound)
        return 0
    }

    private func openDirect() -> OpenFile? {
        direct.withLock { access in
            if case .untried = access {
                if let opened = try? self.opened(),
                    let file = try? OpenFile(path, [.read, .direct], in: opened.fileSystem),
                    (try? file.facts()) == facts
                {
                    access = .open(file)
                } else {
                    access = .impossible
                }
            }
            if case .open(let file) = access { return file }
            return nil
        }
    }

    /// Fails if the file is not the one that was opened any more: size, times, identity. Throws `.malformed`.
    public func checkUnchanged() throws(LaminaError) {
        let now = try opened().facts()
        guard now == facts else { throw WeightFile.changed(path) }
    }

    /// Runs `body`, which reads only what the file had when it was opened: an end before that is a change.
    private static func unlessShorter<Value>(
        _ path: String, _ body: () throws(LaminaError) -> Value
    ) throws(LaminaError) -> Value {
        do throws(LaminaError) {
            return try body()
        } catch {
            guard error.kind == .damaged else { throw error }
            throw changed(path)
        }
    }

    private static func changed(_ path: String) -> LaminaError {
        LaminaError(
            .malformed, path, "the file changed while being read",
            hint: "let the download or copy finish, then run the same command again")
    }
}

/// What is known of a file of weights that was deleted after all its tensors were stored.
public struct DeletedWeightFile: Sendable {
    public var name: String
    public var format: WeightFormat
    /// Bytes in all.
    public var size: UInt64
    public var dataOffset: UInt64
    public var otherBytes: [UInt8]
    /// In the order of their bytes.
    public var tensors: [SourceTensor]

    public init(
        name: String, format: WeightFormat, size: UInt64, dataOffset: UInt64, otherBytes: [UInt8],
        tensors: [SourceTensor]
    ) {
        self.name = name
        self.format = format
        self.size = size
        self.dataOffset = dataOffset
        self.otherBytes = otherBytes
        self.tensors = tensors
    }
}
