/// How quantized weights are multiplied.
public enum ComputeMode: String, Sendable, CaseIterable {
    /// Every weight as the f32 number it stands for, by f32 activations.
    case f32
    /// As 8-bit codes by activations of 8 bits, where the scheme allows it; other weights as `f32`.
    case int8
}

/// Choices that change speed and memory, and two that change results.
public struct SessionOptions: Sendable {
    /// Threads that compute, the caller included.
    public var threads: Int
    /// Bytes that the process may take; `nil` for what is available less a margin.
    public var memoryBytes: Int?
    /// How to read; `nil` for the best way that works here.
    public var readMode: ReadMode?
    /// Requests in flight; `nil` to find out, where enough will be read.
    public var readDepth: Int?

    /// How keys and values are kept; changes results.
    public var keyValueType: KeyValueType
    /// How quantized weights are multiplied; changes results of stores that have some.
    public var compute: ComputeMode

    public init(
        threads: Int, memoryBytes: Int? = nil, readMode: ReadMode? = nil, readDepth: Int? = nil,
        keyValueType: KeyValueType = .f32, compute: ComputeMode = .int8
    ) {
        self.threads = threads
        self.memoryBytes = memoryBytes
        self.readMode = readMode
        self.readDepth = readDepth
        self.keyValueType = keyValueType
        self.compute = compute
    }
}

/// What became of the experts that passes wanted, each counted once per layer and pass.
public struct ExpertStatistics: Sendable, Equatable {
    /// Experts that were in memory already.
    public private(set) var hits = 0
    /// Experts that had to be read.
    public private(set) var misses = 0
    /// Stored bytes of these and those.
    public private(set) var hitBytes: UInt64 = 0
    public private(set) var missBytes: UInt64 = 0

    /// The share of wanted experts that were in memory; `nil` if none were wanted.
    public var hitRate: Double? { hits + misses == 0 ? nil : Double(hits) / Double(hits + misses) }

    mutating func count(_ place: ExpertPlace, bytes: Int) {
        if place == .cached {
            hits += 1
            hitBytes += UInt64(bytes)
        } else {
            misses += 1
            missBytes += UInt64(bytes)
        }
    }
}

/// Where the time went, and how memory was divided.
public struct SessionStatistics: Sendable {
    /// Bytes read from shards so far.
    public var bytesRead: UInt64
    /// Seconds in which at least one read was under way; they overlap with everything else.
    public var readSeconds: Double
    /// Seconds a computing thread waited for the disk, compared checksums, decoded chunks that are not multiplied as
    /// they are stored, and computed; on average over the threads.
    public var waitSeconds: Double
    public var checkSeconds: Double
    public var decodeSeconds: Double
    public var computeSeconds: Double
    /// Passes over the weights so far.
    public var passes: Int
    /// Bytes of weights kept in memory, decoded or as stored, places for experts included.
    public var residentBytes: Int
    public var keepsDecoded: Bool
    /// Stored bytes of the weights that a pass uses, and those of them that it reads from the disk, once what stays in
    /// memory has been read. With experts it is those that were routed, on average over the passes so far.
    public var passBytes: Int
    public var streamedBytes: Int
    /// `nil` for dense models.
    public var experts: ExpertStatistics?
    /// Columns per pass, bytes of the read-ahead ring, of a request at most.
    public var columns: Int
    public var ringBytes: Int
    public var requestBytes: Int
    public var readMode: ReadMode
    /// Most requests in flight.
    public var readDepth: Int
    /// The memory the session was given, what it uses of it, and the least it could do with.
    public var budgetBytes: Int
    public var plannedBytes: Int
    public var minimumBytes: Int

    /// The share of a pass's bytes that need not be read again.
    public var hitRate: Double { passBytes == 0 ? 1 : 1 - Double(streamedBytes) / Double(passBytes) }
    /// The share of wanted experts that were in memory; `nil` for dense models and before the first pass.
    public var expertHitRate: Double? { experts.flatMap(\.hitRate) }
}
