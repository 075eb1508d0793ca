/// Choices that change speed and memory, never results.
public struct SessionOptions: Sendable {
    /// Threads that compute, the caller included.
    public var threads: Int
    /// Bytes that the process may take; `nil` for what is available less a margin.
    public var memoryBytes: Int?
    /// How to read; `nil` for the best way that works here.
    public var readMode: ReadMode?
    /// Requests in flight; `nil` to find out, where enough will be read.
    public var readDepth: Int?

    public init(threads: Int, memoryBytes: Int? = nil, readMode: ReadMode? = nil, readDepth: Int? = nil) {
        self.threads = threads
        self.memoryBytes = memoryBytes
        self.readMode = readMode
        self.readDepth = readDepth
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
    /// Bytes of weights kept in memory, decoded or as stored, and of all chunks of a pass as stored.
    public var residentBytes: Int
    public var keepsDecoded: Bool
    public var passBytes: Int
    /// Bytes read from the disk in each pass.
    public var streamedBytes: Int
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
}
