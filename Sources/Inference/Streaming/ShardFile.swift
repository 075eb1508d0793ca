import CSystem
import Glibc
import LayerStore
import TensorCore

/// An open shard and its header.
final class ShardFile: Sendable {
    let path: String
    let layer: String
    let tensors: [TensorRecord]
    /// Bytes.
    let size: UInt64
    /// Whether reads go past the page cache; offsets, counts and buffers must then be multiples of a page.
    let isDirect: Bool
    private let file: OpenDescriptor

    /// Opens a shard and reads its header. Without a mode it is opened for direct reads if a page can be read that way,
    /// else for buffered ones. Throws `.damaged`, `.malformed`, `.io`, the last also for a mode that cannot be had.
    init(_ store: Store, _ shard: Manifest.Shard, mode: ReadMode?) throws(LaminaError) {
        let path = store.location(of: shard.path)
        let direct = mode == .buffered ? nil : OpenDescriptor.direct(path, in: store.fileSystem)
        let opened = try store.open(shard, direct: direct != nil)
        if direct == nil, let mode, mode != .buffered {
            throw LaminaError(
                .io, path, "the file system does not allow direct reads, which \(mode.rawValue) needs",
                hint: "use --io \(ReadMode.buffered.rawValue)", layer: shard.layer)
        }
        let header = try store.header(of: shard, file: opened)
        self.path = path
        layer = shard.layer
        tensors = header.tensors
        size = header.fileSize
        isDirect = direct != nil
        file = if let direct { direct } else { try OpenDescriptor.buffered(path, in: store.fileSystem) }
    }

    /// The descriptor for io_uring; `nil` for buffered reads, and where the file system is not the operating system's.
    var descriptor: Int32? { isDirect && file.fileSystem is RealFileSystem ? file.number : nil }

    /// Reads at `offset` until `buffer` is full or the file ends; `neededBytes` must be there. Throws `.io`; `.damaged`
    /// if the file has become shorter.
    func read(
        into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64, neededBytes: Int
    ) throws(LaminaError) {
        var progress = ReadProgress(into: buffer, at: offset, neededBytes: neededBytes)
        try read(&progress)
    }

    /// Carries `progress` to its end.
    func read(_ progress: inout ReadProgress) throws(LaminaError) {
        var isComplete = false
        while !isComplete {
            let outcome = file.fileSystem.read(file.number, into: progress.rest, at: progress.position)
            isComplete = try progress.advance(by: outcome, in: self)
        }
    }
}

/// A descriptor, closed with the last reference.
private final class OpenDescriptor: Sendable {
    let number: Int32
    let fileSystem: any FileSystem

    private init(number: Int32, fileSystem: any FileSystem) {
        self.number = number
        self.fileSystem = fileSystem
    }

    deinit { _ = fileSystem.close(number) }

    /// For direct reads, if one page can be read that way: some file systems accept the flag and refuse the read.
    static func direct(_ path: String, in fileSystem: any FileSystem) -> OpenDescriptor? {
        let number = fileSystem.open(path, [.read, .direct])
        guard number >= 0 else { return nil }
        let opened = OpenDescriptor(number: number, fileSystem: fileSystem)
        guard let page = try? AlignedBuffer(count: AlignedBuffer.alignment) else { return nil }
        var outcome = -Int64(EINTR)
        while outcome == -Int64(EINTR) || outcome == -Int64(EAGAIN) {
            outcome = fileSystem.read(number, into: page.bytes, at: 0)
        }
        // A short count will do: what is to be known is whether the read is refused.
        guard outcome > 0 else { return nil }
        // A descriptor that must not block makes io_uring give up where it should wait for the device's queue.
        if fileSystem is RealFileSystem { lamina_set_blocking(number) }
        return opened
    }

    /// For reads through the page cache from start to end. Throws `.io`.
    static func buffered(_ path: String, in fileSystem: any FileSystem) throws(LaminaError) -> OpenDescriptor {
        let number = fileSystem.open(path, .read)
        guard number >= 0 else {
            throw LaminaError(.io, path, "cannot open: \(SystemError(code: -number).text)")
        }
        _ = fileSystem.adviseSequential(number)
        return OpenDescriptor(number: number, fileSystem: fileSystem)
    }
}
