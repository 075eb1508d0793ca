/// Character properties and decompositions, decoded once from `UnicodeTableData`.
///
/// They are those of the reference implementation rather than of PCRE2 or Swift, whose Unicode versions differ.
struct UnicodeTables: Sendable {
    static let shared = UnicodeTables()

    /// General category of every code point, as an index into `GeneralCategory`.
    let categories: [UInt8]
    /// Canonical combining class of every code point.
    let combiningClasses: [UInt8]
    /// Full canonical decompositions.
    let canonical: DecompositionTable
    /// Full compatibility decompositions where they differ from the canonical ones.
    let compatible: DecompositionTable
    /// Pairs of a starter and a following character to the character they compose.
    let compositions: PairTable
    /// What steps that have tables of their own take every code point for.
    let stepKinds: [StepKinds]
    /// For every code point below `NormalizationFlags.limit` what keeps it from being left alone.
    let flags: [NormalizationFlags]

    private init() {
        var reader = TableReader(UnicodeTableData.parts)
        categories = reader.runs(count: 0x110000)
        combiningClasses = reader.runs(count: 0x110000)
        canonical = reader.decompositions()
        compatible = reader.decompositions()
        let pairs = reader.compositions()
        stepKinds = reader.runs(count: 0x110000).map(StepKinds.init(rawValue:))
        var compositions = PairTable(minimumCapacity: pairs.count)
        var flags = [NormalizationFlags](repeating: [], count: NormalizationFlags.limit)
        for scalar in canonical.scalars { flags[Int(scalar)].formUnion([.decomposes, .changesComposed]) }
        for scalar in compatible.scalars { flags[Int(scalar)].insert(.decomposesCompatibly) }
        for scalar in 0..<NormalizationFlags.limit where combiningClasses[scalar] != 0 {
            flags[scalar].formUnion([.isMark, .changesComposed])
        }
        for pair in pairs {
            compositions.insert(pair.first, pair.second, PairTable.Value(rank: 0, id: pair.composed))
            // It decomposes, but composes again to itself.
            flags[Int(pair.composed)].remove(.changesComposed)
        }
        for pair in pairs { flags[Int(pair.second)].insert(.changesComposed) }
        for scalar in Hangul.vowels { flags[Int(scalar)].insert(.changesComposed) }
        for scalar in Hangul.trailing { flags[Int(scalar)].insert(.changesComposed) }
        for scalar in Hangul.syllables { flags[Int(scalar)].insert(.decomposes) }
        self.compositions = compositions
        self.flags = flags
    }
}

/// What some steps of the reference implementation take a character for, by tables older than those of its regular
/// expressions.
struct StepKinds: OptionSet, Sendable {
    let rawValue: UInt8

    /// What StripAccents leaves out.
    static let mark = StepKinds(rawValue: 1)
    /// What a BertNormalizer leaves out as accents.
    static let nonspacingMark = StepKinds(rawValue: 2)
    /// What a BertNormalizer leaves out as control characters.
    static let control = StepKinds(rawValue: 4)
    /// What Punctuation and BertPreTokenizer cut at.
    static let punctuation = StepKinds(rawValue: 8)

    /// Whether `scalar` is of this kind.
    func contains(scalar: UInt32) -> Bool {
        let kinds = UnicodeTables.shared.stepKinds
        return Int(scalar) < kinds.count && !isDisjoint(with: kinds[Int(scalar)])
    }
}

/// Decompositions by scalar.
struct DecompositionTable: Sendable {
    /// What decomposes, rising.
    fileprivate(set) var scalars: [UInt32] = []
    private var starts: [Int] = [0]
    private var targets: [UInt32] = []

    fileprivate mutating func append(_ scalar: UInt32, _ decomposition: [UInt32]) {
        scalars.append(scalar)
        targets += decomposition
        starts.append(targets.count)
    }

