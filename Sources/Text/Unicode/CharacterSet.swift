/// A set of kinds of characters: general categories in the order of the generated table (Lu, Ll, Lt, Lm, Lo, Mn, Mc, Me,
/// Nd, Nl, No, Pc, Pd, Ps, Pe, Pi, Pf, Po, Sm, Sc, Sk, So, Zs, Zl, Zp, Cc, Cf, Co, Cn), but control characters that are
/// white space are a kind of their own.
struct CharacterSet: OptionSet, Sendable {
    let rawValue: UInt32

    private static let controlWhitespace: UInt8 = 29

    private static func set(_ kinds: ClosedRange<UInt8>) -> CharacterSet {
        CharacterSet(rawValue: kinds.reduce(0) { $0 | 1 << UInt32($1) })
    }

    static let lowercase = set(1...1)
    /// Upper-case and title-case letters.
    static let capitals: CharacterSet = [set(0...0), set(2...2)]
    static let letters = set(0...4)
    static let marks = set(5...7)
    static let numbers = set(8...10)
    static let punctuation = set(11...17)
    static let symbols = set(18...21)
    /// The property White_Space.
    static let whitespace: CharacterSet = [set(22...24), set(29...29)]
    static let unassigned = set(28...28)

    /// The kind of every code point.
    static let kinds: [UInt8] = {
        var kinds = UnicodeTables.shared.categories
        for scalar in [0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x85] { kinds[scalar] = controlWhitespace }
        return kinds
    }()

    /// The set of one kind.
    @inline(__always)
    init(kind: UInt8) { rawValue = 1 << UInt32(kind) }

    init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Whether the two sets have a kind in common.
    @inline(__always)
    func meets(_ other: CharacterSet) -> Bool { rawValue & other.rawValue != 0 }

    /// Whether `scalar` is of a kind in this set.
    func contains(scalar: UInt32) -> Bool {
        let kinds = CharacterSet.kinds
        return Int(scalar) < kinds.count && meets(CharacterSet(kind: kinds[Int(scalar)]))
    }
}
