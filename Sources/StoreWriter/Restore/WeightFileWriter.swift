import LayerStore
import TensorCore

/// Makes a file of weights from stored tensors, in waves: while one wave is written and hashed, the next is decoded.
final class WeightFileWriter: @unchecked Sendable {
    // Sendable: the tasks of a wave use different parts, the pool orders the waves.
    /// What making or checking a file takes at most: beside what is counted here, the program itself and up to 100 MB of
    /// bytes between tensors.
    static let memoryBudget = 512 << 20
    private static let uncounted = 160 << 20
    private static let waveBytes = 32 << 20
    /// Tasks of a wave beside its pieces.
    private static let fixedTasks = 3

    private let layout: WeightFileLayout
    private let tensors: StoredTensors
    private let other: [UInt8]
    private let manifestPath: String
    private let readers: [SourceBlockReader]
    private let waves: [FileWave]
    private let pool: WorkerPool
    private let fileDigest = RunningDigest()
    private let tensorDigest = RunningDigest()
    private let sharing: Set<Int>
    private var direct: OpenFile?

    /// `other` are the bytes between tensors, in order. `threads` compute; one more waits for the disk.
    ///
    /// Throws `.limit` if the store's chunks are too large for the memory budget, `.damaged`, `.malformed`, `.io`.
    init(
        _ layout: WeightFileLayout, other: [UInt8], of store: Store, threads: Int, kernels: KernelTable
    ) throws(LaminaError) {
        self.layout = layout
        self.other = other
        sharing = Set(layout.sharing)
        manifestPath = store.location(of: Manifest.fileName)
        tensors = try StoredTensors(layout, of: store)
        let records = tensors.records
        // No more than the file: fresh memory is dear.
        let wave = min(WeightFileWriter.waveBytes, Int(layout.size))
        let capacity = max(wave, records.map(\.sourceBlockBytes).max() ?? 0)
        let perReader = max(1, SourceBlockReader.memoryBytes(tensors: records))
        let left = WeightFileWriter.memoryBudget - WeightFileWriter.uncounted - 2 * capacity
        guard left >= perReader else {
            throw LaminaError(
                .limit, store.path, "the store's chunks are too large to decode in bounded memory",
                expected: "at most \(WeightFileWriter.memoryBudget) bytes in all",
                found: "\(WeightFileWriter.uncounted + 2 * capacity + perReader)")
        }
        pool = try WorkerPool(threads: min(threads + 1, left / perReader))
        var readers: [SourceBlockReader] = []
        for _ in 0..<pool.threads { readers.append(try SourceBlockReader(tensors: records, kernels: kernels)) }
        self.readers = readers
        waves = [try FileWave(capacity: capacity), try FileWave(capacity: capacity)]
    }

    /// Writes the whole file and returns its SHA-256, every tensor's digest checked on the way; `progress` gets the bytes
    /// of the file. What is written is neither durable nor read back.
    ///
    /// Throws `.damaged` naming layer and tensor, `.malformed` if tensors that share bytes differ there, `.io`.
    func write(
        to temporary: TemporaryFile, progress: (UInt64) throws(LaminaError) -> Void
    ) throws(LaminaError) -> SHA256Digest {
        direct = temporary.direct
        let pieces = try FilePiece.all(of: layout, tensors)
        var next = try waves[0].take(pieces[...], after: nil, tensors)
        try fill(waves[0])
        var index = 0
        while !waves[index].items.isEmpty {
            let (current, following) = (waves[index], waves[1 - index])
            next += try following.take(pieces[next...], after: current, tensors)
            try run(current, beside: following, to: temporary.file)
            try progress(UInt64(current.newBytes.count))
            index = 1 - index
        }
        for place in layout.sharing { try checkSharing(place, in: temporary.file) }
        return fileDigest.finish()
    }

    private func fill(_ wave: FileWave) throws(LaminaError) {
        try pool.run(wave.items.count) { (index, worker) throws(LaminaError) in
            try wave.fill(index, with: readers[worker], other: other)
        }
    }

    private func run(_ current: FileWave, beside following: FileWave, to file: OpenFile) throws(LaminaError) {
        let fixed = WeightFileWriter.fixedTasks
        try pool.run(fixed + following.items.count) { (index, worker) throws(LaminaError) in
            switch index {
            case 0: try write(current, to: file)
            case 1: try checkTensors(of: current)
            case 2: fileDigest.update(current.memory(current.newBytes))
            default: try following.fill(index - fixed, with: readers[worker], other: other)
            }
        }
    }

    /// Whole pages past the page cache where that works, so that what is read back later comes from the disk.
    private func write(_ wave: FileWave, to file: OpenFile) throws(LaminaError) {
        let start = wave.bytes.lowerBound
        let isLast = wave.bytes.upperBound == layout.size
        let pagesEnd = wave.bytes.upperBound / FileWave.page * FileWave.page
        var written = start
        if let direct, pagesEnd > start {
            if try direct.writeWholePages(wave.memory(start..<pagesEnd), at: start) {
                written = pagesEnd
            } else {
                self.direct = nil
            }
        }
        // Less than a page at the end goes with the next wave.
        let end = isLast ? wave.bytes.upperBound : pagesEnd
        if written < end { try file.write(wave.memory(written..<end), at: written) }
    }

    private func checkTensors(of wave: FileWave) throws(LaminaError) {
        for item in wave.items {
            guard case .block(let place, _, _) = item.piece.origin, !sharing.contains(place) else { continue }
            tensorDigest.update(wave.memory(item.piece.bytes))
            if item.piece.bytes.upperBound == layout.places[place].bytes.upperBound {
                try item.tensor?.check(tensorDigest.finish())
            }
        }
    }

    /// A tensor that does not have its bytes for itself: decoded alone, and compared with what the file has there.
    private func checkSharing(_ place: Int, in file: OpenFile) throws(LaminaError) {
        let tensor = try tensors.tensor(place)
        let record = tensor.record
        var differs = false
        for chunk in stride(from: 0, to: record.geometry.chunkCount, by: record.chunksPerSourceBlock) {
            let block = record.sourceBytes(ofBlockFrom: chunk)
            try tensor.read(blockFrom: chunk, with: readers[0], into: waves[0].buffer.start)
            let bytes = UnsafeRawBufferPointer(rebasing: waves[0].buffer.bytes[0..<block.count])
            tensorDigest.update(bytes)
            let there = UnsafeMutableRawBufferPointer(rebasing: waves[1].buffer.bytes[0..<block.count])
            try file.readExactly(into: there, at: layout.places[place].bytes.lowerBound + block.lowerBound)
            differs = differs || !bytes.elementsEqual(UnsafeRawBufferPointer(there))
        }
        try tensor.check(tensorDigest.finish())
        guard !differs else {
            throw LaminaError(
                .malformed, manifestPath, "the tensor shares bytes with others of its file and differs from them there",
                tensor: tensor.entry.name)
        }
    }
}
