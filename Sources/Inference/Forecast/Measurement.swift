import TensorCore

extension SessionPlan {
    /// Widths that products are measured with: one column as in decoding, and what prefill and batches come to.
    public static let measuredColumns = [1, 16, 64]
    /// Depths tried: more in flight than the deepest makes no disk faster (Benchmarks/RESULTS.md, "Reader").
    private static let depths = [8, 16, 32]
    /// Seconds a thorough measurement of the disk takes.
    public static let thoroughSeconds = 1.0
    /// Runs that read less than this are over before measuring the disk would pay.
    private static let leastBytesWorthMeasuring = 2e9
    /// The disk is measured with at most a twentieth of what a run reads, at 1 GB/s.
    private static let measuredShare = 1 / 20e9

    /// Measures what a run is about to need, and forecasts it: the disk for as long as that pays, the processors for
    /// some hundredths of a second, with the widths a step has, unless `measuresCompute` is false. The session then
    /// reads with the depth found. Throws `.io` and `.damaged` where the store cannot be read, `.limit`.
    public mutating func forecastForRun(measuresCompute: Bool) throws(LaminaError) -> Forecast {
        var forecast = Forecast(self, disk: nil, compute: nil)
        let bytes = forecast.totalBytes
        if bytes >= SessionPlan.leastBytesWorthMeasuring {
            let seconds = min(SessionPlan.thoroughSeconds, bytes * SessionPlan.measuredShare)
            forecast.disk = try measureDisk(seconds: seconds)
        }
        if measuresCompute {
            let passes = workload.evaluation == nil ? forecast.stepPasses : forecast.promptPasses
            let widest = passes.reduce(1) { max($0, $1.columns) }
            let wider = SessionPlan.measuredColumns.first { $0 >= widest } ?? widest
            forecast.compute = try measureCompute(
                columns: SessionPlan.measuredColumns.filter { $0 <= wider }, alsoDecoded: false)
        }
        releaseUnlessRing()
        return forecast
    }

    /// Measures thoroughly, for `plan`: the disk for a second, the processors also with weights in the clear. Throws as
    /// `forecastForRun`.
    public mutating func thoroughForecast() throws(LaminaError) -> Forecast {
        let disk = try measureDisk(seconds: SessionPlan.thoroughSeconds)
        let compute = try measureCompute(columns: SessionPlan.measuredColumns, alsoDecoded: true)
        releaseUnlessRing()
        return Forecast(self, disk: disk, compute: compute)
    }

    /// Reads the store's own files for `seconds` and takes over the depth found, unless one was asked for. `nil` if no
    /// file has room for one request.
    private mutating func measureDisk(seconds: Double) throws(LaminaError) -> DiskRate? {
        let requestBytes = requests.slotBytes
        guard stream.files.contains(where: { $0.size >= UInt64(requestBytes) }) else { return nil }
        let memory = try measuringMemory()
        // Not more than will ever be in flight; what all stays in memory needs no slots.
        let slots = streamedPassBytes == 0 ? memory.count / requestBytes : slotCount
        let wanted = (options.readDepth.map { [$0] } ?? SessionPlan.depths).filter { $0 <= slots }
        let result = try DiskProbe.measure(
            files: stream.files, requestBytes: requestBytes, depths: wanted.isEmpty ? [max(1, slots)] : wanted,
            mode: options.readMode, seconds: seconds, into: memory)
        if options.readDepth == nil { options.readDepth = result.depth }
        return DiskRate(bytesPerSecond: result.bytesPerSecond, mode: result.mode, depth: result.depth)
    }

    private mutating func measureCompute(
        columns: [Int], alsoDecoded: Bool
    ) throws(LaminaError) -> ComputeRates {
        // Room for activations of so many columns is part of the plan.
        let columns = columns.filter { $0 == 1 || $0 <= memory.columns }
        let room = try measuringMemory()
        let probe = try ComputeProbe(
            self, columns: columns.last ?? 1, decodes: alsoDecoded || memory.keepsDecoded, memory: room.bytes)
        var forms = PassCost(self).forms
        if alsoDecoded {
            // For other budgets than this one. What is never kept decoded never gets narrow.
            let isFaster = stream.isDecodedFaster(kernels)
            for isDecoded in [false, true] {
                let all = stream.chunks.indices.map { stream.form(ofChunk: $0, keepsDecoded: isDecoded) }
                forms.formUnion(all.filter { isFaster || $0.coding != .narrow })
            }
        }
        var products: [WeightForm: [ComputeRates.Product]] = [:]
        for form in forms { products[form] = try probe.products(form, columns: columns) }
        return ComputeRates(
            threads: options.threads, products: products, checkedBytesPerSecond: try probe.checkedBytesPerSecond(),
            secondsPerScore: try probe.secondsPerScore(), secondsPerBarrier: probe.secondsPerBarrier())
    }

    /// Memory that the ring, or the resident weights, are going to take, touched.
    private mutating func measuringMemory() throws(LaminaError) -> UntouchedMemory {
        if let ring { return ring }
        let wanted = min(
            ComputeProbe.mostSampleBytes, self.memory.ringBytes + self.memory.residentBytes + self.memory.expertBytes)
        let memory = try UntouchedMemory.ring(count: max(self.memory.ringBytes, wanted))
        ring = memory
        return memory
    }

    /// Gives back what is not the ring's.
    private mutating func releaseUnlessRing() {
        if let ring, ring.count > memory.ringBytes { self.ring = nil }
    }
}

extension SessionPlan {
    /// Bytes of all weights as stored, and of those that every pass uses: without experts the same.
    public var weightBytes: Int { requests.byteCount }
    public var denseBytes: Int { requests.denseByteCount }
    /// Bytes of weights in a pass as stored, and those of them that are read in every pass; with experts what is to be
    /// expected of a pass of one token.
    public var passBytes: Int { denseBytes + routedBytes.wanted }
    public var streamedPassBytes: Int { streamedDenseBytes + routedBytes.read }
    /// The share of a pass's bytes that need not be read again.
    public var residentShare: Double { passBytes == 0 ? 1 : 1 - Double(streamedPassBytes) / Double(passBytes) }
    /// Whether resident weights are decoded.
    public var keepsDecoded: Bool { memory.keepsDecoded }
    /// Bytes that weights in memory take, as they are kept there.
    public var residentWeightBytes: Int { residentBytes }
    public var budgetBytes: Int { budget }
    public var minimumBytes: Int { memory.minimumBytes }
    public var plannedBytes: Int { memory.totalBytes }
    public var ringBytes: Int { slotBytes * slotCount }
    public var requestBytes: Int { requests.slotBytes }
    public var columns: Int { memory.columns }
    public var threads: Int { options.threads }
    /// Passes of an evaluation; 0 for other workloads.
    public var evaluationPasses: Int { evaluation?.passes.count ?? 0 }
    /// Bytes of the keys and values of all positions that are in memory at a time.
    public var keyValueBytes: Int {
        let (shapes, type) = (stream.keyValues, options.keyValueType)
        if let demands = workload.evaluation {
            return (try? KeyValueCache.byteCount(shapes, demands, columns: columns, type: type)) ?? 0
        }
        return (try? KeyValueCache.byteCount(shapes, sequences: workload.sequences, type: type)) ?? 0
    }
}
