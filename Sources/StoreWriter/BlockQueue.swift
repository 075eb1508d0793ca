import TensorCore

/// The blocks under way, in order, and what may be done next with which of them. Every thread of a conversion asks here
/// for work and reports here.
final class BlockQueue: @unchecked Sendable {
    // Sendable: `monitor` guards everything.

    enum Task {
        case hash(Block)
        case encode(Block)
    }

    /// Readers wait for buffers and blocks to read as producers, all others as consumers.
    private let monitor = Monitor()
    private var buffers: [BlockBuffers]
    private var underWay: [Block] = []
    /// Those whose blocks are not all under way.
    private var sequences: [BlockSequence] = []
    private var isClosed = false

    init(buffers: [BlockBuffers]) { self.buffers = buffers }

    /// Adds blocks behind all others.
    func append(_ sequence: BlockSequence) {
        monitor.lock()
        defer { monitor.unlock() }
        if !sequence.isTaken { sequences.append(sequence) }
        monitor.wakeAll(.producers)
    }

    /// Lets every thread come to an end.
    func close() {
        monitor.lock()
        defer { monitor.unlock() }
        isClosed = true
        monitor.wakeAll(.producers)
        monitor.wakeAll(.consumers)
    }

    /// The next block to read; `nil` when closed.
    func nextToRead() -> Block? {
        monitor.lock()
        defer { monitor.unlock() }
        while true {
            if isClosed { return nil }
            if let sequence = sequences.first, let room = buffers.popLast() {
                let block = sequence.take(in: room)
                if sequence.isTaken { sequences.removeFirst() }
                underWay.append(block)
                return block
            }
            monitor.wait(as: .producers)
        }
    }

    func didRead(_ block: Block) {
        report(block) { $0.isRead = true }
    }

    /// The next thing to do with a block that is read; `nil` when closed.
    func nextTask() -> Task? {
        monitor.lock()
        defer { monitor.unlock() }
        while true {
            if isClosed { return nil }
            // Hashes first: a tensor's bytes can be hashed only one after another, while any number can encode.
            if let block = underWay.first(where: { canHash($0) }) {
                block.progress.hashing = .running
                return .hash(block)
            }
            if let block = underWay.first(where: { $0.progress.isRead && $0.progress.encoding == .waiting }) {
                block.progress.encoding = .running
                return .encode(block)
            }
            monitor.wait(as: .consumers)
        }
    }

    private func canHash(_ block: Block) -> Bool {
        block.progress.isRead && block.progress.hashing == .waiting && block.sequence.isNext(toHash: block)
    }

    func didHash(_ block: Block) {
        report(block) {
            $0.hashing = .done
            block.sequence.didHash(block)
        }
    }

    func didEncode(_ block: Block) {
        report(block) { $0.encoding = .done }
    }

    /// Notes what went wrong with a block, for whoever waits for it.
    func fail(_ block: Block, _ error: LaminaError) {
        report(block) { $0.failure = error }
    }

    private func report(_ block: Block, _ change: (inout Block.Progress) -> Void) {
        monitor.lock()
        defer { monitor.unlock() }
        change(&block.progress)
        monitor.wakeAll(.consumers)
    }

    /// Waits until the first block is finished. Throws what went wrong with it.
    func first() throws(LaminaError) -> Block {
        monitor.lock()
        defer { monitor.unlock() }
        while true {
            if let block = underWay.first, block.progress.isFinished {
                if let failure = block.progress.failure { throw failure }
                return block
            }
            monitor.wait(as: .consumers)
        }
    }

    /// Gives the first block's buffers to the next that is to be read.
    func releaseFirst() {
        monitor.lock()
        defer { monitor.unlock() }
        buffers.append(underWay.removeFirst().buffers)
        monitor.wakeOne(.producers)
    }
}
