import LayerStore
import TensorCore

/// A tensor of a checkpoint, as far as planning needs to know it.
public struct CheckpointTensor: Sendable {
    public var name: String
    public var dtype: DType
    public var shape: Shape

    public init(name: String, dtype: DType, shape: Shape) {
        self.name = name
        self.dtype = dtype
        self.shape = shape
    }
}

/// Which shard each tensor of a checkpoint goes to, and in which order: every tensor is accounted for, either by the
/// architecture's table or as unused, and every required one is there.
public struct LayerPlan: Sendable {
    /// One tensor's place.
    public struct Entry: Sendable {
        /// Index into the checkpoint's tensors.
        public var tensor: Int
        /// Name in the shard: without the layer index.
        public var storedName: String
        public var layout: TensorLayout
        /// Why run does not use it; `nil` for tensors it does.
        public var unusedBecause: String?
    }

    /// `embedding`, `0`, `1`, …, `head`, `unused`, in this order; shards without tensors are left out.
    public var shards: [(layer: String, entries: [Entry])]
    /// Absent tensors that equal a stored one.
    public var tied: [Manifest.Tie]
    /// Tensors that neither the table nor the unused list knows; they are stored like unused ones.
    public var unknown: [String]

    /// Plans `tensors` for `architecture`. Throws `.malformed` for a missing or misshapen tensor, or a matrix in a type
    /// that run cannot multiply; `file` is named in errors. All missing tensors are listed at once.
    public init(
        architecture: Architecture, _ definition: ModelDefinition, tensors: [CheckpointTensor], file: String
    ) throws(LaminaError) {
        var places: [[UInt8]: Int] = [:]
        for (index, tensor) in tensors.enumerated() { places[Array(tensor.name.utf8)] = index }
        var isPlaced = [Bool](repeating: false, count: tensors.count)
        var missing: [String] = []
        let (rules, ties) = (definition.tensors, definition.ties)
        func entries(_ place: TensorRule.Place, layer: Int?) throws(LaminaError) -> [Entry] {
            var result: [Entry] = []
            for rule in rules where rule.place == place && (layer.map(rule.applies) ?? true) {
                let name = LayerPlan.name(rule.name, layer: layer)
                guard let index = places[Array(name.utf8)] else {
                    let isTied = ties.contains { $0.name.utf8.elementsEqual(rule.name.utf8) }
                    if !isTied { missing.append(name) }
                    continue
                }
                let scales = try LayerPlan.check(tensors[index], rule, definition.float8Blocks, file: file)
                isPlaced[index] = true
                result.append(Entry(tensor: index, storedName: rule.name, layout: rule.layout))
                guard let scales else { continue }
                let scaleName = name + Float8Blocks.scaleSuffix
                guard let index = places[Array(scaleName.utf8)] else {
                    missing.append(scaleName)
                    continue
                }
                try LayerPlan.check(scales: tensors[index], scales, file: file)
                isPlaced[index] = true
                result.append(
                    Entry(tensor: index, storedName: rule.name + Float8Blocks.scaleSuffix, layout: .rows))
            }
            return result
        }
        var shards = [("embedding", try entries(.embedding, layer: nil))]
        for layer in 0..<definition.config.layerCount {
            shards.append((String(layer), try entries(.layer, layer: layer)))
        }
        shards.append(("head", try entries(.head, layer: nil)))
        guard missing.isEmpty else { throw LayerPlan.lacks(missing, architecture, file: file) }
        let rest = LayerPlan.unusedEntries(tensors, isPlaced: isPlaced, rules: definition.unused)
        shards.append(("unused", rest.entries))
        unknown = rest.unknown
        self.shards = shards.filter { !$0.1.isEmpty }.map { (layer: $0.0, entries: $0.1) }
        tied = ties.filter { places[Array($0.name.utf8)] == nil }.map { Manifest.Tie(name: $0.name, target: $0.target) }
    }

    private static func lacks(_ missing: [String], _ architecture: Architecture, file: String) -> LaminaError {
        let more = missing.count > 10 ? " and \(missing.count - 10) more" : ""
        return LaminaError(
            .malformed, file, "the checkpoint lacks tensors that \(architecture.name) needs",
            expected: missing.prefix(10).joined(separator: ", ") + more,
            hint: "download the whole checkpoint, or check that config.json belongs to it")
    }

    /// `pattern` with the layer's index for `*`.
    static func name(_ pattern: String, layer: Int?) -> String {
        guard let layer else { return pattern }
        return pattern.split(separator: "*", omittingEmptySubsequences: false).joined(separator: String(layer))
    }

    /// The shape its scales must have, if the tensor is FP8.
    private static func check(
        _ tensor: CheckpointTensor, _ rule: TensorRule, _ blocks: Float8Blocks?, file: String
    ) throws(LaminaError) -> Shape? {
        guard tensor.shape == rule.shape else {
            throw LaminaError(
                .malformed, file, "the tensor's shape contradicts config.json", expected: rule.shape.description,
                found: tensor.shape.description, tensor: tensor.name)
        }
        if let blocks, tensor.dtype == .float8E4M3, rule.mayBeFloat8 { return blocks.scaleShape(rule.shape) }
        let supported: [DType] = [.bfloat16, .float16, .float32]
        guard supported.contains(tensor.dtype) else {
            throw LaminaError(
                .malformed, file, "dtype \(tensor.dtype.rawValue) is not supported for weights",
                expected: supported.map(\.rawValue).joined(separator: ", "), tensor: tensor.name)
        }
        return nil
    }

    private static func check(scales tensor: CheckpointTensor, _ shape: Shape, file: String) throws(LaminaError) {
        guard tensor.shape == shape, tensor.dtype == .float32 else {
            throw LaminaError(
                .malformed, file, "the scales do not fit their FP8 matrix", expected: "F32 \(shape)",
                found: "\(tensor.dtype.rawValue) \(tensor.shape)", tensor: tensor.name)
        }
    }

    /// Everything that is left, in the order of names.
    private static func unusedEntries(
        _ tensors: [CheckpointTensor], isPlaced: [Bool], rules: [UnusedRule]
    ) -> (entries: [Entry], unknown: [String]) {
        var entries: [Entry] = []
        var unknown: [String] = []
        let left = tensors.indices.filter { !isPlaced[$0] }
        for index in left.sorted(by: { tensors[$0].name.utf8.lexicographicallyPrecedes(tensors[$1].name.utf8) }) {
            let name = tensors[index].name
            let rule = rules.first { matches(name, pattern: $0.name) }
            if rule == nil { unknown.append(name) }
            entries.append(
                Entry(
                    tensor: index, storedName: name, layout: .rows,
                    unusedBecause: rule?.reason ?? "not in the architecture's table"))
        }
        return (entries, unknown)
    }

    /// Whether `name` is `pattern` with a decimal number for `*`, or begins with a pattern that ends in a period.
    static func matches(_ name: String, pattern: String) -> Bool {
        if pattern.utf8.last == UInt8(ascii: ".") { return name.utf8.starts(with: pattern.utf8) }
        let parts = pattern.utf8.split(separator: UInt8(ascii: "*"), omittingEmptySubsequences: false)
        guard parts.count == 2, let head = parts.first, let tail = parts.last else {
            return name.utf8.elementsEqual(pattern.utf8)
        }
        let bytes = Array(name.utf8)
        guard bytes.count > head.count + tail.count, bytes.starts(with: head),
            bytes.reversed().starts(with: tail.reversed())
        else { return false }
        return bytes[head.count..<(bytes.count - tail.count)].allSatisfy { (0x30...0x39).contains($0) }
    }
}
