import CSystem
import LayerStore
import TensorCore

/// What a conversion will need, before its first byte is written: measured on samples of the source, encoded as the
/// conversion would.
public struct ConversionForecast: Sendable {
    /// Bytes each shard will have, in the order of the plan.
    public let shardBytes: [UInt64]
    /// The whole store, side files and manifest included.
    public let storeBytes: UInt64
    /// The most bytes that the conversion adds to the disk at one time, what it deletes progressively counted off.
    public let peakBytes: UInt64
    /// The most memory, in bytes.
    public let memoryBytes: Int
    /// Processor time for all of it, in seconds.
    public let processorSeconds: Double
    /// Bytes per second at which the samples were read: from the disk, or from the page cache if they were in it.
    public let readRate: Double

    /// Blocks that stand for all blocks of their codec and dtype.
    fileprivate static let sampleCount = 48
    /// Of all codecs and dtypes together: a plan with measured rates has dozens of kinds.
    fileprivate static let mostSamples = 480
    /// SHA-256 with the processor's own instructions, in bytes per second; the source's bytes and the store's go through.
    private static let hashRate = 1.5e9

    /// Reads and encodes samples. `finished` are the sizes of shards that an interrupted run left; `freed` are the bytes that go with
    /// each source file when it is deleted on the way, 0 for files that stay. Throws what reading throws.
    public init(
        _ plan: ConversionPlan, finished: [String: UInt64] = [:], freed: [UInt64] = [], threads: Int,
        kernels: KernelTable
    ) throws(LaminaError) {
        var samples = Samples()
        try samples.measure(plan.shards.filter { finished[$0.path] == nil }, kernels: kernels)
        shardBytes = plan.shards.map { finished[$0.path] ?? samples.shardBytes($0) }
        let side = ConversionForecast.bytesBesideShards(plan)
        storeBytes = shardBytes.reduce(side, +)
        peakBytes = ConversionForecast.peak(plan, shardBytes, side: 2 * side, finished: finished, freed: freed)
        let coded = plan.shards.indices.reduce(0.0) { $0 + Double(plan.shards[$1].byteCount) * samples.secondsPerByte }
        processorSeconds = coded + Double(plan.byteCount + storeBytes) / ConversionForecast.hashRate
        readRate = samples.readRate
        memoryBytes = BlockPipeline.memoryBytes(for: plan.shards.flatMap(\.tensors), threads: threads)
    }

    /// Of the manifest, about, for each tensor.
    private static let manifestEntryBytes = 400

    /// Side files and manifest, about.
    public static func bytesBesideShards(_ plan: ConversionPlan) -> UInt64 {
        let tensors = plan.shards.reduce(0) { $0 + $1.tensors.count }
        let manifest = UInt64(manifestEntryBytes * tensors + 2048)
        return plan.sideFiles.reduce(manifest) { $0 + UInt64(roundedUp($1.bytes.count, to: 4096)) }
    }

    /// What HDF5 keeps of a tensor, about.
    fileprivate static func groupBytes(planes: Int, chunks: Int) -> Int { 1580 + planes * 550 + chunks * 51 }

    /// What a tensor takes beside its chunks, about.
    static func structureBytes(_ job: TensorJob) -> Int {
        let planes = job.codec.planes(elementSize: job.dtype.size).count
        let chunks = job.geometry.chunkCount * planes
        return groupBytes(planes: planes, chunks: chunks) + manifestEntryBytes + 24 * chunks
    }

    /// Follows the conversion shard by shard. An original goes when the shard after its last one is complete: deletion
    /// waits for the shard that is being published.
    private static func peak(
        _ plan: ConversionPlan, _ shardBytes: [UInt64], side: UInt64, finished: [String: UInt64], freed: [UInt64]
    ) -> UInt64 {
        var needed = plan.source.files.map { _ in 0 }
        for shard in plan.shards { for file in Set(shard.tensors.map(\.sourceFile)) { needed[file] += 1 } }
        var used = Int(side)
        var peak = used
        var earlier: [Int] = []
        for index in plan.order {
            let shard = plan.shards[index]
            if finished[shard.path] == nil { used += Int(clamping: shardBytes[index]) }
            peak = max(peak, used)
            for file in earlier where freed.indices.contains(file) { used -= Int(clamping: freed[file]) }
            earlier = []
            for file in Set(shard.tensors.map(\.sourceFile)) {
                needed[file] -= 1
                if needed[file] == 0 { earlier.append(file) }
            }
        }
        return UInt64(max(0, peak))
    }
}

