/// One request to the disk: chunks of a pass that lie next to each other in a shard, in plan order, read in one piece.
struct ReadRequest: Sendable, Equatable {
    /// Index into `StreamPlan.files`.
    var file: Int
    /// A multiple of the page size.
    var offset: UInt64
    /// A multiple of the page size; may reach past the end of the file.
    var byteCount: Int
    /// Bytes that must be there.
    var neededBytes: Int
    /// Indices into `StreamPlan.chunks`.
    var chunks: Range<Int>
    /// Index into `StreamPlan.experts`; `nil` for what every pass reads.
    var expert: Int?
}

/// Passes the prefetcher reads ahead for: `count` in a row, with the head's chunks or without.
struct PassSchedule: Sendable, Equatable {
    var includesHead: Bool
    var count: Int
}

extension PassSchedule {
    /// Passes one after the other, of each whether it includes the head; equal neighbours are joined.
    static func joined(_ passes: some Sequence<Bool>) -> [PassSchedule] {
        var schedule: [PassSchedule] = []
        for includesHead in passes {
            if schedule.last?.includesHead == includesHead {
                schedule[schedule.count - 1].count += 1
            } else {
                schedule.append(PassSchedule(includesHead: includesHead, count: 1))
            }
        }
        return schedule
    }
}
