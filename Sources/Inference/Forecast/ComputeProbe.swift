import CKernels
import CSystem
import LayerStore
import TensorCore

/// Short measurements of what the threads of a session do with its weights: the same kernels, on copies of the largest
/// chunk of each kind; enough copies, where there is room, that they come from memory rather than from a cache.
final class ComputeProbe: @unchecked Sendable {
    // Sendable: set up by one thread between runs of the pool, whose barriers order it; `failure` has its own lock.

    /// What one thread does in one turn; returns how much that was.
    private typealias Work = (_ hand: Hand, _ turn: Int) throws(LaminaError) -> Int

    /// What one thread has to itself.
    private final class Hand {
        let number: Int
        let decoder: ChunkDecoder
        /// Products (columns, 64) of a panel; attention's output.
        let output: FloatBuffer
        /// Attention's scores.
        let scores: FloatBuffer
        /// A chain of a panel of 8-bit floats.
        let widened: FloatBuffer
        var done = 0

        init(
            number: Int, scratchBytes: Int, outputs: Int, queries: Int, kernels: KernelTable
        ) throws(LaminaError) {
            self.number = number
            decoder = try ChunkDecoder(slotBytes: scratchBytes, kernels: kernels)
            output = try FloatBuffer(count: outputs)
            scores = try FloatBuffer(count: queries * ComputeProbe.mostPositions)
            widened = try FloatBuffer(count: PanelScales.widenedFloats)
        }
    }

    /// Copies of one chunk, one behind the other.
    private struct Sample {
        var chunk: Int
        var form: WeightForm
        /// Where panels of a narrow chunk begin, in each copy.
        var offsets: [Int] = []
        /// Bytes of a copy, and from one to the next.
        var byteCount: Int
        var stride = 0
        var copies = 1
    }

    private let plan: StreamPlan
    private let keyValueType: KeyValueType
    private let kernels: KernelTable
    private let memory: UnsafeMutableRawBufferPointer
    private let pool: OpaquePointer
    private let hands: [Hand]
    /// Activations (columns, stride) that all threads read.
    private let input: FloatBuffer
    private let inputStride: Int
    /// The same as codes.
    private let codes: ActivationCodes
    /// Heads that go through a cache together.
    private let queries: Int
    private let failure = FirstFailure()
    private var work: Work = { (_, _) throws(LaminaError) in 0 }
    private var deadline = 0.0

    /// What is copied at most, far beyond a core's caches.
    static let mostSampleBytes = 64 << 20
    /// Positions of the keys and values that attention is measured with.
    private static let mostPositions = 512
    /// Of so many rounds the one in the middle counts: others use the machine, too.
    private static let rounds = 3
    private static let secondsPerRound = 0.006
    private static let barriers = 200

    /// Will measure in `memory`, which must hold the largest chunk as stored, for up to `columns` columns; decoded chunks,
    /// too, if it `decodes`. Throws `.limit` for memory or threads.
    init(
        _ session: SessionPlan, columns: Int, decodes: Bool, memory: UnsafeMutableRawBufferPointer
    ) throws(LaminaError) {
        plan = session.stream
        keyValueType = session.options.keyValueType
        kernels = session.kernels
        self.memory = memory
        queries = plan.mostQueries
        let widestHead = plan.keyValues.reduce(0) { max($0, $1.keyDimension, $1.valueDimension) }
        inputStride = roundedUp(
            session.stream.matrices.reduce(0) { max($0, $1.tensor.geometry.paddedColumns) }, to: 16)
        input = try FloatBuffer(count: max(inputStride * columns, queries * widestHead))
        // Zeros would do, but not on a processor that is quicker with them.
        input.start.update(repeating: 0.01, count: input.count)
        codes = try ComputeProbe.codes(inputStride, columns: plan.codedBuffers.isEmpty ? 0 : columns, kernels)
        var hands: [Hand] = []
        for number in 0..<session.options.threads {
            hands.append(
                try Hand(
                    number: number,
                    scratchBytes: session.stream.scratchBytes(keepsDecoded: decodes),
                    outputs: max(64 * columns, queries * widestHead), queries: queries,
                    kernels: session.kernels))
        }
        self.hands = hands
        guard let pool = lamina_pool_create(session.options.threads) else {
            throw LaminaError(.limit, "--threads", "cannot start \(session.options.threads) threads")
        }
        self.pool = pool
    }