/// What blocks of each kind become.
private struct Samples {
    /// Tensors that are coded alike compress alike.
    private struct Kind: Hashable {
        var codec: String
        var dtype: DType
        var layout: String
        var step: Double?

        init(_ job: TensorJob) {
            codec = job.codec.name
            dtype = job.dtype
            layout = job.layout.name
            step = job.quantization.step
        }
    }

    private var ratios: [Kind: Double] = [:]
    private(set) var secondsPerByte = 0.0
    private(set) var readRate = 0.0

    mutating func measure(_ shards: [ConversionPlan.Shard], kernels: KernelTable) throws(LaminaError) {
        var kinds: [Kind: [TensorJob]] = [:]
        for job in shards.flatMap(\.tensors)
        where job.codec.name != RawCodec().name && job.blockCount > 0 && job.copied == nil {
            kinds[Kind(job), default: []].append(job)
        }
        var clock = SampleClock()
        for (kind, jobs) in kinds {
            let count = min(ConversionForecast.sampleCount, max(4, ConversionForecast.mostSamples / kinds.count))
            let ratio = try Samples.ratio(jobs, count: count, kernels: kernels, &clock)
            // What is never coded is known exactly.
            if jobs[0].scheme?.coding != .raw { ratios[kind] = ratio }
        }
        secondsPerByte = clock.bytes == 0 ? 0 : clock.encoding / Double(clock.bytes)
        readRate = clock.reading == 0 ? 0 : Double(clock.bytes) / clock.reading
    }

    /// Stored bytes per source byte, over so many samples spread evenly over all blocks of `jobs`.
    private static func ratio(
        _ jobs: [TensorJob], count most: Int, kernels: KernelTable, _ clock: inout SampleClock
    ) throws(LaminaError) -> Double {
        let buffers = try BlockBuffers(jobs: jobs)
        let encoder = try BlockEncoder(jobs: jobs, kernels: kernels)
        let total = jobs.reduce(0) { $0 + $1.blockCount }
        let count = min(total, most)
        var (source, stored) = (0, 0)
        for sample in 0..<count {
            var block = (2 * sample + 1) * total / (2 * count)
            guard
                let job = jobs.first(where: { job in
                    if block < job.blockCount { return true }
                    block -= job.blockCount
                    return false
                })
            else { continue }
            let sampled = Block(of: BlockSequence(jobs: [job]), job: 0, index: block, in: buffers)
            try clock.run(sampled, encoder)
            source += sampled.sourceBytes.count
            stored += sampled.planes.reduce(0) { $0 + $1.fileBytes }
        }
        return source == 0 ? 1 : Double(stored) / Double(source)
    }

    /// The shard's flat header, its chunks in whole pages, and the structure HDF5 keeps of them.
    func shardBytes(_ shard: ConversionPlan.Shard) -> UInt64 {
        var bytes = 0.0
        var records: [(name: String, rank: Int, chunkRecords: Int)] = []
        // What HDF5 keeps of a file without tensors, and half of the last page.
        var structure = 436 + 2048
        for job in shard.tensors {
            let planes = job.codec.planes(elementSize: job.dtype.size).count
            let chunks = job.geometry.chunkCount * planes
            records.append((job.storedName, job.shape.dimensions.count, chunks))
            structure += ConversionForecast.groupBytes(planes: planes, chunks: chunks)
            if let copied = job.copied {
                bytes += copied.record.chunks.reduce(0) {
                    $0 + Double(roundedUp(Int($1.storedSize), to: AlignedBuffer.alignment))
                }
            } else if let ratio = ratios[Kind(job)] {
                bytes += Double(job.byteCount) * ratio
            } else {
                bytes += Double(
                    job.geometry.chunkCount * roundedUp(job.geometry.slotBytes, to: AlignedBuffer.alignment))
            }
        }
        return UInt64(bytes) + UInt64(structure) + ShardHeader.userBlockSize(for: records)
    }
}

/// Times the reading and the encoding of samples.
private struct SampleClock {
    private(set) var bytes = 0
    private(set) var reading = 0.0
    private(set) var encoding = 0.0

    mutating func run(_ block: Block, _ encoder: BlockEncoder) throws(LaminaError) {
        let start = lamina_monotonic_seconds()
        try block.read()
        let middle = lamina_monotonic_seconds()
        try encoder.encode(block)
        reading += middle - start
        encoding += lamina_monotonic_seconds() - middle
        bytes += block.sourceBytes.count
    }
}
