/// How shards are read, best first. The raw value is what `--io` takes and what reports say.
public enum ReadMode: String, Sendable, CaseIterable {
    /// io_uring, past the page cache, into memory that the kernel has pinned once.
    case registeredRing = "uring-registered"
    /// io_uring, past the page cache.
    case ring = "uring"
    /// Threads that call `pread`, past the page cache (O_DIRECT).
    case direct = "pread"
    /// Threads that call `pread` through the page cache, where direct reads are not to be had.
    case buffered = "buffered"
}

/// Choices about reading that change its speed, never what is read.
struct ReaderOptions: Sendable {
    /// `nil` for the best that works here.
    var mode: ReadMode?
    /// Requests in flight with io_uring; `nil` for 8.
    var depth: Int?
    /// Threads of the modes that have some; as many requests are in flight.
    var threads: Int
    /// Modes treated as if the system refused them, to test what happens then.
    var refusedModes: Set<ReadMode> = []

    static let defaultDepth = 8
    /// Reads that a `ChunkFetcher` may have in flight beside those.
    static let fetches = 16

    init(mode: ReadMode? = nil, depth: Int? = nil, threads: Int = 4) {
        self.mode = mode
        self.depth = depth
        self.threads = threads
    }
}

/// What reading cost so far.
struct ReadStatistics: Sendable {
    var bytes: UInt64 = 0
    var requests = 0
    /// Seconds with at least one request in flight.
    var seconds = 0.0
    var experts = ExpertStatistics()
}