    deinit { lamina_pool_destroy(pool) }

    private static func codes(
        _ width: Int, columns: Int, _ kernels: KernelTable
    ) throws(LaminaError) -> ActivationCodes {
        let codes = try ActivationCodes(widths: [width], buffers: [0], columns: columns)
        let activations = try Activations(widths: [width], columns: columns)
        for column in 0..<columns {
            activations.column(0, column).update(repeating: 0.01, count: width)
            codes.fill(0, column, from: activations, kernels)
        }
        return codes
    }

    // MARK: Rates

    /// Times of a weight of `form` for each of `columns`, which rise; `nil` if there is no such weight, or no room.
    /// Throws `.io` and `.damaged` for the chunk that is read.
    func products(_ form: WeightForm, columns: [Int]) throws(LaminaError) -> [ComputeRates.Product]? {
        guard let sample = try sample(form) else { return nil }
        let weights = plan.weightCount(ofChunk: sample.chunk)
        var products: [ComputeRates.Product] = []
        for count in columns {
            let rate = try rate { (hand, turn) throws(LaminaError) in
                try self.multiply(sample, self.copy(of: sample, hand, turn), columns: count, hand)
                return weights
            }
            products.append(ComputeRates.Product(columns: count, secondsPerWeight: 1 / rate))
        }
        return products
    }

    /// Bytes per second that all threads together compare with their checksums.
    func checkedBytesPerSecond() throws(LaminaError) -> Double {
        let size = min(memory.count, RequestPlan.wantedBytes / 4)
        let pieces = max(1, min(memory.count, ComputeProbe.mostSampleBytes) / size)
        return try rate { (hand, turn) throws(LaminaError) in
            let start = (turn * self.hands.count + hand.number) % pieces * size
            let piece = UnsafeRawBufferPointer(rebasing: self.memory[start..<(start + size)])
            // Counted with the result, so that the work cannot be left out.
            return xxh3(piece) == 0 ? size + 1 : size
        }
    }

    /// Time that all threads together take to attend to one position with one head; 0 where there is no room for keys
    /// and values.
    func secondsPerScore() throws(LaminaError) -> Double {
        guard let shape = plan.keyValues.first, let base = memory.baseAddress else { return 0 }
        let block = Int(LAMINA_KV_BLOCK)
        let bytes = shape.headBlockBytes(keyValueType)
        let blocks = min(ComputeProbe.mostPositions / block, memory.count / (bytes.keys + bytes.values))
        guard blocks > 0 else { return 0 }
        let size = blocks * (bytes.keys + bytes.values)
        let caches = max(1, min(memory.count, ComputeProbe.mostSampleBytes) / size)
        memory.initializeMemory(as: UInt8.self, repeating: 0)
        let rate = try rate { (hand, turn) throws(LaminaError) in
            let start = base + (turn * self.hands.count + hand.number) % caches * size
            self.attend(start, shape, blocks: blocks, hand)
            return blocks * block * self.queries
        }
        return 1 / rate
    }

    /// Time of a run of the pool without work.
    func secondsPerBarrier() -> Double {
        work = { (_, _) throws(LaminaError) in 0 }
        deadline = 0
        let started = lamina_monotonic_seconds()
        for _ in 0..<ComputeProbe.barriers { runPool() }
        return (lamina_monotonic_seconds() - started) / Double(ComputeProbe.barriers)
    }

    /// What all threads together do in a second of `work`.
    private func rate(_ work: @escaping Work) throws(LaminaError) -> Double {
        self.work = work
        var rates: [Double] = []
        for _ in 0..<ComputeProbe.rounds {
            for hand in hands { hand.done = 0 }
            let started = lamina_monotonic_seconds()
            deadline = started + ComputeProbe.secondsPerRound
            runPool()
            let elapsed = lamina_monotonic_seconds() - started
            try failure.rethrow()
            rates.append(Double(hands.reduce(0) { $0 + $1.done }) / elapsed)
        }
        return rates.sorted()[rates.count / 2]
    }

    private func runPool() {
        lamina_pool_run(
            pool, hands.count,
            { context, _, worker in
                guard let context else { return }
                Unmanaged<ComputeProbe>.fromOpaque(context).takeUnretainedValue().perform(worker)
            }, Unmanaged.passUnretained(self).toOpaque())
    }

