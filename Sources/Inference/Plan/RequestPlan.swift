import LayerStore
import TensorCore

/// The chunks of a pass joined into requests of about the size a disk likes best.
struct RequestPlan: Sendable {
    /// In plan order; those of the head last.
    let requests: [ReadRequest]
    /// The request each chunk belongs to.
    let requestOfChunk: [Int]
    /// Requests before the head's.
    let bodyCount: Int
    /// Which of them belong to experts.
    let experts: ExpertRequests

    /// Bytes of a request where memory is not scarce: 8 of them in flight read as fast as a disk can
    /// (Benchmarks/RESULTS.md, "Reader").
    static let wantedBytes = 4 << 20
    /// Bytes between two chunks that are read along rather than skipped: a norm's or a bias's page, HDF5 structure.
    private static let mostGap = 64 << 10

    /// Joins neighbouring chunks up to `targetBytes`; a chunk that is larger is a request of its own. What is read or
    /// skipped apart stays apart: chunks of different experts, an expert's and those of every pass.
    init(_ plan: StreamPlan, targetBytes: Int) {
        var requests: [ReadRequest] = []
        var requestOfChunk: [Int] = []
        requestOfChunk.reserveCapacity(plan.chunks.count)
        var bodyCount = 0
        var expertOfChunk = [Int?](repeating: nil, count: plan.chunks.count)
        for (index, expert) in plan.experts.enumerated() {
            for chunk in expert.chunks { expertOfChunk[chunk] = index }
        }
        for (index, chunk) in plan.chunks.enumerated() {
            // Passes may leave the head out, so that none of its chunks is in a request with others.
            if index == plan.bodyChunkCount { bodyCount = requests.count }
            let joined =
                index == plan.bodyChunkCount || requests.last?.expert != expertOfChunk[index]
                ? nil : requests.last.flatMap { RequestPlan.join($0, chunk, targetBytes: targetBytes) }
            if let joined {
                requests[requests.count - 1] = joined
            } else {
                requests.append(
                    ReadRequest(
                        file: chunk.file, offset: chunk.offset, byteCount: chunk.byteCount,
                        neededBytes: chunk.neededBytes, chunks: index..<(index + 1), expert: expertOfChunk[index]))
            }
            requestOfChunk.append(requests.count - 1)
        }
        self.requests = requests
        self.requestOfChunk = requestOfChunk
        experts = ExpertRequests(plan.experts, requests)
        self.bodyCount = plan.bodyChunkCount == plan.chunks.count ? requests.count : bodyCount
    }

    private static func join(_ request: ReadRequest, _ chunk: PlannedChunk, targetBytes: Int) -> ReadRequest? {
        let end = request.offset + UInt64(request.byteCount)
        guard chunk.file == request.file, chunk.offset >= end, chunk.offset - end <= UInt64(mostGap) else {
            return nil
        }
        let start = Int(chunk.offset - request.offset)
        guard start + chunk.byteCount <= targetBytes else { return nil }
        var joined = request
        joined.byteCount = start + chunk.byteCount
        joined.neededBytes = start + chunk.neededBytes
        joined.chunks = request.chunks.lowerBound..<(request.chunks.upperBound + 1)
        return joined
    }

    /// Bytes of the largest request: the ring's slot size.
    var slotBytes: Int { requests.reduce(AlignedBuffer.alignment) { max($0, $1.byteCount) } }
    /// Bytes of all requests: what a pass reads that keeps nothing and wants every expert.
    var byteCount: Int { requests.reduce(0) { $0 + $1.byteCount } }
    /// Those of them that are not experts'.
    var denseByteCount: Int { byteCount - experts.byteCount }
    /// What residency is about: bytes of each request, 0 for experts, which no fixed set would serve.
    var residableSizes: [Int] { requests.map { $0.expert == nil ? $0.byteCount : 0 } }
}