    /// The decomposition of a scalar, `nil` if it has none.
    subscript(scalar: UInt32) -> ArraySlice<UInt32>? {
        var (low, high) = (0, scalars.count)
        while low < high {
            let middle = (low + high) / 2
            if scalars[middle] < scalar { low = middle + 1 } else { high = middle }
        }
        guard low < scalars.count, scalars[low] == scalar else { return nil }
        return targets[starts[low]..<starts[low + 1]]
    }
}

/// Hangul syllables compose and decompose by a formula (Unicode standard, section 3.12).
enum Hangul {
    static let syllables: Range<UInt32> = 0xAC00..<0xD7A4
    static let leading: Range<UInt32> = 0x1100..<0x1113
    static let vowels: Range<UInt32> = 0x1161..<0x1176
    static let trailing: Range<UInt32> = 0x11A8..<0x11C3

    /// Appends the letters of a syllable.
    static func decompose(_ syllable: UInt32, into output: inout [UInt32]) {
        let index = syllable - syllables.lowerBound
        output.append(leading.lowerBound + index / 588)
        output.append(vowels.lowerBound + index % 588 / 28)
        if index % 28 != 0 { output.append(trailing.lowerBound - 1 + index % 28) }
    }

    /// The syllable of two letters, or of a syllable and a trailing letter.
    static func compose(_ first: UInt32, _ second: UInt32) -> UInt32? {
        if leading.contains(first), vowels.contains(second) {
            return syllables.lowerBound + ((first - leading.lowerBound) * 21 + second - vowels.lowerBound) * 28
        }
        if syllables.contains(first), (first - syllables.lowerBound) % 28 == 0, trailing.contains(second) {
            return first + second - trailing.lowerBound + 1
        }
        return nil
    }
}

/// Reads the generated tables: base64 of tables, each with its length in front, all numbers as variable-length integers.
private struct TableReader {
    private var bytes: [UInt8] = []
    private var position = 0

    init(_ parts: [StaticString]) {
        var values = [UInt8](repeating: 0, count: 128)
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        for (value, character) in alphabet.utf8.enumerated() { values[Int(character)] = UInt8(value) }
        var bits: UInt32 = 0
        var count = 0
        for part in parts {
            part.withUTF8Buffer { characters in
                for character in characters where character != UInt8(ascii: "=") {
                    bits = bits << 6 | UInt32(values[Int(character & 127)])
                    count += 6
                    if count >= 8 {
                        count -= 8
                        bytes.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
                    }
                }
            }
        }
    }

    private mutating func byte() -> UInt8 {
        defer { position += 1 }
        return bytes[position]
    }

    private mutating func number() -> UInt32 {
        var value: UInt32 = 0
        var shift: UInt32 = 0
        while true {
            let next = byte()
            value |= UInt32(next & 0x7F) << shift
            if next < 0x80 { return value }
            shift += 7
        }
    }

    /// A number with its sign in the lowest bit, added to `base`.
    private mutating func offset(from base: UInt32) -> UInt32 {
        let code = number()
        return code & 1 == 0 ? base &+ code >> 1 : base &- (code >> 1 &+ 1)
    }

    mutating func runs(count: Int) -> [UInt8] {
        _ = number()
        var values: [UInt8] = []
        values.reserveCapacity(count)
        while values.count < count {
            let length = Int(number())
            values.append(contentsOf: repeatElement(byte(), count: length))
        }
        return values
    }

    mutating func decompositions() -> DecompositionTable {
        _ = number()
        var table = DecompositionTable()
        var scalar: UInt32 = 0
        for _ in 0..<number() {
            scalar += number()
            var last = scalar
            let count = number()
            let targets = (0..<count).map { _ in
                last = offset(from: last)
                return last
            }
            table.append(scalar, targets)
        }
        return table
    }

    mutating func compositions() -> [(first: UInt32, second: UInt32, composed: UInt32)] {
        _ = number()
        var composed: UInt32 = 0
        return (0..<number()).map { _ in
            composed += number()
            let first = offset(from: composed)
            return (first, number(), composed)
        }
    }
}
