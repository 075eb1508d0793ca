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
    private var isDiscarding = false
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

    func didRead(_ block: Block, failure: LaminaError?) {
        report(block, failure) { $0.reading = .done }
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
            if let block = underWay.first(where: { canWork(on: $0) && $0.progress.encoding == .waiting }) {
                block.progress.encoding = .running
                return .encode(block)
            }
            monitor.wait(as: .consumers)
        }
    }

    /// Not what could not be read, nor what is discarded.
    private func canWork(on block: Block) -> Bool {
        block.progress.reading == .done && block.progress.failure == nil && !isDiscarding
    }

    private func canHash(_ block: Block) -> Bool {
        canWork(on: block) && block.progress.hashing == .waiting && block.sequence.isNext(toHash: block)
    }

    func didHash(_ block: Block) {
        report(block, nil) {
            $0.hashing = .done
            block.sequence.didHash(block)
        }
    }

    func didEncode(_ block: Block, failure: LaminaError?) {
        report(block, failure) { $0.encoding = .done }
    }

    private func report(_ block: Block, _ failure: LaminaError?, _ change: (inout Block.Progress) -> Void) {
        monitor.lock()
        defer { monitor.unlock() }
        change(&block.progress)
        if let failure { block.progress.failure = failure }
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

    /// Forgets all blocks and what was appended, when nothing works on them any more.
    func discardAll() {
        monitor.lock()
        defer { monitor.unlock() }
        isDiscarding = true
        sequences.removeAll()
        while underWay.contains(where: \.progress.isRunning) { monitor.wait(as: .consumers) }
        buffers += underWay.map(\.buffers)
        underWay.removeAll()
        isDiscarding = false
    }
}
