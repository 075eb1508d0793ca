import Glibc
import LayerStore
import TensorCore
import TestSupport
import Testing

@testable import Inference

/// Reads that take a while, each a different one.
struct SlowFileSystem: FileSystemDouble {
    let real = RealFileSystem()
    /// Hears of every read.
    var note: @Sendable (_ descriptor: Int32, _ offset: UInt64) -> Void = { _, _ in }

    func read(_ descriptor: Int32, into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) -> Int64 {
        note(descriptor, offset)
        usleep(UInt32(offset / 4096 % 3) * 300)
        return real.read(descriptor, into: buffer, at: offset)
    }
}

/// A store's chunks joined into requests, without a model: what a prefetcher reads.
struct RequestFixture {
    let files: [ShardFile]
    /// In the order of the files.
    var chunks: [ChunkRecord] = []
    var requests: [ReadRequest] = []
    var names: [String] = []
    /// The last file stands for the head.
    var bodyRequestCount = 0
    /// None unless declared.
    var experts = ExpertRequests()

    /// Joins neighbouring chunks up to `targetBytes`.
    init(
        _ path: String, mode: ReadMode? = nil, in fileSystem: any FileSystem = RealFileSystem(),
        targetBytes: Int = 12288
    ) throws {
        let store = try Store(path: path, in: fileSystem)
        files = try store.manifest.shards.map { try ShardFile(store, $0, mode: mode) }
        for (index, file) in files.enumerated() {
            if index == files.count - 1 { bodyRequestCount = requests.count }
            for tensor in file.tensors {
                for record in tensor.chunks { append(record, of: tensor, file: index, targetBytes: targetBytes) }
            }
        }
    }

    private mutating func append(_ record: ChunkRecord, of tensor: TensorRecord, file: Int, targetBytes: Int) {
        let size = roundedUp(Int(record.storedSize), to: 4096)
        chunks.append(record)
        if let last = requests.last, last.file == file, last.offset + UInt64(last.byteCount) == record.offset,
            last.byteCount + size <= targetBytes
        {
            requests[requests.count - 1].byteCount += size
            requests[requests.count - 1].neededBytes = last.byteCount + Int(record.storedSize)
            requests[requests.count - 1].chunks = last.chunks.lowerBound..<chunks.count
            return
        }
        requests.append(
            ReadRequest(
                file: file, offset: record.offset, byteCount: size, neededBytes: Int(record.storedSize),
                chunks: (chunks.count - 1)..<chunks.count))
        names.append(tensor.name)
    }

    var sizes: [Int] { requests.map(\.byteCount) }
    var passBytes: Int { sizes.reduce(0, +) }
    var slotBytes: Int { sizes.max() ?? 4096 }

    func prefetcher(
        _ schedule: [PassSchedule], slots: Int, options: ReaderOptions = ReaderOptions(), residents: Residents? = nil,
        readsOnce: Bool = false, memory: UntouchedMemory? = nil, cache: ExpertCache? = nil
    ) throws -> Prefetcher {
        let prefetcher = try Prefetcher(
            files: files, requests: requests, names: names, bodyRequestCount: bodyRequestCount, schedule: schedule,
            slotBytes: slotBytes, slotCount: slots, residents: residents, readsOnce: readsOnce, options: options,
            memory: memory, experts: experts, cache: cache)
        prefetcher.start()
        return prefetcher
    }

    /// Whether every chunk of `request` at `bytes` is as written.
    func isIntact(_ bytes: UnsafeRawPointer, _ request: Int) -> Bool {
        requests[request].chunks.allSatisfy { chunk in
            let start = Int(chunks[chunk].offset - requests[request].offset)
            return xxh3(UnsafeRawBufferPointer(start: bytes + start, count: Int(chunks[chunk].storedSize)))
                == chunks[chunk].hash
        }
    }

    /// Takes the requests of a pass in order, checks their bytes and gives every chunk back.
    func consume(_ prefetcher: Prefetcher, pass: Int, _ range: Range<Int>? = nil) throws {
        var waited = 0.0
        for request in range ?? requests.indices {
            let bytes = try prefetcher.take(pass: pass, request: request, waited: &waited)
            #expect(isIntact(bytes, request))
            for _ in requests[request].chunks { prefetcher.release(pass: pass, request: request) }
        }
    }

    /// The modes that work on this machine: containers often forbid io_uring, some file systems direct reads.
    static let availableModes: [ReadMode] = ReadMode.allCases.filter { mode in
        let works = try? TinyStore.with { path in
            let fixture = try RequestFixture(path, mode: mode)
            try fixture.prefetcher([], slots: 1, options: ReaderOptions(mode: mode)).stop()
            return true
        }
        return works == true
    }
}
