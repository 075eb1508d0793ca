import CSystem
import CommandLineSupport
import LayerStore
import StoreWriter
import TensorCore

/// What a conversion would do, for `--dry-run`.
package struct ConversionReport {
    private let plan: ConversionPlan
    private let forecast: ConversionForecast

    package init(plan: ConversionPlan, forecast: ConversionForecast) {
        self.plan = plan
        self.forecast = forecast
    }

    /// About how long it takes, in seconds: the slower of processors and disk, which reads the source and writes the store
    /// at the rate at which samples of the source were read.
    private var seconds: Double {
        let disk = forecast.readRate > 0 ? Double(plan.byteCount + 2 * forecast.storeBytes) / forecast.readRate : 0
        return max(forecast.processorSeconds / Double(lamina_processor_count()), disk)
    }

    private var bitsPerWeight: Double { plan.bitsPerWeight(forecast.storeBytes) }

    /// Prints it. Throws `.io`.
    package func show(_ destination: Destination, json: Bool) throws(LaminaError) {
        if json { return try Console.out(document(destination).text() + "\n") }
        for (shard, bytes) in zip(plan.shards, forecast.shardBytes) {
            try Console.out(
                "\(shard.path)  \(shard.tensors.count) tensors  \(formattedBytes(shard.byteCount)) -> about \(formattedBytes(bytes))\n"
            )
        }
        let free = destination.freeBytes.map { "\(formattedBytes($0)) free" } ?? "free space unknown"
        try Console.out(
            """
            \(plan.shards.count) shards, \(formattedBytes(plan.byteCount)) to read, about \
            \(formattedBytes(forecast.storeBytes)) to write, \(formatted(bitsPerWeight, decimals: 2)) bits a weight
            disk: at most about \(formattedBytes(forecast.peakBytes)) more than now, \(free)
            memory: at most about \(formattedBytes(forecast.memoryBytes))
            time: about \(formattedDuration(seconds))

            """)
    }

    private func document(_ destination: Destination) -> JSONValue {
        [
            "shards": .array(
                zip(plan.shards, forecast.shardBytes).map { shard, bytes in
                    [
                        "path": .string(shard.path), "tensors": JSONValue(shard.tensors.count),
                        "source_bytes": JSONValue(shard.byteCount), "stored_bytes": JSONValue(bytes),
                    ]
                }),
            "source_bytes": JSONValue(plan.byteCount), "stored_bytes": JSONValue(forecast.storeBytes),
            "bits_per_weight": JSONValue(bitsPerWeight),
            "peak_disk_bytes": JSONValue(forecast.peakBytes),
            "free_disk_bytes": destination.freeBytes.map { JSONValue($0) } ?? .null,
            "peak_memory_bytes": JSONValue(forecast.memoryBytes), "seconds": JSONValue(seconds),
        ]
    }
}

/// What a conversion did.
package struct ConversionSummary {
    private let store: String
    private let manifest: Manifest
    private let plan: ConversionPlan
    private let originals: [OriginalsDeletion.Entry]

    package init(
        store: String, manifest: Manifest, plan: ConversionPlan, originals: [OriginalsDeletion.Entry] = []
    ) {
        self.store = store
        self.manifest = manifest
        self.plan = plan
        self.originals = originals
    }

    private var storedBytes: UInt64 { manifest.shards.reduce(0) { $0 + $1.size } }

    package var text: String {
        let ratio = storedBytes == 0 ? 1 : Double(plan.byteCount) / Double(storedBytes)
        return "\(store): \(formattedBytes(storedBytes)), ratio \(formatted(ratio, decimals: 3)), "
            + "\(formatted(plan.bitsPerWeight(storedBytes), decimals: 2)) bits a weight, "
            + "root digest \(manifest.rootDigest)"
    }

    package var json: JSONValue {
        [
            "store": .string(store), "architecture": .string(manifest.architecture),
            "shards": JSONValue(manifest.shards.count), "tensors": JSONValue(manifest.tensorCount),
            "source_bytes": JSONValue(plan.byteCount), "stored_bytes": JSONValue(storedBytes),
            "bits_per_weight": JSONValue(plan.bitsPerWeight(storedBytes)),
            "root_digest": .string(manifest.rootDigest.description), "originals": OriginalsReport.json(originals),
            "freed_bytes": JSONValue(OriginalsReport.freedBytes(originals)),
            "peak_memory_bytes": JSONValue(lamina_peak_resident_bytes()),
        ]
    }
}

extension ConversionPlan {
    /// Elements of all tensors.
    var weightCount: Double {
        shards.reduce(0.0) { sum, shard in
            shard.tensors.reduce(sum) { $0 + Double($1.shape.elementCount) }
        }
    }

    /// What `bytes` are for each of them.
    func bitsPerWeight(_ bytes: UInt64) -> Double { 8 * Double(bytes) / max(1, weightCount) }
}
