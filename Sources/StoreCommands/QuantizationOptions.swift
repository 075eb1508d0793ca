import ArgumentParser
import CommandLineSupport
import Inference
import LayerStore
import StoreWriter
import TensorCore

/// A scheme as it is named on a command line, or `exact`: `q8`, `ecq`, `ecq@5`.
package struct SchemeName: ExpressibleByArgument, Sendable {
    private static let freeName = "ecq"
    private static let bits = 2.5...6.5
    /// Every name that is understood.
    package static let all = ["exact", freeName] + Schemes.all.map(\.name)

    private let name: String
    private let bits: Double?

    package init?(argument: String) {
        let parts = argument.split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        guard let name = parts.first, SchemeName.all.contains(name) else { return nil }
        self.name = name
        guard parts.count == 2 else {
            bits = nil
            return
        }
        let isFree = name == SchemeName.freeName || Schemes.named(name)?.hasFreeStep == true
        guard isFree, let bits = Double(parts[1]), SchemeName.bits.contains(bits) else { return nil }
        self.bits = bits
    }

    /// What it stands for; `nil` is exact.
    func target(coding: CodeCoding, bits standard: Double?) -> QuantizationTarget? {
        let scheme: (any QuantizationScheme)? = name == SchemeName.freeName ? coding.scheme : Schemes.named(name)
        return scheme.map { QuantizationTarget($0, bits: $0.hasFreeStep ? bits ?? standard : nil) }
    }
}

/// The size of a store: `38GiB` for all of it, or `4.25bpw`, bits of its shards for each weight of the model.
package struct TargetSize: ExpressibleByArgument, Sendable {
    private static let suffix = "bpw"

    private enum Value: Sendable {
        case bytes(UInt64)
        case bitsPerWeight(Double)
    }

    private let value: Value

    package init?(argument: String) {
        if argument.lowercased().hasSuffix(TargetSize.suffix) {
            guard let bits = Double(argument.dropLast(TargetSize.suffix.count)), bits > 0, bits <= 64 else {
                return nil
            }
            value = .bitsPerWeight(bits)
        } else {
            guard let size = ByteSize(argument: argument) else { return nil }
            value = .bytes(UInt64(size.bytes))
        }
    }

    /// Of the whole store that `plan` makes.
    func bytes(_ plan: ConversionPlan) -> UInt64 {
        switch value {
        case .bytes(let bytes): bytes
        case .bitsPerWeight(let bits):
            UInt64(bits * plan.weightCount / 8) + ConversionForecast.bytesBesideShards(plan)
        }
    }
}

/// How the codes of `ecq` are stored.
package enum CodeCoding: String, ExpressibleByArgument, Sendable, CaseIterable {
    case tier
    case huffman

    var scheme: any QuantizationScheme {
        switch self {
        case .tier: EntropyCodedTiers()
        case .huffman: EntropyCodedHuffman()
        }
    }
}

/// What the commands that quantize let the user choose beside the scheme.
package struct QuantizationOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Bits a weight of ecq takes, 2.5 to 6.5. Default: 4.25.", valueName: "bits"))
    package var bits: Double?

    @Option(help: "How ecq's codes are stored: tier (fast to decode) or huffman (about 1 % smaller).")
    package var coding = CodeCoding.tier

    @Option(
        help: ArgumentHelp(
            "Scheme of the embedding matrix, or exact. Default: q8, or the scheme itself if it has 8 bits or a --target-size to fit.",
            valueName: "scheme"))
    package var embeddings: SchemeName?

    @Option(
        help: ArgumentHelp(
            "The same for the head matrix, and for one matrix that is both.", valueName: "scheme"))
    package var head: SchemeName?

    @Option(
        help: ArgumentHelp(
            "Scheme of the tensors whose names match, or exact: '*.down_proj.weight=ecq@5'. * is any text, ? one character. May be given again; the last match wins.",
            valueName: "pattern=scheme"))
    package var keep: [String] = []

    @Option(
        help: ArgumentHelp(
            "Choose the bits of ecq so that the whole store has this size: 38GiB, or 4.25bpw.", valueName: "size"))
    package var targetSize: TargetSize?

    package init() {}

    /// Whether nothing is chosen.
    package var isDefault: Bool {
        bits == nil && coding == .tier && embeddings == nil && head == nil && keep.isEmpty && targetSize == nil
    }

    package func validate() throws {
        if let bits, !(2.5...6.5).contains(bits) { throw ValidationError("--bits must be between 2.5 and 6.5") }
        if bits != nil, targetSize != nil { throw ValidationError("--bits and --target-size exclude each other") }
        for rule in keep where QuantizationOptions.parse(rule) == nil {
            throw ValidationError(
                "--keep \(rule): expected PATTERN=SCHEME, SCHEME one of \(SchemeName.all.joined(separator: ", "))")
        }
    }

    private static func parse(_ rule: String) -> (pattern: String, scheme: SchemeName)? {
        guard let separator = rule.lastIndex(of: "="), separator > rule.startIndex,
            let scheme = SchemeName(argument: String(rule[rule.index(after: separator)...]))
        else { return nil }
        return (String(rule[..<separator]), scheme)
    }

    /// The policy for `scheme`. Throws `.usage` for options that contradict each other.
    package func policy(_ scheme: SchemeName) throws(LaminaError) -> QuantizationPolicy {
        let standardBits = targetSize == nil ? bits ?? QuantizationOptions.standardBits : nil
        func target(_ name: SchemeName) -> QuantizationTarget? { name.target(coding: coding, bits: standardBits) }
        guard let layers = target(scheme) else {
            throw LaminaError(
                .usage, "--scheme exact", "a quantized store needs a scheme",
                expected: SchemeName.all.dropFirst().joined(separator: ", "))
        }
        let rules = keep.compactMap(QuantizationOptions.parse)
        // Half of a percent of the weights of large models, and what is read at every token of small ones: 8 bits. Where the
        // size of the store decides, a quarter of a small model's weights would take more than their part of it.
        let isAlike =
            (targetSize != nil && layers.scheme.hasFreeStep)
            || QuantizationOptions.eightBits.contains { $0.identifier == layers.scheme.identifier }
        let standard = isAlike ? layers : QuantizationTarget(BlockInt8())
        return QuantizationPolicy(
            layers: layers, embeddings: embeddings.map(target) ?? standard, head: head.map(target) ?? standard,
            rules: rules.map { QuantizationPolicy.Rule(pattern: $0.pattern, target: target($0.scheme)) })
    }

    /// Says of the tensors of `plan` that are to fit into the size of the store that they are. Throws `.usage` if none is.
    package func setRates(of plan: inout ConversionPlan) throws(LaminaError) {
        guard let targetSize else { return }
        let rate = WantedRate.storeBytes(targetSize.bytes(plan))
        var count = 0
        for shard in plan.shards.indices {
            for tensor in plan.shards[shard].tensors.indices
            where plan.shards[shard].tensors[tensor].needsRate {
                plan.shards[shard].tensors[tensor].quantization.rate = rate
                count += 1
            }
        }
        guard count > 0 else {
            throw LaminaError(
                .usage, "--target-size", "no matrix has a free rate", expected: "the scheme ecq without @")
        }
    }

    private static let standardBits = 4.25
    private static let eightBits: [any QuantizationScheme] = [RowInt8(), BlockInt8(), DynamicInt8()]
}

extension TensorJob {
    fileprivate var needsRate: Bool { scheme?.hasFreeStep == true && quantization.rate == nil }
}
