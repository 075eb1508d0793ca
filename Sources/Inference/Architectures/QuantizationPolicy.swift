import LayerStore
import TensorCore

/// A scheme, and for schemes with a free rate how many bits a weight is to take; `nil` where the size of the whole store
/// decides.
public struct QuantizationTarget: Sendable {
    public var scheme: any QuantizationScheme
    public var bits: Double?

    public init(_ scheme: any QuantizationScheme, bits: Double? = nil) {
        self.scheme = scheme
        self.bits = bits
    }
}

/// Which matrices of a model are quantized, and how. Norms, biases, routers and matrices that are not simply multiplied
/// with activations stay exact whatever is asked for.
public struct QuantizationPolicy: Sendable {
    /// A tensor of the model, as far as the policy needs to know it.
    public struct Candidate: Sendable {
        /// The checkpoint's name.
        public var name: String
        /// The table's name, with `*` for the layer.
        public var storedName: String
        public var dtype: DType
        public var shape: Shape
        /// Run does not use it.
        public var isUnused: Bool

        public init(name: String, storedName: String, dtype: DType, shape: Shape, isUnused: Bool) {
            self.name = name
            self.storedName = storedName
            self.dtype = dtype
            self.shape = shape
            self.isUnused = isUnused
        }
    }

    /// Tensors whose names match become this; `nil` is exact.
    public struct Rule: Sendable {
        /// `*` stands for any text, `?` for one character.
        public var pattern: String
        public var target: QuantizationTarget?

        public init(pattern: String, target: QuantizationTarget?) {
            self.pattern = pattern
            self.target = target
        }
    }

    /// Matrices with fewer elements stay exact: they are cheap, and often decide much.
    public static let leastElements = 16_384

    /// For the matrices of the layers.
    public var layers: QuantizationTarget
    /// For the embedding matrix; `nil` is exact.
    public var embeddings: QuantizationTarget?
    /// For the head matrix, and for an embedding matrix that is the head too; `nil` is exact.
    public var head: QuantizationTarget?
    /// The last rule that matches a name wins over everything above.
    public var rules: [Rule]

    public init(
        layers: QuantizationTarget, embeddings: QuantizationTarget?, head: QuantizationTarget?, rules: [Rule] = []
    ) {
        self.layers = layers
        self.embeddings = embeddings
        self.head = head
        self.rules = rules
    }

    /// What each of `tensors` becomes, `nil` for exact, for a model of `definition`. Throws `.usage` for a rule that
    /// matches nothing, or asks for a scheme only for tensors that have to stay exact, and if all tensors stay exact.
    public func targets(
        for tensors: [Candidate], of definition: ModelDefinition
    ) throws(LaminaError) -> [QuantizationTarget?] {
        let quantizable = definition.quantizableRules
        var isUsed = [Bool](repeating: false, count: rules.count)
        var isMatched = isUsed
        var targets: [QuantizationTarget?] = []
        for tensor in tensors {
            let rule = quantizable[Array(tensor.storedName.utf8)]?.first { $0.shape == tensor.shape }
            let mayBe = rule != nil && !tensor.isUnused && QuantizationPolicy.fits(tensor)
            var target = rule.flatMap { mayBe ? standardTarget($0, tensor, definition) : nil }
            for (index, own) in rules.enumerated() where globMatches(tensor.name, pattern: own.pattern) {
                isMatched[index] = true
                if mayBe || own.target == nil { isUsed[index] = true }
                if mayBe { target = own.target }
            }
            targets.append(target)
        }
        for (index, rule) in rules.enumerated() where !isUsed[index] {
            throw LaminaError(
                .usage, "--keep \(rule.pattern)",
                isMatched[index] ? "all tensors it matches have to stay exact" : "no tensor has such a name",
                hint: "lamina-convert inspect lists the names")
        }
        guard targets.contains(where: { $0 != nil }) else {
            throw LaminaError(
                .usage, "", "nothing is quantized: every matrix is kept exact",
                expected: "matrices of at least \(QuantizationPolicy.leastElements) elements",
                hint: "--keep '*=\(layers.scheme.name)' quantizes smaller ones too")
        }
        return targets
    }

    private func standardTarget(
        _ rule: TensorRule, _ tensor: Candidate, _ definition: ModelDefinition
    ) -> QuantizationTarget? {
        guard tensor.shape.elementCount >= QuantizationPolicy.leastElements else { return nil }
        if rule.name == definition.network.head { return head }
        return rule.name == definition.network.embedding ? embeddings : layers
    }

    private static func fits(_ tensor: Candidate) -> Bool {
        guard let columns = tensor.shape.dimensions.last else { return false }
        return tensor.dtype.isQuantizable && tensor.shape.elementCount > 0 && columns <= Schemes.mostColumns
    }
}

extension ModelDefinition {
    /// The rules of tensors that may be quantized, by name. Matrices that are used head by head stay as they are, since
    /// quantized panels are only multiplied whole; so does a head whose rows are divided by their norms, which would have
    /// to be those of the exact rows.
    var quantizableRules: [[UInt8]: [TensorRule]] {
        var kept: Set<[UInt8]> = []
        for operation in network.layers.joined() {
            switch operation {
            case .absorb(_, _, let weight, _, _), .expand(_, let weight, _, _, _): kept.insert(Array(weight.utf8))
            default: break
            }
        }
        if network.headForm.normalizesRows { kept.insert(Array(network.head.utf8)) }
        let rules = tensors.filter {
            $0.strongestCompression == .quantizable && !kept.contains(Array($0.name.utf8))
        }
        return Dictionary(grouping: rules) { Array($0.name.utf8) }
    }
}

/// Whether all of `name` is what `pattern` describes: `*` any bytes, `?` one character, everything else itself.
func globMatches(_ name: String, pattern: String) -> Bool {
    let (text, glob) = (Array(name.unicodeScalars), Array(pattern.unicodeScalars))
    var (position, place) = (0, 0)
    var lastStar: (place: Int, position: Int)?
    while position < text.count {
        if place < glob.count, glob[place] == "*" {
            lastStar = (place, position)
            place += 1
        } else if place < glob.count, glob[place] == "?" || glob[place] == text[position] {
            position += 1
            place += 1
        } else if let star = lastStar {
            // The star takes one more.
            lastStar = (star.place, star.position + 1)
            position = star.position + 1
            place = star.place + 1
        } else {
            return false
        }
    }
    return glob[place...].allSatisfy { $0 == "*" }
}
