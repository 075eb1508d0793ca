import ArgumentParser
import Inference
import LayerStore
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
    func target(coding: CodeCoding, bits standard: Double) -> QuantizationTarget? {
        let scheme: (any QuantizationScheme)? = name == SchemeName.freeName ? coding.scheme : Schemes.named(name)
        return scheme.map { QuantizationTarget($0, bits: $0.hasFreeStep ? bits ?? standard : nil) }
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
            "Scheme of the embedding matrix, or exact. Default: q8, or the scheme itself if it has 8 bits.",
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

    package init() {}

    /// Whether nothing is chosen.
    package var isDefault: Bool {
        bits == nil && coding == .tier && embeddings == nil && head == nil && keep.isEmpty
    }

    package func validate() throws {
        if let bits, !(2.5...6.5).contains(bits) { throw ValidationError("--bits must be between 2.5 and 6.5") }
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
        let standardBits = bits ?? QuantizationOptions.standardBits
        func target(_ name: SchemeName) -> QuantizationTarget? { name.target(coding: coding, bits: standardBits) }
        guard let layers = target(scheme) else {
            throw LaminaError(
                .usage, "--scheme exact", "a quantized store needs a scheme",
                expected: SchemeName.all.dropFirst().joined(separator: ", "))
        }
        let rules = keep.compactMap(QuantizationOptions.parse)
        // Half of a percent of the weights of large models, and what is read at every token of small ones: 8 bits.
        let ends = QuantizationOptions.eightBits.contains { $0.identifier == layers.scheme.identifier }
        let standard = ends ? layers : QuantizationTarget(BlockInt8())
        return QuantizationPolicy(
            layers: layers, embeddings: embeddings.map(target) ?? standard, head: head.map(target) ?? standard,
            rules: rules.map { QuantizationPolicy.Rule(pattern: $0.pattern, target: target($0.scheme)) })
    }

    private static let standardBits = 4.25
    private static let eightBits: [any QuantizationScheme] = [RowInt8(), BlockInt8(), DynamicInt8()]
}
