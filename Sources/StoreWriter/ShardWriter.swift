import CKernels
import LayerStore
import TensorCore

/// Writes one shard: HDF5 structure and chunks through `HDF5File`, then the flat header in front.
struct ShardWriter {
    let directory: String
    let fileName: String
    let fileSystem: any FileSystem

    /// Writes `jobs` in order while `following`, the next shard's if they are known, are read ahead; the result is
    /// complete but neither durable nor checked. Throws `.io`, `.cannotCreate`, `.unexpected`, and what reading the
    /// source throws.
    func write(
        _ jobs: [TensorJob], following: [TensorJob]?, pipeline: BlockPipeline,
        progress: (UInt64) throws(LaminaError) -> Void
    ) throws(LaminaError) -> WrittenShard {
        let planeCounts = jobs.map { $0.codec.planes(elementSize: $0.dtype.size).count }
        let userBlock = ShardHeader.userBlockSize(
            for: zip(jobs, planeCounts).map { job, planes in
                (job.storedName, job.shape.dimensions.count, job.geometry.chunkCount * planes)
            })
        let temporary = try TemporaryFile(directory: directory, name: fileName, in: fileSystem)
        let structure = try HDF5File(
            file: temporary.file, userBlockSize: Int(userBlock))
        let datasets = try makeDatasets(jobs, in: structure)
        var records: [[ChunkRecord]] = jobs.map { _ in [] }
        var losses = jobs.map { _ in QuantizationLoss() }
        let digests = try pipeline.run(jobs, following: following) { (block) throws(LaminaError) in
            let output = block.buffers.output.bytes
            let job = block.job
            for plane in block.planes {
                let bytes = UnsafeRawBufferPointer(rebasing: output[plane.range])
                let coding = job.codec.planes(elementSize: job.dtype.size)[plane.plane].coding
                let offset = try structure.writeChunk(
                    plane.chunk, of: datasets[block.jobIndex][plane.plane], bytes,
                    skippingFilter: coding != .raw && plane.encoding == .raw)
                records[block.jobIndex].append(
                    ChunkRecord(
                        offset: offset, storedSize: UInt32(plane.range.count), encoding: plane.encoding,
                        hash: plane.hash))
            }
            losses[block.jobIndex] += block.loss
            try progress(block.progressBytes)
        }
        let fileSize = try structure.finish()
        let tensors = zip(jobs, records).map { job, records in
            TensorRecord(
                name: job.storedName, dtype: job.dtype, shape: job.shape, codec: job.codec, geometry: job.geometry,
                chunks: records)
        }
        let header = ShardHeader(userBlockSize: userBlock, fileSize: fileSize, tensors: tensors)
        try header.encoded().withBytes { (bytes) throws(LaminaError) in try temporary.file.write(bytes, at: 0) }
        var entries: [Manifest.Tensor] = []
        for (index, job) in jobs.enumerated() {
            entries.append(try job.manifestEntry(found: digests[index], loss: losses[index]))
        }
        return WrittenShard(header: header, temporary: temporary, tensors: entries)
    }

    /// One group per tensor, one dataset per plane, all before the first chunk so that the structure stays together.
    private func makeDatasets(_ jobs: [TensorJob], in structure: HDF5File) throws(LaminaError) -> [[HDF5File.Dataset]] {
        var result: [[HDF5File.Dataset]] = []
        for job in jobs {
            let geometry = job.geometry
            let group = try structure.makeGroup(job.storedName, attributes: attributes(of: job))
            var datasets: [HDF5File.Dataset] = []
            for plane in job.codec.planes(elementSize: job.dtype.size) where geometry.chunkCount > 0 {
                let chunkBytes = plane.slotBytes(geometry)
                datasets.append(
                    try structure.makeDataset(
                        plane.name, in: group, bytes: chunkBytes * geometry.chunkCount, chunkBytes: chunkBytes,
                        filter: HDF5File.Filter(plane.coding)))
            }
            result.append(datasets)
        }
        return result
    }

    private func attributes(of job: TensorJob) -> [HDF5File.Attribute] {
        let geometry = job.geometry
        // With an eighth attribute libhdf5 keeps them in a heap of their own, 9 KiB for each tensor; panels of 16 have all
        // columns anyway.
        let extent =
            geometry.layout == .panel16
            ? HDF5File.Attribute("panel_bytes", .integer(Int64(geometry.panelBytes)))
            : HDF5File.Attribute("columns_per_chunk", .integer(Int64(geometry.columnsPerChunk)))
        return [
            HDF5File.Attribute("name", .text(job.storedName)),
            HDF5File.Attribute("dtype", .text(job.dtype.rawValue)),
            HDF5File.Attribute("shape", .naturals(job.shape.dimensions.map(UInt64.init))),
            HDF5File.Attribute("layout", .text(geometry.layout.name)),
            HDF5File.Attribute("codec", .text(job.codec.name)),
            HDF5File.Attribute("units_per_chunk", .integer(Int64(geometry.unitsPerChunk))),
            extent,
        ]
    }
}

extension HDF5File.Filter {
    /// What undoes a plane's coding.
    fileprivate init(_ coding: ChunkRecord.Encoding) {
        self =
            switch coding {
            case .raw: .none
            case .zstd: .zstd
            case .expTier: .expTier
            case .ecqTier: .ecqTier
            }
    }
}

/// A shard whose bytes are all written, on its way to being part of the store.
final class WrittenShard: @unchecked Sendable {
    // Sendable: handed over whole, used by one thread at a time.
    private let header: ShardHeader
    private let temporary: TemporaryFile
    let tensors: [Manifest.Tensor]

    fileprivate init(header: ShardHeader, temporary: TemporaryFile, tensors: [Manifest.Tensor]) {
        self.header = header
        self.temporary = temporary
        self.tensors = tensors
    }

    var size: UInt64 { header.fileSize }

    /// Makes the shard durable, reads it back and publishes it. Returns its digest. Throws `.io`.
    func publish() throws(LaminaError) -> SHA256Digest {
        try temporary.file.sync()
        let digest = try readBack()
        // Synced pages can go: a store larger than the memory would push everything else out of it.
        temporary.file.dropCache()
        try temporary.publish()
        return digest
    }

    /// Reads the whole file as a reader will: every chunk must be where the header has it, and the digest of all bytes
    /// is the shard's.
    ///
    /// Out of the page cache, as far as it is there still: this proves what was written, not what the disk holds, and
    /// costs no transfer. What depends on the disk, deleting originals, drops the cache and reads again.
    private func readBack() throws(LaminaError) -> SHA256Digest {
        let file = temporary.file
        return try ShardScan(header: header).run(file) { (tensor, chunk, record) throws(LaminaError) in
            throw LaminaError(
                .io, file.path, "chunk \(chunk) read back differs from what was written",
                hint: "the disk or the memory of this machine is faulty", tensor: tensor.name,
                bytes: record.offset..<(record.offset + UInt64(record.storedSize)))
        }
    }
}