    private func perform(_ worker: Int) {
        let hand = hands[worker]
        var turn = 0
        do throws(LaminaError) {
            repeat {
                hand.done += try work(hand, turn)
                turn += 1
            } while lamina_monotonic_seconds() < deadline
        } catch {
            failure.note(error)
        }
    }

    // MARK: Samples

    /// Reads the largest chunk of `form` and copies it; for words in the clear and narrow codes a coded one is decoded.
    private func sample(_ form: WeightForm) throws(LaminaError) -> Sample? {
        let exact = largestChunk { self.plan.form(ofChunk: $0, keepsDecoded: false) == form }
        let other =
            form.coding == .clear || form.coding == .narrow
            ? largestChunk { self.plan.form(ofChunk: $0, keepsDecoded: true) == form } : nil
        guard let chunk = exact ?? other, let base = memory.baseAddress else { return nil }
        let planned = plan.chunks[chunk]
        try read(chunk)
        var sample = Sample(chunk: chunk, form: form, byteCount: planned.byteCount)
        if exact == nil, try !decode(planned, &sample) { return nil }
        let (byteCount, stride) = (sample.byteCount, roundedUp(sample.byteCount, to: 64))
        let copies = max(1, min(memory.count, max(ComputeProbe.mostSampleBytes, stride)) / stride)
        for copy in 1..<max(2, copies) where copy < copies {
            (base + copy * stride).copyMemory(from: base, byteCount: byteCount)
        }
        (sample.stride, sample.copies) = (stride, copies)
        return sample
    }

    /// Decodes the stored chunk at the beginning of the memory, to where it is. False if there is no room.
    private func decode(_ planned: PlannedChunk, _ sample: inout Sample) throws(LaminaError) -> Bool {
        let matrix = plan.matrices[planned.matrix]
        let geometry = matrix.tensor.geometry
        let panels = sample.form.coding == .narrow ? geometry.chunk(planned.chunk).unitCount : 0
        let needed = panels > 0 ? NarrowChunk.room(geometry, panels: panels) : planned.decodedBytes
        guard needed <= memory.count, let base = memory.baseAddress else { return false }
        let decoder = try ChunkDecoder(slotBytes: geometry.slotBytes, kernels: kernels)
        let elements = try decoder.decodeChecked(
            matrix.tensor, chunk: planned.chunk,
            stored: UnsafeRawBufferPointer(start: base, count: planned.byteCount), base: planned.offset,
            planeCount: matrix.planeCount, planeBytes: matrix.planeBytes)
        sample.byteCount = planned.decodedBytes
        guard panels > 0 else {
            base.copyMemory(from: elements, byteCount: sample.byteCount)
            return true
        }
        // What is stored in the clear is not moved by decoding, and would be overwritten.
        let room = decoder.room
        if elements != UnsafeRawPointer(room) { room.copyMemory(from: elements, byteCount: sample.byteCount) }
        sample.offsets = [Int](repeating: 0, count: panels)
        sample.byteCount = sample.offsets.withUnsafeMutableBufferPointer { offsets in
            offsets.baseAddress.map {
                NarrowChunk.make(room, of: geometry, panels: panels, at: base, offsets: $0, kernels)
            } ?? 0
        }
        return true
    }

    private func largestChunk(where isWanted: (Int) -> Bool) -> Int? {
        plan.chunks.indices.filter(isWanted).max { plan.chunks[$0].decodedBytes < plan.chunks[$1].decodedBytes }
    }

    private func read(_ chunk: Int) throws(LaminaError) {
        let planned = plan.chunks[chunk]
        let matrix = plan.matrices[planned.matrix]
        let stored = UnsafeMutableRawBufferPointer(rebasing: memory[..<planned.byteCount])
        do throws(LaminaError) {
            try plan.files[planned.file].read(into: stored, at: planned.offset, neededBytes: planned.neededBytes)
            try ChunkDecoder.check(
                matrix.tensor, chunk: planned.chunk, stored: UnsafeRawBufferPointer(stored), base: planned.offset,
                planeCount: matrix.planeCount)
        } catch {
            throw error.located(in: plan.files[planned.file], tensor: matrix.name)
        }
    }

    private func copy(of sample: Sample, _ hand: Hand, _ turn: Int) -> UnsafeRawBufferPointer {
        let start = (turn * hands.count + hand.number) % sample.copies * sample.stride
        return UnsafeRawBufferPointer(rebasing: memory[start..<(start + sample.byteCount)])
    }

    // MARK: Work

    /// Multiplies a copy with `columns` columns, as a pass does.
    private func multiply(
        _ sample: Sample, _ stored: UnsafeRawBufferPointer, columns: Int, _ hand: Hand
    ) throws(LaminaError) {
        let planned = plan.chunks[sample.chunk]
        let matrix = plan.matrices[planned.matrix]
        guard let start = stored.baseAddress else { return }
        switch sample.form.coding {
        case .clear: multiply(.decoded(start), planned, columns: columns, hand)
        case .narrow:
            sample.offsets.withUnsafeBufferPointer { offsets in
                guard let offsets = offsets.baseAddress else { return }
                multiply(.narrow(NarrowChunk(start: start, offsets: offsets)), planned, columns: columns, hand)
            }
        case .planes:
            let elements = try hand.decoder.decodeChecked(
                matrix.tensor, chunk: planned.chunk, stored: stored, base: planned.offset,
                planeCount: matrix.planeCount, planeBytes: matrix.planeBytes)
            multiply(.decoded(elements), planned, columns: columns, hand)
        case .tiers:
            let tiers = try ChunkDecoder.tiers(
                matrix.tensor, chunk: planned.chunk, stored: stored, base: planned.offset,
                planeCount: matrix.planeCount)
            guard let tiers else { return }
            for unit in 0..<tiers.segmentCount {
                var task = panel(unit, planned, columns: columns, hand)
                let segment = tiers.segment(unit)
                task.weights = segment.baseAddress
                guard kernels.pointee.multiply_tier_panel(&task, segment.count, hand.decoder.scratch) else {
                    throw ChunkDecoder.damage(chunk: planned.chunk, of: matrix.tensor)
                }
            }
        }
    }

    private func multiply(_ elements: DecodedChunks.Elements, _ planned: PlannedChunk, columns: Int, _ hand: Hand) {
        let matrix = plan.matrices[planned.matrix]
        let geometry = matrix.tensor.geometry
        let extent = geometry.chunk(planned.chunk)
        for group in 0..<geometry.groupCount(extent) {
            var task = panel(group, planned, columns: columns, hand)
            if let form = matrix.form {
                let input = QuantizedInput(
                    codes: codes.columns(0), widened: hand.widened.start, restored: hand.decoder.room)
                matrix.multiply(form, elements, group: group, of: extent, input, task, kernels)
            } else if case .decoded(let start) = elements {
                task.weights = start + group * geometry.unitBytes(of: extent)
                kernels.multiply(matrix.weightType, &task, widened: hand.widened.start)
            }
        }
    }

    private func panel(_ group: Int, _ planned: PlannedChunk, columns: Int, _ hand: Hand) -> lamina_panel_task {
        let geometry = plan.matrices[planned.matrix].tensor.geometry
        let extent = geometry.chunk(planned.chunk)
        var task = lamina_panel_task()
        task.rows = min(64, geometry.rows - (geometry.firstGroup(extent) + group) * 64)
        task.width = roundedUp(task.rows, to: 16)
        task.k_begin = extent.firstColumn
        task.k_count = extent.columnCount
        task.x = UnsafePointer(input.start)
        task.x_stride = inputStride
        task.y = hand.output.start
        task.y_stride = 64
        task.columns = columns
        return task
    }

    private func attend(_ keys: UnsafeRawPointer, _ shape: KeyValueShape, blocks: Int, _ hand: Hand) {
        var task = lamina_attention_task()
        task.type = keyValueType.kernelType
        task.query = UnsafePointer(input.start)
        task.query_stride = shape.keyDimension
        task.queries = queries
        task.keys = keys
        task.values = shape.isLatent ? nil : keys + blocks * shape.headBlockBytes(keyValueType).keys
        task.ring_blocks = blocks
        task.head_dim = shape.keyDimension
        task.value_dim = shape.valueDimension
        task.count = blocks * Int(LAMINA_KV_BLOCK)
        task.scale = 1
        task.scores = hand.scores.start
        task.score_stride = ComputeProbe.mostPositions
        task.output = hand.output.start
        task.output_stride = shape.valueDimension
        kernels.pointee.attend(&task)
    }
}

extension StreamPlan {
    func dtype(ofChunk index: Int) -> DType { matrices[chunks[index].matrix].tensor.dtype }
}
